import { bound, callableOf, elementsOf, floatOf, integerOf, isList, isMapping, isMissing, isNone, isNumber, isText, isTrue, listOf, nameOf, represented, textOf, truthOf, tupleOf, written, type Call, type Value } from "./template-values.ts";

/** What a template has left to do its work with; both throw when it is spent. */
export interface Budget {
  spend(steps: number): void;
  /** Every part of a value is to be gone through. */
  pass(value: Value): void;
  /** A text of so many characters is to be made. */
  make(characters: number): void;
}

/** Python's white space, which is not JavaScript's. */
const space = "\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000";
const spaces = new RegExp(`[${space}]+`, "u");
const startSpace = new RegExp(`^[${space}]+`, "u");
const isSpace = new RegExp(`^[${space}]$`, "u");
const lineEnds = "\\n-\\r\\x1c-\\x1e\\x85\\u2028\\u2029";
const lineEnd = new RegExp(`\\r\\n|[${lineEnds}]`, "u");

/** A needle that fits almost everywhere makes a search quadratic. */
const comparisonsPerStep = 2 ** 10;
export function searching(budget: Budget, needle: string, text: string): void {
  budget.spend((needle.length * text.length) / comparisonsPerStep);
}

const codePoints = (text: string): number => (/[\ud800-\udfff]/.test(text) ? Array.from(text).length : text.length);

type Method = (text: string, call: Call, budget: Budget) => Value;

/** The methods of Python's `str` that templates use. */
const methods: Readonly<Record<string, Method>> = {
  upper: (text, call) => plain(call, text.toUpperCase()),
  lower: (text, call) => plain(call, text.toLowerCase()),
  title: (text, call) => plain(call, text.replace(/\p{L}+/gu, capitalized)),
  capitalize: (text, call) => plain(call, capitalized(text)),
  strip: (text, call) => textOf(stripped(text, bound(call, "chars")[0], true, true)),
  lstrip: (text, call) => textOf(stripped(text, bound(call, "chars")[0], true, false)),
  rstrip: (text, call) => textOf(stripped(text, bound(call, "chars")[0], false, true)),
  startswith: (text, call) => truthOf(affixes(bound(call, "prefix")[0]).some((affix) => text.startsWith(affix))),
  endswith: (text, call) => truthOf(affixes(bound(call, "suffix")[0]).some((affix) => text.endsWith(affix))),
  removeprefix: (text, call) => textOf(without(text, given(bound(call, "prefix")[0]), "start")),
  removesuffix: (text, call) => textOf(without(text, given(bound(call, "suffix")[0]), "end")),
  split: (text, call, budget) => split(text, call, budget, false),
  rsplit: (text, call, budget) => split(text, call, budget, true),
  splitlines: (text, call, budget) => listOf(lines(text, call, budget)),
  partition: (text, call, budget) => parted(text, call, budget, false),
  rpartition: (text, call, budget) => parted(text, call, budget, true),
  replace: (text, call, budget) => {
    const [old, fresh, count] = bound(call, "old", "new", "count");
    return textOf(replaced(text, given(old), given(fresh), count === null || count === undefined ? -1 : whole(count), budget));
  },
  count: (text, call, budget) => integerOf(pieces(text, given(bound(call, "sub")[0]), budget).length - 1),
  find: (text, call, budget) => integerOf(found(text, call, budget, false)),
  rfind: (text, call, budget) => integerOf(found(text, call, budget, true)),
  index: (text, call, budget) => {
    const at = found(text, call, budget, false);
    if (at === -1) throw new Error("substring not found");
    return integerOf(at);
  },
  join: (text, call, budget) => joined(elementsOf(bound(call, "iterable")[0] ?? listOf([])).map((part) => given(part)), text, budget),
  isdigit: (text, call) => checked(call, text, /^[\p{Nd}²³¹⁰⁴-⁹₀-₉]+$/u),
  isnumeric: (text, call) => checked(call, text, /^\p{N}+$/u),
  isalpha: (text, call) => checked(call, text, /^\p{L}+$/u),
  isalnum: (text, call) => checked(call, text, /^[\p{L}\p{N}]+$/u),
  isspace: (text, call) => checked(call, text, new RegExp(`^[${space}]+$`, "u")),
  isupper: (text, call) => checked(call, text, /^(?=[\s\S]*\p{Lu})[^\p{Ll}\p{Lt}]+$/u),
  islower: (text, call) => checked(call, text, /^(?=[\s\S]*\p{Ll})[^\p{Lu}\p{Lt}]+$/u),
};

/** A method of a text, ready to be called; undefined for one that is not known. */
export function textMethod(text: string, name: string, budget: Budget): Value | undefined {
  const method = Object.hasOwn(methods, name) ? methods[name] : undefined;
  return method && callableOf((call) => callMethod(text, method, call, budget));
}

/** The same for filters, which bear the names of methods and take any value. */
export function byMethod(name: string): (value: Value, call: Call, budget: Budget) => Value {
  return (value, call, budget) => callMethod(written(value), methods[name]!, call, budget);
}

function callMethod(text: string, method: Method, call: Call, budget: Budget): Value {
  budget.spend(text.length / comparisonsPerStep);
  return method(text, call, budget);
}

function plain(call: Call, text: string): Value {
  bound(call);
  return textOf(text);
}

function checked(call: Call, text: string, pattern: RegExp): Value {
  bound(call);
  return truthOf(pattern.test(text));
}

function given(value: Value | null | undefined): string {
  if (value !== null && value !== undefined && isText(value)) return value.value;
  throw new Error(`expected str, got ${value ? nameOf(value) : "nothing"}`);
}

export function whole(value: Value): number {
  if (value.type === "IntegerValue" || value.type === "BooleanValue") return Number(value.value);
  if (isNone(value)) return -1;
  throw new Error(`expected int, got ${nameOf(value)}`);
}

const affixes = (value: Value | null | undefined): string[] => (value && value.type === "TupleValue" ? elementsOf(value).map(given) : [given(value)]);

export function capitalized(text: string): string {
  const [first = ""] = text;
  return first.toUpperCase() + text.slice(first.length).toLowerCase();
}

function without(text: string, affix: string, at: "start" | "end"): string {
  if (at === "start") return text.startsWith(affix) ? text.slice(affix.length) : text;
  return text.endsWith(affix) ? text.slice(0, text.length - affix.length) : text;
}

function stripped(text: string, chars: Value | null | undefined, start: boolean, end: boolean): string {
  const set = chars === null || chars === undefined || isNone(chars) ? null : new Set(given(chars));
  const drops = (character: string): boolean => (set === null ? isSpace.test(character) : set.has(character));
  const characters = set !== null && /[\ud800-\udfff]/.test(text) ? Array.from(text) : text;
  let [from, to] = [0, characters.length];
  while (start && from < to && drops(characters[from]!)) from++;
  while (end && to > from && drops(characters[to - 1]!)) to--;
  return typeof characters === "string" ? characters.slice(from, to) : characters.slice(from, to).join("");
}

/** What lies between the places where a text is found. */
function pieces(text: string, needle: string, budget: Budget): string[] {
  searching(budget, needle, text);
  if (needle === "") return ["", ...text, ""];
  return text.split(needle);
}

export function replaced(text: string, old: string, fresh: string, count: number, budget: Budget): string {
  const parts = pieces(text, old, budget);
  const times = count < 0 ? parts.length - 1 : Math.min(count, parts.length - 1);
  budget.make(text.length + times * fresh.length);
  return [...parts.slice(0, times), parts.slice(times).join(old)].join(fresh);
}

export function joined(parts: readonly string[], separator: string, budget: Budget): Value {
  budget.make(parts.reduce((sum, part) => sum + part.length, separator.length * Math.max(0, parts.length - 1)));
  return textOf(parts.join(separator));
}

function split(text: string, call: Call, budget: Budget, right: boolean): Value {
  const [separator, most] = bound(call, "sep", "maxsplit");
  const times = most ? whole(most) : -1;
  const parts = separator && !isNone(separator) ? apart(text, given(separator), times, budget, right) : words(text, times, right);
  budget.spend(parts.length);
  return listOf(parts.map(textOf));
}

function apart(text: string, separator: string, times: number, budget: Budget, right: boolean): string[] {
  if (separator === "") throw new Error("empty separator");
  const parts = pieces(text, separator, budget);
  if (times < 0 || times >= parts.length - 1) return parts;
  const cut = right ? parts.length - times : times;
  return right ? [parts.slice(0, cut).join(separator), ...parts.slice(cut)] : [...parts.slice(0, cut), parts.slice(cut).join(separator)];
}

function words(text: string, times: number, right: boolean): string[] {
  if (right) return words([...text].toReversed().join(""), times, false).map((word) => [...word].toReversed().join("")).toReversed();
  let rest = text.replace(startSpace, "");
  if (times < 0) return rest.split(spaces).filter((word) => word !== "");
  const found: string[] = [];
  while (rest !== "" && found.length < times) {
    const gap = spaces.exec(rest);
    if (gap === null) break;
    found.push(rest.slice(0, gap.index));
    rest = rest.slice(gap.index + gap[0].length);
  }
  return rest === "" ? found : [...found, rest];
}

function lines(text: string, call: Call, budget: Budget): Value[] {
  if (bound(call, "keepends")[0]) throw new Error("keepends is not known");
  const parts = linesOf(text);
  budget.spend(parts.length);
  return parts.map(textOf);
}

export function linesOf(text: string): string[] {
  const parts = text.split(lineEnd);
  if (parts.at(-1) === "") parts.pop();
  return parts;
}

function parted(text: string, call: Call, budget: Budget, right: boolean): Value {
  const separator = given(bound(call, "sep")[0]);
  const parts = apart(text, separator, 1, budget, right);
  if (parts.length === 1) return tupleOf((right ? ["", "", text] : [text, "", ""]).map(textOf));
  return tupleOf([parts[0]!, separator, parts[1]!].map(textOf));
}

function found(text: string, call: Call, budget: Budget, right: boolean): number {
  const needle = given(bound(call, "sub")[0]);
  searching(budget, needle, text);
  const at = right ? text.lastIndexOf(needle) : text.indexOf(needle);
  return at === -1 ? -1 : codePoints(text.slice(0, at));
}

const conversion = /%(?:\(([^)]*)\))?([-+ 0]*)(\d{0,3})(?:\.(\d{1,2}))?([sdifrx%])/gu;

/** Python's `format % values`. @throws Error for a conversion that is not known, or too few or too many values */
export function formatted(format: string, values: Value, budget: Budget): string {
  const given = values.type === "TupleValue" ? elementsOf(values) : [values];
  let next = 0;
  let characters = format.length;
  let byName = false;
  const text = format.replace(conversion, (_, name: string | undefined, flags: string, width: string, digits: string | undefined, kind: string) => {
    if (kind === "%") return "%";
    byName ||= name !== undefined;
    const value = name !== undefined && isMapping(values) ? values.value.get(name) : given[next++];
    if (value === undefined) throw new Error("not enough arguments for format string");
    const converted = convert(value, kind, digits);
    budget.make((characters += converted.length + Number(width)));
    const signed = kind !== "s" && kind !== "r" && !converted.startsWith("-") && /[+ ]/.test(flags) ? (flags.includes("+") ? "+" : " ") + converted : converted;
    if (flags.includes("-")) return signed.padEnd(Number(width));
    if (!flags.includes("0") || kind === "s" || kind === "r") return signed.padStart(Number(width));
    const sign = /^[-+ ]?/.exec(signed)![0];
    return sign + signed.slice(sign.length).padStart(Number(width) - sign.length, "0");
  });
  if (format.replace(conversion, "").includes("%")) throw new Error("unsupported format character");
  if (!byName && next < given.length && !isMapping(values)) throw new Error("not all arguments converted during string formatting");
  return text;
}

function convert(value: Value, kind: string, digits: string | undefined): string {
  if (kind === "s" || kind === "r") {
    const text = kind === "s" ? written(value) : represented(value);
    return digits === undefined ? text : [...text].slice(0, Number(digits)).join("");
  }
  if (!isNumber(value)) throw new Error(`a number is required, not ${nameOf(value)}`);
  const number = Number(value.value);
  if (kind === "f") return rounded(number, Number(digits ?? 6));
  if (digits !== undefined) throw new Error("unsupported format character");
  return BigInt(Math.trunc(number)).toString(kind === "x" ? 16 : 10);
}

/** A number with so many decimals, halves to the even neighbour as in Python. */
export function rounded(number: number, digits: number): string {
  const scaled = Math.abs(number) * 10 ** digits;
  if (scaled % 1 !== 0.5 || digits > 15) return number.toFixed(digits);
  const even = 2 * Math.round(scaled / 2);
  return ((Math.sign(number) * even) / 10 ** digits).toFixed(digits);
}

/** Python's `int(text)` and `float(text)`; null for what is no number. */
export function numberIn(value: Value, kind: "int" | "float"): Value | null {
  if (isNumber(value)) return kind === "int" ? integerOf(Math.trunc(Number(value.value))) : floatOf(Number(value.value));
  if (!isText(value)) return null;
  const text = stripped(value.value, null, true, true).replace(/(?<=\d)_(?=\d)/g, "");
  if (!/^[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?$/.test(text)) return null;
  return kind === "int" ? integerOf(Math.trunc(Number(text))) : floatOf(Number(text));
}

/** How many elements or characters there are. */
export function lengthOf(value: Value): Value {
  if (isText(value)) return integerOf(codePoints(value.value));
  if (isList(value)) return integerOf(value.value.length);
  if (isMapping(value)) return integerOf(value.value.size);
  if (isMissing(value)) return integerOf(0);
  throw new Error(`${nameOf(value)} has no length`);
}

export const isSet = (value: Value | null | undefined): boolean => value !== null && value !== undefined && isTrue(value);

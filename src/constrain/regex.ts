import { Cursor } from "./cursor.ts";
import { anyChar, charSet, chars, choice, codePoint, complement, empty, lastCodePoint, repeat, sequence, setOf, type CharSet, type Expression } from "./expression.ts";

/** Copies that one quantifier may make. */
export const mostCopies = 10_000;
/** Groups within groups. */
const mostDepth = 100;

/**
 * A regular expression as JavaScript reads it with the flag u, less what no automaton can do: back-references, look-around and
 * \b. ^ and $ may stand at the ends of the whole or of one of its alternatives. Lazy quantifiers are as others: they change
 * what is preferred, not what matches.
 * @param mode "whole": the text matches as a whole; "somewhere": a part of it does, as JSON Schema's `pattern`
 * @throws LongjingError "bad_argument" when it is malformed, "unsupported" when it has what we do not do
 */
export function parseRegex(source: string, mode: "whole" | "somewhere"): Expression {
  const at = new Cursor(source, "regex");
  const around = (anchored: boolean): Expression => (anchored || mode === "whole" ? empty : repeat(anyChar, 0));
  const alternatives: Expression[] = [];
  do {
    const fromStart = at.skip("^");
    const body = parseSequence(at, 0);
    const toEnd = at.skip("$");
    if (!at.over && at.peek() !== "|") throw at.peek() === ")" ? at.error("a ) without its (") : at.unsupported("^ and $ inside of it");
    alternatives.push(sequence(around(fromStart), body, around(toEnd)));
  } while (at.skip("|"));
  return choice(...alternatives);
}

function parseSequence(at: Cursor, depth: number): Expression {
  const items: Expression[] = [];
  while (!at.over && !"|)$".includes(at.peek())) items.push(parseQuantified(at, depth));
  return sequence(...items);
}

function parseQuantified(at: Cursor, depth: number): Expression {
  const item = parseAtom(at, depth);
  const bounds = parseQuantifier(at);
  if (bounds === null) return item;
  at.skip("?");
  if ("*+?{".includes(at.peek() || " ")) throw at.error("nothing to repeat");
  return repeat(item, ...bounds);
}

/** {min, max} of what follows, or null. */
function parseQuantifier(at: Cursor): [number, number] | null {
  if (at.skip("*")) return [0, Infinity];
  if (at.skip("+")) return [1, Infinity];
  if (at.skip("?")) return [0, 1];
  return at.skip("{") ? parseBounds(at) : null;
}

/** The rest of {n}, {n,} or {n,m}. */
export function parseBounds(at: Cursor): [number, number] {
  const min = parseCount(at);
  let max = min;
  if (at.skip(",")) max = at.peek() === "}" ? Infinity : parseCount(at);
  at.expect("}");
  if (max < min) throw at.error("numbers out of order");
  return [min, max];
}

function parseCount(at: Cursor): number {
  const digits = at.while(/\d/, 10);
  if (digits === "") throw at.error("expected a number");
  if (Number(digits) > mostCopies) throw at.error(`more than ${mostCopies} repetitions`);
  return Number(digits);
}

function parseAtom(at: Cursor, depth: number): Expression {
  const char = at.take();
  if (char === "(") return parseGroup(at, depth + 1);
  if (char === "[") return chars(parseClass(at));
  if (char === ".") return chars(complement(lineEnds));
  if (char === "\\") return chars(parseEscape(at, false));
  if (char === "^") throw at.unsupported("^ inside of it");
  if ("*+?{}]".includes(char)) throw at.error(`a ${char} with nothing before it`);
  return chars(setOf(char));
}

function parseGroup(at: Cursor, depth: number): Expression {
  if (depth > mostDepth) throw at.error(`more than ${mostDepth} groups in one another`);
  if (at.skip("?")) {
    if (["=", "!", "<=", "<!"].some((look) => at.skip(look))) throw at.unsupported("look-around");
    if (at.skip("<")) {
      if (at.while(/[\p{L}\p{N}_$]/u) === "") throw at.error("a group without a name");
      at.expect(">");
    } else if (!at.skip(":")) throw at.unsupported("a group with flags");
  }
  const alternatives: Expression[] = [];
  do alternatives.push(parseSequence(at, depth));
  while (at.skip("|"));
  if (at.peek() === "$") throw at.unsupported("$ inside of it");
  at.expect(")");
  return choice(...alternatives);
}

const lineEnds = setOf("\n\r\u2028\u2029");
const digit = charSet([[0x30, 0x39]]);
const word = charSet([...digit, [0x41, 0x5a], [0x5f, 0x5f], [0x61, 0x7a]]);
const space = charSet([[9, 13], [0x20, 0x20], [0xa0, 0xa0], [0x1680, 0x1680], [0x2000, 0x200a], ...lineEnds, [0x202f, 0x202f], [0x205f, 0x205f], [0x3000, 0x3000], [0xfeff, 0xfeff]]);

const classes: Readonly<Record<string, CharSet>> = { d: digit, D: complement(digit), w: word, W: complement(word), s: space, S: complement(space) };
const controls: Readonly<Record<string, number>> = { t: 9, n: 10, v: 11, f: 12, r: 13 };

/** What stands after a backslash. */
function parseEscape(at: Cursor, inClass: boolean): CharSet {
  const char = at.take();
  const named = Object.hasOwn(classes, char) ? classes[char] : undefined;
  if (named !== undefined) return named;
  const one = (code: number): CharSet => charSet([[code, code]]);
  if (Object.hasOwn(controls, char)) return one(controls[char] as number);
  switch (char) {
    case "x":
      return one(at.hex(2));
    case "u":
      return one(parseUnicode(at));
    case "c":
      return one(parseControl(at));
    case "p":
    case "P":
      return parseProperty(at, char === "P");
    case "k":
      throw at.unsupported("a back-reference");
    case "0":
      if (/\d/.test(at.peek())) throw at.error("an octal escape");
      return one(0);
  }
  if (/[1-9]/.test(char)) throw at.unsupported("a back-reference");
  if (char === "b" && inClass) return one(8);
  if (char === "b" || char === "B") throw at.unsupported(`\\${char}`);
  if (/[a-z]/i.test(char)) throw at.error(`\\${char} has no meaning`);
  return one(codePoint(char));
}

function parseControl(at: Cursor): number {
  const letter = at.take();
  if (!/[a-z]/i.test(letter)) throw at.error("\\c without a letter");
  return codePoint(letter) % 32;
}

/** The rest of \uXXXX, of two of them that are a pair of surrogates, or of \u{X…}. */
function parseUnicode(at: Cursor): number {
  if (at.skip("{")) {
    const digits = at.while(/[0-9a-f]/i, 8);
    at.expect("}");
    if (digits === "") throw at.error("\\u{} without digits");
    return at.checkChar(Number.parseInt(digits, 16));
  }
  const high = at.hex(4);
  if (high < 0xd800 || high > 0xdbff) return high;
  const before = at.at;
  if (at.skip("\\u") && at.peek() !== "{") {
    const low = at.hex(4);
    if (low >= 0xdc00 && low <= 0xdfff) return 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
  }
  at.at = before;
  return high;
}

/** \p{…}: JavaScript knows the characters, and is asked for each. */
function parseProperty(at: Cursor, negated: boolean): CharSet {
  at.expect("{");
  const name = at.while(/[\w=]/, 60);
  at.expect("}");
  let pattern: RegExp;
  try {
    pattern = new RegExp(`^\\p{${name}}$`, "u");
  } catch {
    throw at.error(`no such property of characters: ${name}`);
  }
  const ranges: [number, number][] = [];
  for (let code = 0; code <= lastCodePoint; code++) {
    if (!pattern.test(String.fromCodePoint(code))) continue;
    const last = ranges.at(-1);
    if (last?.[1] === code - 1) last[1] = code;
    else ranges.push([code, code]);
  }
  return negated ? complement(charSet(ranges)) : charSet(ranges);
}

/** The rest of […]. */
function parseClass(at: Cursor): CharSet {
  const negated = at.skip("^");
  const ranges: (readonly [number, number])[] = [];
  while (!at.skip("]")) {
    const low = parseClassItem(at);
    if (at.peek(2) === "-]" || !at.skip("-")) {
      ranges.push(...low);
      continue;
    }
    const [from, to] = [singleOf(at, low), singleOf(at, parseClassItem(at))];
    if (from > to) throw at.error("a range out of order");
    ranges.push([from, to]);
  }
  return negated ? complement(charSet(ranges)) : charSet(ranges);
}

/** The ends of a range may be surrogates, which are in no set: ranges are cut where sets are made. */
function parseClassItem(at: Cursor): CharSet {
  const char = at.take();
  return char === "\\" ? parseEscape(at, true) : setOf(char);
}

function singleOf(at: Cursor, set: CharSet): number {
  const [first, second] = set;
  if (first === undefined || second !== undefined || first[0] !== first[1]) throw at.error("a range between what is not one character");
  return first[0];
}

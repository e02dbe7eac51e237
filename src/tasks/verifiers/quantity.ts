import { add, equal, multiply, negate, rational, type Rational } from "../rational.ts";
import { wrong, type Verdict } from "./verdict.ts";

export interface QuantityOptions {
  /** Largest difference accepted, as a share of the gold value. Default 0: exact. */
  readonly relative?: number;
  /** Whether a gold unit must be said. Default true. */
  readonly unitRequired?: boolean;
}

/** What is measured, as a product of base units, and how many base units one unit is. */
interface Unit {
  readonly dimension: string;
  readonly scale: Rational;
}

const prefixes: Readonly<Record<string, Rational>> = { k: rational(1000n), h: rational(100n), d: rational(1n, 10n), c: rational(1n, 100n), m: rational(1n, 1000n), µ: rational(1n, 10n ** 6n), u: rational(1n, 10n ** 6n), n: rational(1n, 10n ** 9n), M: rational(10n ** 6n), G: rational(10n ** 9n), T: rational(10n ** 12n) };

/** Dimension, names that take a prefix, names that do not, and the size in base units. */
const table: readonly (readonly [dimension: string, prefixed: string, whole: string, scale: Rational])[] = [
  ["length", "m", "meter meters metre metres 米", rational(1n)],
  ["length", "", "kilometer kilometers kilometre kilometres 千米 公里", rational(1000n)],
  ["length", "", "centimeter centimeters centimetre centimetres 厘米", rational(1n, 100n)],
  ["length", "", "millimeter millimeters millimetre millimetres 毫米", rational(1n, 1000n)],
  ["length", "", "in inch inches", rational(254n, 10000n)],
  ["length", "", "ft foot feet", rational(3048n, 10000n)],
  ["length", "", "yd yard yards", rational(9144n, 10000n)],
  ["length", "", "mi mile miles", rational(1609344n, 1000n)],
  ["mass", "g", "gram grams 克", rational(1n)],
  ["mass", "", "kilogram kilograms 千克 公斤", rational(1000n)],
  ["mass", "", "t ton tons tonne tonnes 吨", rational(10n ** 6n)],
  ["mass", "", "lb lbs pound pounds", rational(45359237n, 100000n)],
  ["time", "s", "sec secs second seconds 秒", rational(1n)],
  ["time", "", "min mins minute minutes 分钟", rational(60n)],
  ["time", "", "h hr hrs hour hours 小时", rational(3600n)],
  ["time", "", "day days 天", rational(86400n)],
  ["time", "", "week weeks 周", rational(604800n)],
  ["length^3", "L l", "liter liters litre litres 升", rational(1n, 1000n)],
  ["length^3", "", "milliliter milliliters 毫升", rational(1n, 10n ** 6n)],
  ["length^1/time^1", "", "mph", rational(1609344n, 3600n * 1000n)],
  ["length^1/time^1", "", "kph kmh", rational(1000n, 3600n)],
  ["data", "B", "byte bytes 字节", rational(8n)],
  ["data", "", "bit bits", rational(1n)],
  ["energy", "J", "joule joules", rational(1n)],
  ["energy", "Wh", "", rational(3600n)],
  ["power", "W", "watt watts", rational(1n)],
  ["force", "N", "newton newtons", rational(1n)],
  ["frequency", "Hz", "hertz", rational(1n)],
  ["angle", "", "° deg degree degrees 度", rational(1n)],
  ["share", "", "% percent", rational(1n, 100n)],
  ["dollar", "", "$ usd dollar dollars 美元", rational(1n)],
  ["dollar", "", "¢ cent cents", rational(1n, 100n)],
  ["yuan", "", "¥ 元 yuan rmb cny", rational(1n)],
  ["euro", "", "€ eur euro euros", rational(1n)],
];

const units = new Map<string, Unit>();
for (const [dimension, prefixed, whole, scale] of table) {
  for (const name of prefixed.split(" ").filter(Boolean)) {
    units.set(name, { dimension, scale });
    for (const [prefix, factor] of Object.entries(prefixes)) if (!units.has(prefix + name)) units.set(prefix + name, { dimension, scale: multiply(scale, factor) });
  }
  for (const name of whole.split(" ").filter(Boolean)) units.set(name, { dimension, scale });
}

/** Number, plain, grouped by commas, a fraction or with an exponent of ten, and what stands before and behind it. */
const shape = /^([+-]?)\s*([$¥€])?\s*([+-]?)(\d{1,3}(?:,\d{3})+|\d{1,40})?(?:\.(\d{1,40}))?(?:\/(\d{1,40})|(?:e|\s?[×x*]\s?10\^)\{?([+-]?\d{1,3})\}?)?\s*([^\d\s].{0,40})?$/iu;

/** With the minus of a keyboard, and "× 10³" as "× 10^3". */
const keyed = (text: string): string =>
  text.replaceAll("−", "-").replace(/(?<=[×x*]\s?10)([⁻⁺]?)([⁰¹²³⁴-⁹]{1,3})/u, (_, sign: string, digits: string) => `^${sign === "⁻" ? "-" : ""}${digits.normalize("NFKC")}`);

/**
 * Whether an answer is the gold quantity: "1.5 km" is "1,500 m", "90 min" is "1.5 hours", "50%" is "0.5". Exact unless a tolerance is
 * given; a unit that is not known must be the same word. One quantity and nothing else is an answer.
 */
export function verifyQuantity(answer: string, gold: string, { relative = 0, unitRequired = true }: QuantityOptions = {}): Verdict {
  const [said, wanted] = [readQuantity(answer), readQuantity(gold)];
  if (said === null) return wrong(null);
  const parsed = answer.trim();
  const free = wanted !== null && said.dimension === "" && (!unitRequired || wanted.dimension === "share");
  if (wanted === null || !(said.dimension === wanted.dimension || free || (said.dimension === "share" && wanted.dimension === ""))) return { correct: false, legal: true, parsed };
  const value = free && wanted.dimension !== "share" ? multiply(said.value, wanted.scale) : said.value;
  return { correct: near(value, wanted.value, relative), legal: true, parsed };
}

interface Quantity extends Unit {
  /** In base units. */
  readonly value: Rational;
}

function readQuantity(text: string): Quantity | null {
  const match = text.length > 200 ? null : shape.exec(keyed(text.trim()).replace(/\s*[.。]$/, "").replace(/^\$(.*)\$$/, "$1"));
  if (match === null) return null;
  const [, before = "", sign = "", minus = "", whole = "", decimals = "", bottom = "1", exponent = "0", behind = ""] = match;
  if (whole + decimals === "" || BigInt(bottom) === 0n || (sign !== "" && behind !== "") || (before !== "" && minus !== "")) return null;
  const unit = unitOf(sign || behind.trim());
  if (unit === null) return null;
  const digits = rational(BigInt(whole.replaceAll(",", "") + decimals), 10n ** BigInt(decimals.length) * BigInt(bottom));
  const power = 10n ** BigInt(Math.abs(Number(exponent)));
  const number = multiply(digits, Number(exponent) < 0 ? rational(1n, power) : rational(power));
  return { ...unit, value: multiply(before + minus === "-" ? negate(number) : number, unit.scale) };
}

/** A unit of the table, with a power or a divisor ("m^2", "km/h", "miles per hour"); else a word by itself, one of itself. */
function unitOf(text: string): Unit | null {
  if (text === "") return { dimension: "", scale: rational(1n) };
  const written = text.replaceAll("μ", "µ").replace(/\s+per\s+/gi, "/").replace(/^(square|sq|cubic)\.?\s+(\S+)$/i, (_, power: string, name: string) => `${name}^${/^c/i.test(power) ? 3 : 2}`);
  const parts = written.split("/").map((part) => /^([^^²³]+?)\s*(?:\^?([23²³]))?$/u.exec(part.trim()));
  if (parts.length > 2 || parts.includes(null)) return null;
  let scale = rational(1n);
  const names = parts.map((part, at) => {
    const name = part![1]!;
    const unit = units.get(name.length > 2 ? name.toLowerCase() : name) ?? units.get(name);
    const power = { "2": 2, "3": 3, "²": 2, "³": 3 }[part![2] ?? ""] ?? 1;
    for (let i = 0; i < power && unit; i++) scale = multiply(scale, at === 0 ? unit.scale : rational(unit.scale.denominator, unit.scale.numerator));
    return `${unit?.dimension ?? named(name)}^${power}`;
  });
  const single = parts.length === 1 && names[0]!.endsWith("^1");
  return { dimension: single ? names[0]!.slice(0, -2) : names.join("/"), scale };
}

/** "apples" are each an "apple". */
const named = (word: string): string => (word.length > 2 ? word.toLowerCase().replace(/(?<=..[^s])s$/, "") : word);

/** How many base units each of two units is, where both measure the same; else null. */
export function sameUnits(a: string, b: string): readonly [Rational, Rational] | null {
  const [first, second] = [unitOf(a), unitOf(b)];
  return first !== null && second !== null && first.dimension === second.dimension ? [first.scale, second.scale] : null;
}

function near(value: Rational, wanted: Rational, relative: number): boolean {
  if (relative === 0) return equal(value, wanted);
  const magnitude = ({ numerator, denominator }: Rational): Rational => ({ numerator: numerator < 0n ? -numerator : numerator, denominator });
  const parts = 10n ** 12n;
  const allowed = multiply(magnitude(wanted), rational(BigInt(Math.round(relative * Number(parts))), parts));
  return add(allowed, negate(magnitude(add(value, negate(wanted))))).numerator >= 0n;
}

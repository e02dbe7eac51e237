import { choice, digit, empty, literal, nothing, optional, range, repeat, sequence, type Expression } from "./expression.ts";
import { json, wholeNumber } from "./json.ts";

export interface Bounds {
  /** Whole numbers only. */
  readonly integer: boolean;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly exclusiveMinimum?: number;
  readonly exclusiveMaximum?: number;
  /** A whole number from 1: what it does not divide is left out, and so are numbers of more than fifteen digits, which would be rounded. */
  readonly multipleOf?: number;
}

/** A decimal without its sign: digits before and after the point, no zeros at either end ("0" before it is ""). */
interface Decimal {
  readonly whole: string;
  readonly fraction: string;
}

const mostWhole = 18;
const mostFraction = 25;
/** Digits of whole numbers that a double tells apart. */
const mostExact = 15;
const tiniest = 1e-20;

/**
 * Numbers within bounds, written without an exponent wherever there is a bound. What is written is compared as it will be read:
 * above a number means from the next number that there is.
 */
export function numberWithin({ multipleOf, integer: only, ...bounds }: Bounds): Expression {
  const integer = only || multipleOf !== undefined;
  const [low, high] = [lowest(bounds, integer), -lowest(negated(bounds), integer)];
  const limits = [
    ...(low === -Infinity ? [] : [atLeast(low, integer)]),
    ...(high === Infinity ? [] : [atMost(high, integer)]),
    ...(multipleOf === undefined ? [] : [sequence(optional(literal("-")), multiple(multipleOf))]),
  ];
  if (limits.length === 0) return integer ? json.integer : json.number;
  return limits.reduce((item, other) => ({ type: "and", item, other }));
}

const multiple = (of: number): Expression => ({ type: "and", item: wholeNumber(mostExact), other: { type: "multiple", of } });

type Ends = Omit<Bounds, "integer" | "multipleOf">;

const negated = ({ minimum, maximum, exclusiveMinimum, exclusiveMaximum }: Ends): Ends => {
  const ends = { minimum: maximum, maximum: minimum, exclusiveMinimum: exclusiveMaximum, exclusiveMaximum: exclusiveMinimum };
  return Object.fromEntries(Object.entries(ends).flatMap(([name, value]) => (value === undefined ? [] : [[name, -value]])));
};

/** The lowest number that both minima allow. Tiny ones have too many digits: those nearer to 0 than any we write are left out. */
function lowest({ minimum = -Infinity, exclusiveMinimum = -Infinity }: Ends, integer: boolean): number {
  const above = integer ? Math.max(Math.floor(exclusiveMinimum) + 1, successor(exclusiveMinimum)) : successor(exclusiveMinimum);
  const from = Math.max(integer ? Math.ceil(minimum) : minimum, exclusiveMinimum === -Infinity ? -Infinity : above);
  return from !== 0 && Math.abs(from) < tiniest ? (from > 0 ? tiniest : 0) : from;
}

/** The next number upwards: of a double's bits, read as an integer, one more or, below 0, one less. */
function successor(value: number): number {
  if (value === 0) return Number.MIN_VALUE;
  const bits = new BigInt64Array(new Float64Array([value]).buffer);
  bits[0] = (bits[0] as bigint) + (value > 0 ? 1n : -1n);
  return new Float64Array(bits.buffer)[0] as number;
}

function atLeast(bound: number, integer: boolean): Expression {
  if (Math.abs(bound) >= 10 ** mostWhole) return bound > 0 ? nothing : choice(any(integer), minus(any(integer)));
  const size = decimal(Math.abs(bound));
  if (bound > 0) return from(size, integer);
  return choice(any(integer), minus(bound < 0 ? upTo(size, integer) : zero(integer)));
}

function atMost(bound: number, integer: boolean): Expression {
  if (Math.abs(bound) >= 10 ** mostWhole) return bound < 0 ? nothing : choice(any(integer), minus(any(integer)));
  const size = decimal(Math.abs(bound));
  if (bound < 0) return minus(from(size, integer));
  return choice(minus(any(integer)), bound > 0 ? upTo(size, integer) : zero(integer));
}

const minus = (size: Expression): Expression => sequence(literal("-"), size);

/** Sizes from a decimal on. */
function from({ whole, fraction }: Decimal, integer: boolean): Expression {
  const equal = sequence(literal(whole || "0"), integer ? empty : fractionFrom(fraction));
  return choice(sequence(wholeAbove(whole), anyFraction(integer)), equal);
}

/** Sizes up to a decimal. */
function upTo({ whole, fraction }: Decimal, integer: boolean): Expression {
  const equal = sequence(literal(whole || "0"), integer ? empty : fractionUpTo(fraction));
  return choice(sequence(wholeBelow(whole), anyFraction(integer)), equal);
}

/** Whole numbers above one: longer, or as long and larger at the first digit that differs. */
function wholeAbove(whole: string): Expression {
  const longer = sequence(range("1", "9"), repeat(digit, whole.length, mostWhole - 1));
  return choice(whole.length < mostWhole ? longer : nothing, ...differing(whole, (at) => [next(at, 1), "9"]));
}

/** Whole numbers below one: shorter, or as long and smaller at the first digit that differs. */
function wholeBelow(whole: string): Expression {
  const shorter = whole.length > 1 ? sequence(range("1", "9"), repeat(digit, 0, whole.length - 2)) : nothing;
  return choice(...(whole === "" ? [] : [literal("0")]), shorter, ...differing(whole, (at, first) => [first ? "1" : "0", next(at, -1)]));
}

/** For each digit: those before it as they are, it between what `bounds` says, any after it. */
function differing(digits: string, bounds: (at: string, first: boolean) => readonly [string, string]): Expression[] {
  return [...digits].flatMap((at, i) => {
    const [low, high] = bounds(at, i === 0);
    return low > high || low > "9" || high < "0" ? [] : [sequence(literal(digits.slice(0, i)), range(low, high), ...Array.from(digits.slice(i + 1), () => digit))];
  });
}

const next = (at: string, step: 1 | -1): string => String.fromCodePoint((at.codePointAt(0) as number) + step);

/** A fraction, or none, from the digits on. */
function fractionFrom(fraction: string): Expression {
  const any = repeat(digit, 0, mostFraction);
  const larger = [...fraction].flatMap((at, i) => (at === "9" ? [] : [sequence(literal(`.${fraction.slice(0, i)}`), range(next(at, 1), "9"), any)]));
  const longer = sequence(literal(`.${fraction}`), repeat(literal("0"), 0, mostFraction), range("1", "9"), any);
  return choice(...larger, longer, equalTo(fraction));
}

/** A fraction, or none, up to the digits. */
function fractionUpTo(fraction: string): Expression {
  const any = repeat(digit, 0, mostFraction);
  const smaller = [...fraction].flatMap((at, i) => [
    ...(at === "0" ? [] : [sequence(literal(`.${fraction.slice(0, i)}`), range("0", next(at, -1)), any)]),
    // The digits end before theirs do: smaller, as theirs do not end in zeros.
    i === 0 ? empty : literal(`.${fraction.slice(0, i)}`),
  ]);
  return choice(...smaller, equalTo(fraction));
}

function equalTo(fraction: string): Expression {
  const zeros = (min: number): Expression => repeat(literal("0"), min, mostFraction);
  return fraction === "" ? optional(sequence(literal("."), zeros(1))) : sequence(literal(`.${fraction}`), zeros(0));
}

const zero = (integer: boolean): Expression => sequence(literal("0"), integer ? empty : equalTo(""));
const anyFraction = (integer: boolean): Expression => (integer ? empty : optional(sequence(literal("."), repeat(digit, 1, mostFraction))));
const any = (integer: boolean): Expression => sequence(wholeNumber(mostWhole), anyFraction(integer));

/** A number's shortest decimal, without exponent. */
function decimal(size: number): Decimal {
  const [mantissa = "", exponent = "0"] = String(size).split("e");
  const [before = "", after = ""] = mantissa.split(".");
  const digits = before + after;
  const point = before.length + Number(exponent);
  const whole = point <= 0 ? "" : digits.slice(0, point).padEnd(point, "0");
  const fraction = point <= 0 ? "0".repeat(-point) + digits : digits.slice(point);
  return { whole: whole.replace(/^0+/, ""), fraction: fraction.replace(/0+$/, "") };
}

import { choice, empty, literal, nothing, optional, range, repeat, sequence, type Expression } from "./expression.ts";
import { json } from "./json.ts";

export interface Bounds {
  /** Whole numbers only. */
  readonly integer: boolean;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly exclusiveMinimum?: number;
  readonly exclusiveMaximum?: number;
}

/** A decimal without its sign: digits before and after the point, no zeros at either end ("0" before it is ""). */
interface Decimal {
  readonly whole: string;
  readonly fraction: string;
}

const mostWhole = 18;
const mostFraction = 25;
const digit = range("0", "9");

/** Numbers within bounds, written without an exponent wherever there is a bound. */
export function numberWithin(bounds: Bounds): Expression {
  const { integer, minimum, maximum, exclusiveMinimum, exclusiveMaximum } = bounds;
  const limits = [
    ...(minimum === undefined ? [] : [atLeast(minimum, integer, true)]),
    ...(exclusiveMinimum === undefined ? [] : [atLeast(exclusiveMinimum, integer, false)]),
    ...(maximum === undefined ? [] : [atMost(maximum, integer, true)]),
    ...(exclusiveMaximum === undefined ? [] : [atMost(exclusiveMaximum, integer, false)]),
  ];
  if (limits.length === 0) return integer ? json.integer : json.number;
  return limits.reduce((item, other) => ({ type: "and", item, other }));
}

function atLeast(bound: number, integer: boolean, inclusive: boolean): Expression {
  const size = decimal(Math.abs(bound));
  if (bound > 0) return above(size, integer, inclusive);
  if (bound < 0) return choice(any(integer), minus(below(size, integer, inclusive)));
  return inclusive ? choice(any(integer), minus(zero(integer))) : above(size, integer, false);
}

function atMost(bound: number, integer: boolean, inclusive: boolean): Expression {
  const size = decimal(Math.abs(bound));
  if (bound > 0) return choice(minus(any(integer)), below(size, integer, inclusive));
  if (bound < 0) return minus(above(size, integer, inclusive));
  return inclusive ? choice(minus(any(integer)), zero(integer)) : minus(above(size, integer, false));
}

const minus = (size: Expression): Expression => sequence(literal("-"), size);

/** Sizes from, or above, a decimal. */
function above({ whole, fraction }: Decimal, integer: boolean, inclusive: boolean): Expression {
  const larger = sequence(wholeAbove(whole), anyFraction(integer));
  const equal = sequence(literal(whole || "0"), fractionAbove(fraction, inclusive));
  return integer ? choice(wholeAbove(whole), ...(inclusive && fraction === "" ? [literal(whole || "0")] : [])) : choice(larger, equal);
}

/** Sizes up to, or below, a decimal. */
function below({ whole, fraction }: Decimal, integer: boolean, inclusive: boolean): Expression {
  const smaller = sequence(wholeBelow(whole), anyFraction(integer));
  if (integer) return choice(wholeBelow(whole), ...(inclusive || fraction !== "" ? [literal(whole || "0")] : []));
  return choice(smaller, sequence(literal(whole || "0"), fractionBelow(fraction, inclusive)));
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

/** A fraction, or none, from or above the digits. */
function fractionAbove(fraction: string, inclusive: boolean): Expression {
  const any = repeat(digit, 0, mostFraction);
  const larger = [...fraction].flatMap((at, i) => (at === "9" ? [] : [sequence(literal(`.${fraction.slice(0, i)}`), range(next(at, 1), "9"), any)]));
  const longer = sequence(literal(`.${fraction}`), repeat(literal("0"), 0, mostFraction), range("1", "9"), any);
  return choice(...larger, longer, ...(inclusive ? [equalTo(fraction)] : []));
}

/** A fraction, or none, up to or below the digits. */
function fractionBelow(fraction: string, inclusive: boolean): Expression {
  const any = repeat(digit, 0, mostFraction);
  const smaller = [...fraction].flatMap((at, i) => [
    ...(at === "0" ? [] : [sequence(literal(`.${fraction.slice(0, i)}`), range("0", next(at, -1)), any)]),
    // The digits end before theirs do: smaller, as theirs do not end in zeros.
    ...(i === 0 ? [empty] : [literal(`.${fraction.slice(0, i)}`)]),
  ]);
  return choice(...smaller, ...(inclusive ? [equalTo(fraction)] : []));
}

function equalTo(fraction: string): Expression {
  const zeros = (min: number): Expression => repeat(literal("0"), min, mostFraction);
  return fraction === "" ? optional(sequence(literal("."), zeros(1))) : sequence(literal(`.${fraction}`), zeros(0));
}

const zero = (integer: boolean): Expression => sequence(literal("0"), integer ? empty : equalTo(""));
const anyFraction = (integer: boolean): Expression => (integer ? empty : optional(sequence(literal("."), repeat(digit, 1, mostFraction))));
const any = (integer: boolean): Expression => sequence(choice(literal("0"), sequence(range("1", "9"), repeat(digit, 0, mostWhole - 1))), anyFraction(integer));

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

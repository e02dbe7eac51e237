/** An exact rational in lowest terms; the denominator is positive. */
export interface Rational {
  readonly numerator: bigint;
  readonly denominator: bigint;
}

/** In lowest terms; the denominator must not be 0. */
export function rational(numerator: bigint, denominator: bigint = 1n): Rational {
  let [a, b] = [numerator < 0n ? -numerator : numerator, denominator < 0n ? -denominator : denominator];
  while (b !== 0n) [a, b] = [b, a % b];
  const divisor = denominator < 0n ? -a : a;
  return { numerator: numerator / divisor, denominator: denominator / divisor };
}

export const negate = (a: Rational): Rational => ({ numerator: -a.numerator, denominator: a.denominator });

/** `a` must not be 0. */
export const invert = (a: Rational): Rational => rational(a.denominator, a.numerator);

export const multiply = (a: Rational, b: Rational): Rational => rational(a.numerator * b.numerator, a.denominator * b.denominator);

export const add = (a: Rational, b: Rational): Rational =>
  rational(a.numerator * b.denominator + b.numerator * a.denominator, a.denominator * b.denominator);

export const equal = (a: Rational, b: Rational): boolean => a.numerator === b.numerator && a.denominator === b.denominator;

export function isInteger(value: Rational, integer: number): boolean {
  return value.denominator === 1n && value.numerator === BigInt(integer);
}

/** "7" or "10/3". */
export function formatRational({ numerator, denominator }: Rational): string {
  return denominator === 1n ? `${numerator}` : `${numerator}/${denominator}`;
}

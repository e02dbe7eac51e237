import { multiply, rational, type Rational } from "../rational.ts";
import { constant, MathFault, name, type Algebra, type Quotient } from "./algebra.ts";

/** Largest argument of a factorial or binomial. */
const largest = 200n;

export function factorial(of: Quotient): Rational {
  const n = natural(of);
  let product = 1n;
  for (let factor = 2n; factor <= n; factor++) product *= factor;
  return rational(product);
}

export function binomial(of: Quotient, chosen: Quotient): Rational {
  const [n, k] = [natural(of), natural(chosen)];
  let result = rational(k <= n ? 1n : 0n);
  for (let i = 1n; i <= k && k <= n; i++) result = multiply(result, rational(n - k + i, i));
  return result;
}

function natural(of: Quotient): bigint {
  const value = constant(of);
  if (value === null || value.denominator !== 1n || value.numerator < 0n || value.numerator > largest) throw new MathFault("not a small natural number");
  return value.numerator;
}

/**
 * A function of the table by its LaTeX name; "log" without a base is natural. Logarithms and the usual angles are exact, anything
 * else is a term by its name.
 * @throws MathFault
 */
export function applyFunction(algebra: Algebra, called: string, argument: Quotient, base: Quotient | null, degrees: boolean): Quotient {
  if (called === "ln" || (called === "log" && base === null)) return algebra.log(argument);
  if (called === "log" || called === "lg") return algebra.divide(algebra.log(argument), algebra.log(base ?? algebra.number(rational(10n))));
  if (called === "exp") return algebra.power(algebra.atom("e"), argument);
  const angle = degrees ? algebra.multiply(argument, algebra.multiply(algebra.atom("π"), algebra.number(rational(1n, 180n)))) : argument;
  const [sine, cosine] = [sineOf(algebra, angle, 0n), sineOf(algebra, angle, 6n)];
  if (sine !== null && cosine !== null) {
    const one = algebra.number(rational(1n));
    if (called === "sin") return sine;
    if (called === "cos") return cosine;
    if (called === "tan") return algebra.divide(sine, cosine);
    if (called === "cot") return algebra.divide(cosine, sine);
    if (called === "sec") return algebra.divide(one, cosine);
    if (called === "csc") return algebra.divide(one, sine);
  }
  return algebra.atom(`${called}(${name(angle)})`);
}

/** Squares of the sine at multiples of π/12, from 0 to π/2, where they are rational. */
const squares: readonly (Rational | null)[] = [rational(0n), null, rational(1n, 4n), rational(1n, 2n), rational(3n, 4n), null, rational(1n)];

/** Sine of an angle that is a multiple of π/12, plus `turn` twelfths of π; null where no root of a rational says it. */
function sineOf(algebra: Algebra, angle: Quotient, turn: bigint): Quotient | null {
  const twelfths = constant(algebra.divide(algebra.multiply(angle, algebra.number(rational(12n))), algebra.atom("π")));
  if (twelfths?.denominator !== 1n) return null;
  const step = Number((((twelfths.numerator + turn) % 24n) + 24n) % 24n);
  const half = step % 12;
  const square = squares[half > 6 ? 12 - half : half];
  if (square === null || square === undefined) return null;
  const magnitude = algebra.power(algebra.number(square), algebra.number(rational(1n, 2n)));
  return step >= 12 ? algebra.negate(magnitude) : magnitude;
}

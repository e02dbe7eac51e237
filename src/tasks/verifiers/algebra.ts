import { add, equal, formatRational, invert, multiply, negate, rational, type Rational } from "../rational.ts";

/** Why a text has no exact value. Only thrown below `parseMath`, which turns it into data. */
export class MathFault extends Error {}

/** Product of atoms: variables, "π", "e", "i", primes under a root, and opaque terms such as "sin(x)", each with its exponent. */
type Monomial = ReadonlyMap<string, Rational>;
interface Term {
  readonly monomial: Monomial;
  readonly coefficient: Rational;
}
/** By the canonical name of the monomial; no coefficient is 0. */
type Polynomial = ReadonlyMap<string, Term>;

/** An exact expression: a quotient of polynomials. The divisor is never 0, and is 1 wherever it can be. */
export interface Quotient {
  readonly top: Polynomial;
  readonly bottom: Polynomial;
}

/** Most terms of one polynomial. */
const mostTerms = 200;
/** Most bits of a numerator or denominator, and the largest exponent of a number. */
const mostBits = 2048;
/** Largest exponent of a sum. */
const mostPower = 24n;
/** Largest number under a root or logarithm, which are split into primes. */
const mostFactored = 10n ** 10n;

const zero = rational(0n);
const one = rational(1n);
const unit: Monomial = new Map();

/**
 * Exact arithmetic over polynomials whose atoms may have rational exponents. Two expressions are equal if and only if the cross
 * products of their polynomials are, because distinct products of roots of primes are linearly independent over the rationals.
 * The work of one instance is bounded, whatever is asked of it.
 */
export class Algebra {
  #work = 0;

  number(value: Rational): Quotient {
    return { top: this.#polynomial([{ monomial: unit, coefficient: value }]), bottom: this.#one };
  }

  atom(name: string): Quotient {
    return { top: this.#polynomial([{ monomial: new Map([[name, one]]), coefficient: one }]), bottom: this.#one };
  }

  add(a: Quotient, b: Quotient): Quotient {
    return this.#quotient(this.#sum(this.#product(a.top, b.bottom), this.#product(b.top, a.bottom)), this.#product(a.bottom, b.bottom));
  }

  negate(a: Quotient): Quotient {
    return this.multiply(a, this.number(rational(-1n)));
  }

  subtract(a: Quotient, b: Quotient): Quotient {
    return this.add(a, this.negate(b));
  }

  multiply(a: Quotient, b: Quotient): Quotient {
    return this.#quotient(this.#product(a.top, b.top), this.#product(a.bottom, b.bottom));
  }

  divide(a: Quotient, b: Quotient): Quotient {
    if (b.top.size === 0) throw new MathFault("division by zero");
    return this.#quotient(this.#product(a.top, b.bottom), this.#product(a.bottom, b.top));
  }

  power(base: Quotient, exponent: Quotient): Quotient {
    const by = constant(exponent);
    if (by === null) return this.#symbolicPower(base, exponent);
    if (by.numerator < 0n) return this.divide(this.number(one), this.power(base, this.negate(exponent)));
    if (by.denominator !== 1n) return this.#root(this.power(base, this.number(rational(by.numerator))), by.denominator);
    if (by.numerator === 0n && base.top.size === 0) throw new MathFault("0^0");
    const single = base.top.size <= 1 && base.bottom.size === 1;
    if (by.numerator > (single ? BigInt(mostBits) : mostPower)) throw new MathFault("exponent too large");
    let result = this.number(one);
    for (const bit of by.numerator.toString(2)) {
      result = this.multiply(result, result);
      if (bit === "1") result = this.multiply(result, base);
    }
    return result;
  }

  /** A product over the terms of the exponent: e^(x+1) is e·e^x, and 4^x is (2^x)². A part of a power is one of a positive base only. */
  #symbolicPower(base: Quotient, exponent: Quotient): Quotient {
    const value = constant(base);
    const positive = value === null ? ["e", "π"].includes(name(base)) : value.numerator > 0n;
    const terms = [...exponent.top.values()];
    const split = exponent.bottom.has("") && (positive || (value === null && terms.every(({ coefficient }) => coefficient.denominator === 1n)));
    if (!split) return this.atom(`(${name(base)})^(${name(exponent)})`);
    const factors: readonly (readonly [string, Rational])[] = value === null ? [[name(base), one]] : [...this.#factors(value)].map(([prime, times]) => [`${prime}`, times]);
    let result = this.number(one);
    for (const { monomial, coefficient } of terms) {
      const atoms = new Map(factors.map(([factor, times]) => [`(${factor})^(${nameOfMonomial(monomial)})`, multiply(times, coefficient)]));
      result = this.multiply(result, monomial.size === 0 ? this.power(base, this.number(coefficient)) : { top: this.#polynomial([{ monomial: atoms, coefficient: one }]), bottom: this.#one });
    }
    return result;
  }

  /** Natural logarithm; of a positive rational it is a sum over its primes. */
  log(of: Quotient): Quotient {
    const value = constant(of);
    if (value === null) return name(of) === "e" ? this.number(one) : this.atom(`ln(${name(of)})`);
    if (value.numerator <= 0n) throw new MathFault("logarithm of what is not positive");
    let result = this.number(zero);
    for (const [prime, exponent] of this.#factors(value)) {
      result = this.add(result, this.multiply(this.number(exponent), this.atom(`ln(${prime})`)));
    }
    return result;
  }

  equal(a: Quotient, b: Quotient): boolean {
    return this.subtract(a, b).top.size === 0;
  }

  get #one(): Polynomial {
    return new Map([["", { monomial: unit, coefficient: one }]]);
  }

  /** The root of one term is a term; that of a sum, or of an even power that might have been negative, is opaque. */
  #root(of: Quotient, degree: bigint): Quotient {
    const [term, ...others] = of.top.values();
    if (term === undefined) return this.number(zero);
    const opaque = this.atom(`(${name(of)})^(1/${degree})`);
    if (others.length > 0 || of.bottom.size > 1 || !this.equal(of, { top: of.top, bottom: this.#one })) return opaque;
    const lost = [...term.monomial].some(([atom, { numerator, denominator }]) => !isPrimeAtom(atom) && denominator === 1n && numerator % degree === 0n && degree % 2n === 0n);
    const negative = term.coefficient.numerator < 0n;
    if (lost || term.monomial.has("i") || (negative && degree > 2n && (degree % 2n === 0n || term.monomial.size > 0))) return opaque;
    const magnitude = negative ? negate(term.coefficient) : term.coefficient;
    const share = rational(1n, degree);
    const monomial = new Map([...term.monomial].map(([atom, exponent]) => [atom, multiply(exponent, share)]));
    for (const [prime, exponent] of this.#factors(magnitude)) monomial.set(`${prime}`, add(monomial.get(`${prime}`) ?? zero, multiply(exponent, share)));
    if (negative && degree === 2n) monomial.set("i", one);
    const coefficient = negative && degree !== 2n ? rational(-1n) : one;
    return { top: this.#polynomial([{ monomial, coefficient }]), bottom: this.#one };
  }

  #factors(value: Rational): Map<bigint, Rational> {
    const factors = new Map<bigint, Rational>();
    for (const [part, sign] of [[value.numerator, 1n], [value.denominator, -1n]] as const) {
      if (part > mostFactored) throw new MathFault("too large to factor");
      this.#spend(100);
      let rest = Number(part);
      for (let prime = 2; prime * prime <= rest; prime++) {
        for (; rest % prime === 0; rest /= prime) factors.set(BigInt(prime), add(factors.get(BigInt(prime)) ?? zero, rational(sign)));
      }
      if (rest > 1) factors.set(BigInt(rest), add(factors.get(BigInt(rest)) ?? zero, rational(sign)));
    }
    return factors;
  }

  #quotient(top: Polynomial, bottom: Polynomial): Quotient {
    if (bottom.size === 0) throw new MathFault("division by zero");
    if (bottom.size > 1) return { top, bottom };
    const [{ monomial, coefficient }] = bottom.values() as Iterable<Term> as [Term];
    const inverse = this.#polynomial([{ monomial: new Map([...monomial].map(([atom, exponent]) => [atom, negate(exponent)])), coefficient: invert(coefficient) }]);
    return { top: this.#product(top, inverse), bottom: this.#one };
  }

  #sum(a: Polynomial, b: Polynomial): Polynomial {
    return this.#polynomial([...a.values(), ...b.values()]);
  }

  #product(a: Polynomial, b: Polynomial): Polynomial {
    if (a.size * b.size > mostTerms * 8) throw new MathFault("too many terms");
    const terms: Term[] = [];
    for (const left of a.values()) {
      for (const right of b.values()) {
        const monomial = new Map(left.monomial);
        for (const [atom, exponent] of right.monomial) monomial.set(atom, add(monomial.get(atom) ?? zero, exponent));
        terms.push({ monomial, coefficient: multiply(left.coefficient, right.coefficient) });
      }
    }
    return this.#polynomial(terms);
  }

  #polynomial(terms: readonly Term[]): Polynomial {
    const sums = new Map<string, Term>();
    for (const raw of terms) {
      const term = settled(raw);
      const key = nameOfMonomial(term.monomial);
      const coefficient = add(sums.get(key)?.coefficient ?? zero, term.coefficient);
      const bits = Math.max(bitsOf(coefficient.numerator), bitsOf(coefficient.denominator));
      if (bits > mostBits) throw new MathFault("number too long");
      this.#spend(1 + term.monomial.size + bits / 32);
      if (coefficient.numerator === 0n) sums.delete(key);
      else sums.set(key, { monomial: term.monomial, coefficient });
    }
    if (sums.size > mostTerms) throw new MathFault("too many terms");
    return sums;
  }

  #spend(work: number): void {
    this.#work += work;
    if (this.#work > 30_000) throw new MathFault("too much work");
  }
}

/** The value of an expression that is a rational number, else null. */
export function constant({ top, bottom }: Quotient): Rational | null {
  if (bottom.size !== 1 || top.size > 1) return null;
  const [term] = top.values();
  return term === undefined ? zero : term.monomial.size === 0 ? term.coefficient : null;
}

/** Canonical wherever the divisor is one term. */
export function name({ top, bottom }: Quotient): string {
  return bottom.size === 1 && bottom.has("") ? nameOfPolynomial(top) : `(${nameOfPolynomial(top)})/(${nameOfPolynomial(bottom)})`;
}

function nameOfPolynomial(polynomial: Polynomial): string {
  const terms = [...polynomial].map(([key, { coefficient }]) => (key === "" ? formatRational(coefficient) : equal(coefficient, one) ? key : `${formatRational(coefficient)}·${key}`));
  return terms.length === 0 ? "0" : terms.sort().join(" + ");
}

function nameOfMonomial(monomial: Monomial): string {
  return [...monomial].map(([atom, exponent]) => (equal(exponent, one) ? atom : `${atom}^${formatRational(exponent)}`)).sort().join("·");
}

const isPrimeAtom = (atom: string): boolean => /^\d+$/.test(atom);

/** Whole powers of primes go to the coefficient, i² is −1, and exponents of 0 go. */
function settled({ monomial, coefficient }: Term): Term {
  const kept = new Map<string, Rational>();
  for (const [atom, exponent] of monomial) {
    let rest = exponent;
    if (isPrimeAtom(atom) || atom === "i") {
      const period = atom === "i" ? 2n : 1n;
      const whole = floor(exponent.numerator, exponent.denominator * period);
      rest = add(exponent, rational(-whole * period));
      if (whole > mostBits || whole < -mostBits) throw new MathFault("exponent too large");
      const factor = rational((atom === "i" ? -1n : BigInt(atom)) ** (whole < 0n ? -whole : whole));
      coefficient = multiply(coefficient, whole < 0n ? invert(factor) : factor);
    }
    if (rest.numerator !== 0n) kept.set(atom, rest);
  }
  return { monomial: kept, coefficient };
}

function floor(a: bigint, b: bigint): bigint {
  return a / b - (a % b !== 0n && a < 0n ? 1n : 0n);
}

const bitsOf = (value: bigint): number => value.toString(16).length * 4;

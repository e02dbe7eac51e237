import { add, invert, multiply, negate, type Rational } from "./rational.ts";

export type Evaluation =
  | { readonly ok: true; readonly value: Rational; readonly literals: readonly number[] }
  | { readonly ok: false; readonly reason: ExpressionFault };

export type ExpressionFault = "too_long" | "too_deep" | "bad_character" | "bad_number" | "bad_syntax" | "division_by_zero";

/** Longest expression read, in UTF-16 units. */
export const longestExpression = 256;
/** Deepest nesting of parentheses read. */
export const deepestExpression = 32;
/** Most digits in one number. */
const mostDigits = 9;

/**
 * Evaluates integer arithmetic exactly. The grammar is what a person writes on paper and nothing more:
 *
 *     sum     = product { ("+" | "-") product }
 *     product = signed { ("*" | "/") signed }
 *     signed  = [ "+" | "-" ] operand
 *     operand = number | "(" sum ")"
 *     number  = "0" | one to nine ASCII digits, the first of them not 0
 *
 * ASCII white space may stand between tokens. So there is no power, floor division, decimal point, stacked sign, implied
 * multiplication, equals sign, Unicode digit or Unicode operator. Total: a fault is data, never an exception.
 */
export function evaluate(text: string): Evaluation {
  if (text.length > longestExpression) return { ok: false, reason: "too_long" };
  const tokens = tokenise(text);
  if (typeof tokens === "string") return { ok: false, reason: tokens };
  const reader = new Reader(tokens);
  const value = reader.sum(0);
  if (typeof value === "string") return { ok: false, reason: value };
  if (!reader.done) return { ok: false, reason: "bad_syntax" };
  return { ok: true, value, literals: tokens.filter((token) => typeof token === "number") };
}

type Token = number | "+" | "-" | "*" | "/" | "(" | ")";

function tokenise(text: string): Token[] | ExpressionFault {
  const tokens: Token[] = [];
  for (let at = 0; at < text.length; ) {
    const char = text[at] as string;
    if (" \t\r\n".includes(char)) {
      at++;
    } else if ("+-*/()".includes(char)) {
      tokens.push(char as Token);
      at++;
    } else if (isDigit(char)) {
      const start = at;
      while (at < text.length && isDigit(text[at] as string)) at++;
      if (at - start > mostDigits || (char === "0" && at - start > 1)) return "bad_number";
      tokens.push(Number(text.slice(start, at)));
    } else {
      return "bad_character";
    }
  }
  return tokens;
}

function isDigit(char: string): boolean {
  return char >= "0" && char <= "9";
}

/** Recursive descent; its depth is bounded by `deepestExpression`. */
class Reader {
  readonly #tokens: readonly Token[];
  #at = 0;

  constructor(tokens: readonly Token[]) {
    this.#tokens = tokens;
  }

  get done(): boolean {
    return this.#at === this.#tokens.length;
  }

  sum(depth: number): Rational | ExpressionFault {
    let left = this.#product(depth);
    while (typeof left !== "string") {
      const sign = this.#take("+", "-");
      if (sign === null) return left;
      const right = this.#product(depth);
      left = typeof right === "string" ? right : add(left, sign === "-" ? negate(right) : right);
    }
    return left;
  }

  #product(depth: number): Rational | ExpressionFault {
    let left = this.#signed(depth);
    while (typeof left !== "string") {
      const operator = this.#take("*", "/");
      if (operator === null) return left;
      const right = this.#signed(depth);
      if (typeof right === "string") return right;
      if (operator === "/" && right.numerator === 0n) return "division_by_zero";
      left = multiply(left, operator === "/" ? invert(right) : right);
    }
    return left;
  }

  #signed(depth: number): Rational | ExpressionFault {
    const sign = this.#take("+", "-");
    const operand = this.#operand(depth);
    return typeof operand === "string" || sign !== "-" ? operand : negate(operand);
  }

  #operand(depth: number): Rational | ExpressionFault {
    const token = this.#tokens[this.#at++];
    if (typeof token === "number") return { numerator: BigInt(token), denominator: 1n };
    if (token !== "(") return "bad_syntax";
    if (depth === deepestExpression) return "too_deep";
    const inner = this.sum(depth + 1);
    if (typeof inner === "string") return inner;
    return this.#take(")") === null ? "bad_syntax" : inner;
  }

  #take(...wanted: Token[]): Token | null {
    const token = this.#tokens[this.#at];
    if (token === undefined || !wanted.includes(token)) return null;
    this.#at++;
    return token;
  }
}

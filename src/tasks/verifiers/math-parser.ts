import { rational, type Rational } from "../rational.ts";
import { constant, MathFault, name, type Algebra, type Quotient } from "./algebra.ts";
import { applyFunction, binomial, factorial } from "./math-functions.ts";
import { mathTokens, type MathToken } from "./math-lexer.ts";
import { changesNumber } from "./math-numerals.ts";

/** What an answer can be. */
export type MathObject =
  | { readonly kind: "scalar"; readonly value: Quotient; readonly percent: boolean; readonly unit: string | null }
  | { readonly kind: "infinity"; readonly negative: boolean }
  /** Ordered, between brackets: a tuple or an interval. */
  | { readonly kind: "tuple"; readonly open: string; readonly close: string; readonly items: readonly MathObject[] }
  /** Unordered: a set, or answers side by side. */
  | { readonly kind: "set"; readonly items: readonly MathObject[] }
  | { readonly kind: "union"; readonly parts: readonly MathObject[] }
  /** `left` is the smaller side where there is one. */
  | { readonly kind: "relation"; readonly operator: "=" | "<" | "≤" | "≠"; readonly left: MathObject; readonly right: MathObject }
  | { readonly kind: "matrix"; readonly rows: readonly (readonly MathObject[])[] };

/** Longest text read, in UTF-16 units. */
export const longestMath = 1000;
/** Deepest nesting read. */
export const deepestMath = 40;

/** What a text may leave open. */
export interface MathReading {
  /** Whether "log" without a base is the common logarithm. Default false: the natural one. */
  readonly commonLog?: boolean;
}

const plusMinus = /\\pm(?![A-Za-z])|±/g;
const minusPlus = /\\mp(?![A-Za-z])|∓/g;

/** Reads LaTeX or plain mathematics, all of it, exactly; with a "±" as both values. Total: what it cannot read, within its limits, is null. */
export function parseMath(text: string, algebra: Algebra, reading: MathReading = {}): MathObject | null {
  if (text.length > longestMath) return null;
  const read = (written: string): MathObject => new Parser(mathTokens(written), algebra, reading).whole();
  try {
    if (text.search(plusMinus) === -1) return read(text);
    const both = [["+", "-"], ["-", "+"]].map(([sign, other]) => read(text.replace(plusMinus, sign!).replace(minusPlus, other!)));
    return { kind: "set", items: both.flatMap((object) => (object.kind === "set" ? object.items : [object])) };
  } catch (error) {
    if (error instanceof MathFault) return null;
    throw error;
  }
}

const relations = ["=", "<", ">", "≤", "≥", "≠"];
const closing = new Map([["(", [")", "]"]], ["[", ["]", ")"]], ["⦃", ["⦄"]]]);

/** Recursive descent that computes as it reads. */
class Parser {
  readonly #tokens: MathToken[];
  readonly #algebra: Algebra;
  readonly #reading: MathReading;
  #at = 0;
  #depth = 0;

  constructor(tokens: MathToken[], algebra: Algebra, reading: MathReading) {
    this.#tokens = tokens;
    this.#algebra = algebra;
    this.#reading = reading;
  }

  whole(): MathObject {
    const [first, second] = this.#tokens;
    if (first?.kind === "name" && second?.kind === "mark" && second.text === "∈") this.#at = 2;
    const items = this.#list();
    if (this.#at < this.#tokens.length) throw new MathFault("more than an answer");
    return items.length === 1 ? items[0]! : { kind: "set", items };
  }

  #list(): MathObject[] {
    const items = [this.#relation()];
    while (this.#take(",", ";")) items.push(this.#relation());
    return items;
  }

  #relation(): MathObject {
    let left = this.#union();
    const found: MathObject[] = [];
    for (let operator = this.#take(...relations); operator !== null; operator = this.#take(...relations)) {
      const right = this.#union();
      const [low, high] = operator === ">" || operator === "≥" ? [right, left] : [left, right];
      found.push({ kind: "relation", operator: operator === ">" ? "<" : operator === "≥" ? "≤" : (operator as "=" | "<" | "≤" | "≠"), left: low, right: high });
      left = right;
    }
    return found.length === 0 ? left : found.length === 1 ? found[0]! : { kind: "set", items: found };
  }

  #union(): MathObject {
    const parts = [this.#measured()];
    while (this.#take("∪")) parts.push(this.#measured());
    return parts.length === 1 ? parts[0]! : { kind: "union", parts };
  }

  /** A sum with its unit. */
  #measured(): MathObject {
    const object = this.#sum();
    if (object.kind !== "scalar") return object;
    const token = this.#tokens[this.#at];
    if (this.#take("°")) return { ...object, unit: "°" };
    if (token?.kind !== "words") return object;
    let unit = this.#words();
    const per = this.#tokens[this.#at + 1];
    if (this.#sees("/") && (per?.kind === "words" || per?.kind === "name")) {
      this.#at += per.kind === "name" ? 2 : 1;
      unit += `/${per.kind === "name" ? per.text : this.#words()}`;
    }
    if (this.#take("^")) unit += `^${name(this.#argument())}`;
    if (/\d|(?:^|\W)(?:or|and|not|than)(?:\W|$)/.test(unit.replace(/\^\d$/, "")) || changesNumber.test(unit)) throw new MathFault("words that are no unit");
    return { ...object, unit };
  }

  #words(): string {
    const words: string[] = [];
    for (let word = this.#tokens[this.#at]; word?.kind === "words"; word = this.#tokens[++this.#at]) words.push(word.text);
    return words.join(" ");
  }

  #sum(): MathObject {
    let left = this.#product();
    for (let sign = this.#take("+", "-"); sign !== null; sign = this.#take("+", "-")) {
      const right = valueOf(this.#product());
      left = scalar(sign === "+" ? this.#algebra.add(valueOf(left), right) : this.#algebra.subtract(valueOf(left), right));
    }
    return left;
  }

  #product(): MathObject {
    let left = this.#signed();
    for (;;) {
      const operator = this.#take("*", "/");
      if (operator === null && !this.#startsFactor()) return left;
      const right = valueOf(operator === null ? this.#postfix() : this.#signed());
      left = scalar(operator === "/" ? this.#algebra.divide(valueOf(left), right) : this.#algebra.multiply(valueOf(left), right));
    }
  }

  #signed(): MathObject {
    const sign = this.#take("+", "-");
    if (sign === null) return this.#postfix();
    const object = this.#postfix();
    if (sign === "+") return object;
    if (object.kind === "infinity") return { kind: "infinity", negative: !object.negative };
    return { ...scalar(this.#algebra.negate(valueOf(object))), percent: object.kind === "scalar" && object.percent };
  }

  #postfix(): MathObject {
    let object = this.#primary();
    for (;;) {
      const operator = this.#take("^", "!", "%");
      if (operator === null) return object;
      if (operator === "!") object = scalar(this.#algebra.number(factorial(valueOf(object))));
      else if (operator === "%") object = { ...scalar(valueOf(object)), percent: true };
      else if (this.#degree()) return { ...scalar(valueOf(object)), unit: "°" };
      else object = scalar(this.#algebra.power(valueOf(object), this.#argument()));
    }
  }

  /** "°" as an exponent: \circ, or {\circ}. */
  #degree(): boolean {
    if (this.#take("°")) return true;
    const [next, after] = [this.#tokens[this.#at + 1], this.#tokens[this.#at + 2]];
    if (!this.#sees("{") || next?.kind !== "mark" || next.text !== "°" || after?.kind !== "mark" || after.text !== "}") return false;
    this.#at += 3;
    return true;
  }

  #primary(): MathObject {
    const token = this.#tokens[this.#at++];
    if (token === undefined) throw new MathFault("ends too early");
    if (token.kind === "number") return scalar(this.#mixed(token));
    if (token.kind === "name") return scalar(this.#algebra.atom(token.text + (this.#take("_") ? `_${name(this.#argument())}` : "")));
    if (token.kind === "function") return scalar(this.#function(token.text));
    if (token.kind === "words") throw new MathFault("words where a value should be");
    return this.#nested(() => this.#marked(token.text));
  }

  #marked(mark: string): MathObject {
    const algebra = this.#algebra;
    if (mark === "frac") return scalar(algebra.divide(this.#argument(), this.#argument()));
    if (mark === "binom") return scalar(algebra.number(binomial(this.#argument(), this.#argument())));
    if (mark === "sqrt") {
      const degree = this.#take("[") ? valueOf(this.#sum(), this.#need("]")) : algebra.number(rational(2n));
      return scalar(algebra.power(this.#argument(), algebra.divide(algebra.number(rational(1n)), degree)));
    }
    if (mark === "∞") return { kind: "infinity", negative: false };
    if (mark === "∅") return { kind: "set", items: [] };
    if (mark === "|") return scalar(this.#absolute(valueOf(this.#sum(), this.#need("|"))));
    if (mark === "begin") return this.#matrix();
    if (mark === "{") return scalar(valueOf(this.#sum(), this.#need("}")));
    const closers = closing.get(mark);
    if (closers === undefined) throw new MathFault("no value starts so");
    if (mark === "⦃" && this.#take("⦄")) return { kind: "set", items: [] };
    const items = this.#list();
    const close = this.#take(...closers);
    if (close === null) throw new MathFault("a bracket is not closed");
    if (mark === "⦃") return { kind: "set", items };
    return items.length === 1 && close === closers[0] ? items[0]! : { kind: "tuple", open: mark, close, items };
  }

  #matrix(): MathObject {
    const rows: MathObject[][] = [];
    do {
      if (this.#sees("end")) break;
      const row = [this.#measured()];
      while (this.#take("&")) row.push(this.#measured());
      rows.push(row);
    } while (this.#take("\\"));
    this.#need("end");
    return { kind: "matrix", rows };
  }

  /** "3\frac{1}{2}" and "3 1/2" are sums; a whole number before any other fraction is a product. */
  #mixed({ value, digits }: Extract<MathToken, { kind: "number" }>): Quotient {
    const whole = this.#algebra.number(value);
    const start = this.#at;
    if (digits === null) return whole;
    const [top, bottom] = this.#take("frac") ? [constant(this.#argument()), constant(this.#argument())] : this.#plainFraction();
    if (top?.denominator === 1n && bottom?.denominator === 1n && top.numerator >= 0n && bottom.numerator > top.numerator) {
      return this.#algebra.add(whole, this.#algebra.number(rational(top.numerator, bottom.numerator)));
    }
    this.#at = start;
    return whole;
  }

  /** "1/2", of which nothing else can be made behind a number. */
  #plainFraction(): readonly (Rational | null)[] {
    const [top, over, bottom] = this.#tokens.slice(this.#at, this.#at + 3);
    if (top?.kind !== "number" || top.digits === null || over?.kind !== "mark" || over.text !== "/" || bottom?.kind !== "number" || bottom.digits === null) return [];
    this.#at += 3;
    return [top.value, bottom.value];
  }

  #function(called: string): Quotient {
    const base = called === "log" && this.#take("_") ? this.#argument() : null;
    const power = this.#take("^") ? this.#argument() : null;
    const inner = this.#nested(() => (this.#sees("(") || this.#sees("{") ? this.#primary() : this.#bareArgument()));
    const result = applyFunction(this.#algebra, called === "log" && this.#reading.commonLog ? "lg" : called, valueOf(inner), base, inner.kind === "scalar" && inner.unit === "°");
    return power === null ? result : this.#algebra.power(result, power);
  }

  /** What stands after a function without brackets: factors side by side. */
  #bareArgument(): MathObject {
    let object = this.#signed();
    while (this.#startsFactor() && this.#tokens[this.#at]?.kind === "name") object = scalar(this.#algebra.multiply(valueOf(object), valueOf(this.#postfix())));
    return object;
  }

  #absolute(value: Quotient): Quotient {
    const known = constant(value);
    if (known === null) return this.#algebra.atom(`|${[name(value), name(this.#algebra.negate(value))].sort()[0]}|`);
    return known.numerator < 0n ? this.#algebra.negate(value) : value;
  }

  /** Of a command, exponent or subscript: a group, or one token; of a number after a command, one digit. */
  #argument(): Quotient {
    return this.#nested(() => {
      const token = this.#tokens[this.#at];
      const before = this.#tokens[this.#at - 1];
      if (token?.kind === "number" && token.digits !== null && token.digits.length > 1 && !(before?.kind === "mark" && before.text === "^")) {
        this.#tokens[this.#at] = { kind: "number", value: rational(BigInt(token.digits.slice(1))), digits: token.digits.slice(1) };
        return this.#algebra.number(rational(BigInt(token.digits[0]!)));
      }
      const sign = this.#take("-");
      const value = token?.kind === "number" ? this.#algebra.number(this.#number()) : valueOf(this.#primary());
      return sign === null ? value : this.#algebra.negate(value);
    });
  }

  #number(): Rational {
    const token = this.#tokens[this.#at++];
    if (token?.kind !== "number") throw new MathFault("a number should be here");
    return token.value;
  }

  #startsFactor(): boolean {
    const token = this.#tokens[this.#at];
    return token?.kind === "name" || token?.kind === "function" || (token?.kind === "mark" && ["(", "{", "frac", "sqrt", "binom"].includes(token.text));
  }

  #nested<T>(read: () => T): T {
    if (++this.#depth > deepestMath) throw new MathFault("too deep");
    const result = read();
    this.#depth--;
    return result;
  }

  #sees(mark: string): boolean {
    const token = this.#tokens[this.#at];
    return token?.kind === "mark" && token.text === mark;
  }

  #take(...wanted: readonly string[]): string | null {
    const found = wanted.find((mark) => this.#sees(mark));
    if (found === undefined) return null;
    this.#at++;
    return found;
  }

  /** In argument position, so that it runs after the expression to its left. */
  #need(mark: string): void {
    if (this.#take(mark) === null) throw new MathFault(`${mark} is missing`);
  }
}

function scalar(value: Quotient): Extract<MathObject, { kind: "scalar" }> {
  return { kind: "scalar", value, percent: false, unit: null };
}

function valueOf(object: MathObject, _after?: void): Quotient {
  if (object.kind !== "scalar") throw new MathFault("no number");
  return object.value;
}

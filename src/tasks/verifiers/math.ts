import { Algebra, constant, MathFault, type Quotient } from "./algebra.ts";
import { extractMath, extractText, goldMath } from "./math-extract.ts";
import { merged } from "./math-intervals.ts";
import { parseMath, type MathObject, type MathReading } from "./math-parser.ts";
import { isWords, plain, unwrapped } from "./math-words.ts";
import { sameUnits } from "./quantity.ts";
import { wrong, type Verdict } from "./verdict.ts";

/**
 * Whether an answer is mathematically what the gold answer is: fractions, decimals, roots, logarithms, polynomials, sets, tuples,
 * intervals, unions, relations and matrices, in LaTeX or plain, compared exactly. So 0.33 is not 1/3, and 3.14 is not π. A percentage
 * is its number or its hundredth; a unit that only one side names is left out of account; `x = 5` answers a gold 5, and "log" is the
 * natural or the common logarithm on both sides. The gold answer stands by itself, without words around it; where it is words, or
 * cannot be read, the answer must be the same text, but for case and white space.
 */
export function verifyMath(answer: string, gold: string): Verdict {
  const given = goldMath(gold);
  const wanted = unwrapped(given);
  const words = isWords(given);
  // Letters alone may be a product all the same, which an answer writes otherwise: "mgh" is "m · g · h".
  const text = parseMath(wanted, new Algebra()) === null || (words && wanted !== given);
  if (text || words) {
    const verdict = verifyPlain(answer, wanted);
    if (text || verdict.correct) return verdict;
  }
  const extracted = extractMath(answer);
  if (extracted === null) return wrong(null);
  const said = unwrapped(extracted);
  if (isWords(extracted) && (words || said !== extracted)) return { correct: plain(said) === plain(wanted), legal: true, parsed: said };
  const readings: readonly MathReading[] = /log/i.test(wanted + said) ? [{}, { commonLog: true }] : [{}];
  const pairs = readings.map((reading) => [parseMath(wanted, new Algebra(), reading), parseMath(said, new Algebra(), reading)] as const);
  if (pairs.every(([, right]) => right === null)) return wrong(said);
  return { correct: pairs.some(([left, right]) => left !== null && right !== null && equivalent(new Comparison(), left, right)), legal: true, parsed: said };
}

/** The answer is looked for as a text: what is not mathematics cannot be told from what is said around it otherwise. */
function verifyPlain(answer: string, wanted: string): Verdict {
  const text = plain(wanted);
  const extracted = extractText(answer, (candidate) => plain(unwrapped(candidate)) === text);
  if (extracted === null) return wrong(null);
  const said = unwrapped(extracted);
  return { correct: plain(said) === text && text !== "", legal: true, parsed: said };
}

/** Shares one budget of work over all the comparisons of a pair. */
class Comparison {
  readonly algebra = new Algebra();
  #left = 2000;

  step(): void {
    if (--this.#left < 0) throw new MathFault("too much work");
  }
}

function equivalent(comparison: Comparison, gold: MathObject, said: MathObject): boolean {
  try {
    return inOrder(comparison, gold, said) ?? inOrder(comparison, said, gold) ?? same(comparison, bare(gold, said), bare(said, gold));
  } catch (error) {
    if (error instanceof MathFault) return false;
    throw error;
  }
}

/** "x = 2, y = 3" against "2, 3": values of several variables are told apart by their order. Null where it is another case. */
function inOrder(comparison: Comparison, named: MathObject, values: MathObject): boolean | null {
  if (named.kind !== "set" || values.kind !== "set" || values.items.some(({ kind }) => kind === "relation")) return null;
  const equations = named.items.filter((item): item is Relation => item.kind === "relation" && item.operator === "=" && isVariable(item.left));
  if (equations.length < named.items.length || equations.length < 2 || equations.every(({ left }) => same(comparison, left, equations[0]!.left))) return null;
  return sameList(comparison, equations.map(({ right }) => right), values.items);
}

type Relation = Extract<MathObject, { kind: "relation" }>;

/** `x = 5` and `y = 2x + 1` as the value that they give, where the other side is no equation. */
function bare(object: MathObject, other: MathObject): MathObject {
  if (object.kind === "set" && other.kind === "set") return { kind: "set", items: object.items.map((item) => bare(item, other.items.find(({ kind }) => kind === item.kind) ?? other.items[0] ?? item)) };
  const equation = object.kind === "relation" && object.operator === "=" && other.kind !== "relation";
  return equation && isVariable(object.left) ? object.right : object;
}

function isVariable(object: MathObject): boolean {
  if (object.kind !== "scalar") return false;
  const [term, ...others] = object.value.top.values();
  const [atom] = term?.monomial.keys() ?? [];
  return others.length === 0 && atom !== undefined && /^\p{L}(?:_\w+)?$/u.test(atom) && atom !== "π" && object.value.top.has(atom) && term?.coefficient.numerator === 1n;
}

function same(comparison: Comparison, a: MathObject, b: MathObject): boolean {
  comparison.step();
  if (a.kind === "union" || b.kind === "union") [a, b] = [merged(a), merged(b)];
  if (a.kind === "scalar" && b.kind === "scalar") return sameScalar(comparison, a, b);
  if (a.kind === "infinity" && b.kind === "infinity") return a.negative === b.negative;
  if (a.kind === "tuple" && b.kind === "tuple") return a.open === b.open && a.close === b.close && sameList(comparison, a.items, b.items);
  if (a.kind === "set" && b.kind === "set") return sameSet(comparison, a.items, b.items);
  if (a.kind === "union" && b.kind === "union") return sameSet(comparison, a.parts, b.parts);
  if (a.kind === "matrix" && b.kind === "matrix") return a.rows.length === b.rows.length && a.rows.every((row, i) => sameList(comparison, row, b.rows[i]!));
  if (a.kind !== "relation" || b.kind !== "relation" || a.operator !== b.operator) return false;
  return sameRelation(comparison, a, b);
}

function sameScalar({ algebra }: Comparison, a: Extract<MathObject, { kind: "scalar" }>, b: Extract<MathObject, { kind: "scalar" }>): boolean {
  if (a.unit !== null && b.unit !== null && plain(a.unit) !== plain(b.unit)) {
    const scales = sameUnits(a.unit, b.unit);
    return scales !== null && algebra.equal(algebra.multiply(a.value, algebra.number(scales[0])), algebra.multiply(b.value, algebra.number(scales[1])));
  }
  if (algebra.equal(a.value, b.value)) return true;
  if (a.percent === b.percent) return false;
  const [percent, number] = a.percent ? [a, b] : [b, a];
  return algebra.equal(percent.value, algebra.multiply(number.value, algebra.number({ numerator: 100n, denominator: 1n })));
}

function sameRelation(comparison: Comparison, a: Relation, b: Relation): boolean {
  if (same(comparison, a.left, b.left) && same(comparison, a.right, b.right)) return true;
  if ([a.left, a.right, b.left, b.right].some(({ kind }) => kind !== "scalar")) return false;
  const { algebra } = comparison;
  const difference = ({ left, right }: typeof a): Quotient => algebra.subtract((left as typeof a.left & { kind: "scalar" }).value, (right as typeof a.right & { kind: "scalar" }).value);
  const [first, second] = [difference(a), difference(b)];
  if (first.top.size === 0 || second.top.size === 0) return false;
  const ratio = [...first.top.keys()].some((key) => second.top.has(key)) ? ratioOf(comparison, first, second) : null;
  return ratio !== null && (a.operator === "=" || a.operator === "≠" || ratio.numerator > 0n);
}

/** The rational that one is a multiple of the other by, if any: 2x = 6 says x = 3, and 2x > 6 says x > 3. */
function ratioOf({ algebra }: Comparison, a: Quotient, b: Quotient): { readonly numerator: bigint } | null {
  const [key] = [...a.top.keys()].filter((name) => b.top.has(name));
  const [first, second] = [a.top.get(key!)!.coefficient, b.top.get(key!)!.coefficient];
  const scaled = algebra.multiply(a, algebra.divide(algebra.number(second), algebra.number(first)));
  return algebra.equal(scaled, b) ? constant(algebra.divide(algebra.number(second), algebra.number(first))) : null;
}

function sameList(comparison: Comparison, a: readonly MathObject[], b: readonly MathObject[]): boolean {
  return a.length === b.length && a.every((item, i) => same(comparison, item, b[i]!));
}

/** Repeats count once. */
function sameSet(comparison: Comparison, a: readonly MathObject[], b: readonly MathObject[]): boolean {
  const within = (items: readonly MathObject[], others: readonly MathObject[]): boolean => items.every((item) => others.some((other) => same(comparison, item, other)));
  return within(a, b) && within(b, a);
}

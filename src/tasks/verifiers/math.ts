import { Algebra, constant, MathFault, type Quotient } from "./algebra.ts";
import { parseMath, type MathObject } from "./math-parser.ts";
import { wrong, type Verdict } from "./verdict.ts";

/** Longest text in which an answer is looked for; only the end of a longer one is read. */
const longestAnswer = 20_000;

/**
 * Whether an answer is mathematically what the gold answer is: fractions, decimals, roots, logarithms, polynomials, sets, tuples,
 * intervals, unions, relations and matrices, in LaTeX or plain, compared exactly. So 0.33 is not 1/3, and 3.14 is not π. A percentage
 * is its number or its hundredth; a unit that only one side names is left out of account; `x = 5` answers a gold 5.
 */
export function verifyMath(answer: string, gold: string): Verdict {
  const [said, wanted] = [unwrapped(extractMath(answer)), unwrapped(extractMath(gold))];
  if (said === null || wanted === null) return wrong(said);
  const algebra = new Algebra();
  const [left, right] = [parseMath(wanted, algebra), parseMath(said, new Algebra())];
  if (left === null) return { correct: plain(said) === plain(wanted) && plain(said) !== "", legal: true, parsed: said };
  if (right === null) return wrong(said);
  return { correct: equivalent(new Comparison(), left, right), legal: true, parsed: said };
}

/** The mathematics in a text: the last \boxed{…}; else the last formula between dollars; else the whole, or what it says at its end. */
export function extractMath(text: string): string | null {
  const end = text.slice(-longestAnswer).trim();
  const boxed = lastBoxed(end);
  if (boxed !== undefined) return boxed;
  const dollars = [...end.replaceAll("\\$", "￼").matchAll(/\$\$?([^$]+)\$\$?|\\\(([^]*?)\\\)|\\\[([^]*?)\\\]/g)].at(-1);
  const formula = dollars?.[1] ?? dollars?.[2] ?? dollars?.[3];
  if (formula !== undefined) return formula.replaceAll("￼", "\\$").trim() || null;
  if (parseMath(end, new Algebra()) !== null) return end;
  const stated = /(?:answer|result)(?: is|:| =)\s*:?\s*([^\n]{1,200}?)[.。]?\s*$|(?:答案|结果)(?:是|为|：|:)\s*([^\n]{1,200}?)[.。]?\s*$/i.exec(end.slice(-400));
  const statement = stated?.[1] ?? stated?.[2];
  if (statement !== undefined && parseMath(statement, new Algebra()) !== null) return statement;
  const number = [...end.slice(-400).matchAll(/-?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:\/\d+)?%?/g)].at(-1)?.[0];
  return number ?? (end === "" ? null : end);
}

/** Null when the last box is not closed: an answer cut off is none. */
function lastBoxed(text: string): string | null | undefined {
  const open = Math.max(text.lastIndexOf("\\boxed{"), text.lastIndexOf("\\fbox{"));
  if (open === -1) return undefined;
  const start = text.indexOf("{", open) + 1;
  for (let at = start, depth = 1; at < text.length; at++) {
    if (text[at] === "\\") at++;
    else if (text[at] === "{") depth++;
    else if (text[at] === "}" && --depth === 0) return text.slice(start, at).trim() || null;
  }
  return null;
}

/** "\\text{(B)}" is "(B)". */
const unwrapped = (text: string | null): string | null => text?.replace(/^\\(?:text|textbf|mathrm|mbox)\{([^{}]*)\}$/, "$1") ?? null;

/** How an answer in words is compared: "\text{(B)}" is "b". */
function plain(text: string): string {
  return text.replace(/\\(?:text|textbf|mathrm|mbox)\{([^{}]*)\}/g, "$1").replace(/[\s$.()]|\\[,;! ]/g, "").toLowerCase();
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
    return same(comparison, bare(gold, said), bare(said, gold));
  } catch (error) {
    if (error instanceof MathFault) return false;
    throw error;
  }
}

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
  if (a.unit !== null && b.unit !== null && plain(a.unit) !== plain(b.unit)) return false;
  if (algebra.equal(a.value, b.value)) return true;
  if (a.percent === b.percent) return false;
  const [percent, number] = a.percent ? [a, b] : [b, a];
  return algebra.equal(percent.value, algebra.multiply(number.value, algebra.number({ numerator: 100n, denominator: 1n })));
}

function sameRelation(comparison: Comparison, a: Extract<MathObject, { kind: "relation" }>, b: Extract<MathObject, { kind: "relation" }>): boolean {
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

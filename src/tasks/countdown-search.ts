import type { Random } from "../random/index.ts";

/** A positive integer and the expression that makes it, in parentheses unless it is one number. */
interface Term {
  readonly value: number;
  readonly text: string;
}

/** One step on paper, such as "3*4=12", and the term that it makes. */
interface Fact {
  readonly line: string;
  readonly term: Term;
}

/** A value that two terms would have to make for a third to lead to the target. */
interface Need {
  readonly value: number;
  /** Where it comes from: "50-8=42". */
  readonly line: string;
  /** How it leads to the target: "42+8=50". */
  readonly check: string;
  /** The whole expression, around the one that makes `value`. */
  readonly wrap: (inner: string) => string;
}

/** What a search wrote, one step after the other, and the answer that it ends in: null when there is none. */
export interface Search {
  readonly steps: string;
  readonly expression: string | null;
}

/**
 * Writes out a search that a small transformer can learn to carry out, since each step is one fact of arithmetic on numbers
 * that stand a few tokens back. Three numbers meet in the middle: one is set aside, in random order; a line says what the
 * other two would have to make ("50-8=42 50+8=58"); the next line what they do make ("6+7=13 7-6=1 6*7=42"), and ends at
 * the first match, which the last line checks ("42+8=50"). With four numbers, two are combined first ("2+4=6"), and
 * at most one wrong choice of those is written.
 *
 * Intermediate results are positive integers up to `largest`. Two to four numbers.
 */
export function search(numbers: readonly number[], target: number, largest: number, random: Random): Search {
  const terms = numbers.map((value) => ({ value, text: `${value}` }));
  const [a, b, c, d] = terms;
  if (a === undefined || b === undefined) return { steps: "", expression: null };
  if (c === undefined) return searchPair(a, b, target, largest);
  if (d === undefined) return searchTriple([a, b, c], target, largest, random);
  return searchFour([a, b, c, d], target, largest, random);
}

/** A random expression over all the numbers, each once; its value is whatever it is. */
export function guess(numbers: readonly number[], largest: number, random: Random): string {
  const terms: Term[] = random.shuffle(numbers).map((value) => ({ value, text: `${value}` }));
  return unwrapped(terms.reduce((left, right) => random.pick(facts(left, right, largest)).term));
}

function searchPair(a: Term, b: Term, target: number, largest: number): Search {
  const { lines, hit } = until(facts(a, b, largest), (term) => term.value === target);
  return { steps: lines.join(" "), expression: hit === null ? null : unwrapped(hit) };
}

function searchTriple(terms: readonly [Term, Term, Term], target: number, largest: number, random: Random): Search {
  const written: string[] = [];
  for (const aside of random.shuffle([0, 1, 2])) {
    const [a, b] = terms.filter((_, i) => i !== aside) as [Term, Term];
    const wanted = needs(target, terms[aside] as Term, largest);
    const { lines, hit } = until(facts(a, b, largest), ({ value }) => wanted.some((need) => need.value === value));
    written.push(wanted.map((need) => need.line).join(" "), lines.join(" "));
    if (hit === null) continue;
    const need = wanted.find(({ value }) => value === hit.value) as Need;
    return { steps: [...written, need.check].join("\n"), expression: need.wrap(hit.text) };
  }
  return { steps: written.join("\n"), expression: null };
}

function searchFour(terms: readonly [Term, Term, Term, Term], target: number, largest: number, random: Random): Search {
  const pairs = terms.flatMap((a, i) => terms.slice(i + 1).map((b) => [a, b] as const));
  const openings = pairs.flatMap(([a, b]) =>
    facts(a, b, largest).map(({ line, term }) => {
      const [c, d] = terms.filter((other) => other !== a && other !== b) as [Term, Term];
      return { line, rest: [term, c, d] as const };
    }),
  );
  let detour = random.below(2);
  const written: string[] = [];
  for (const { line, rest } of random.shuffle(openings)) {
    const { steps, expression } = searchTriple(rest, target, largest, random);
    if (expression === null && detour-- <= 0) continue;
    written.push(line, steps);
    if (expression !== null) return { steps: written.join("\n"), expression };
  }
  return { steps: written.join("\n"), expression: null };
}

/** Facts up to and with the first whose term will do. */
function until(candidates: readonly Fact[], accept: (term: Term) => boolean): { lines: string[]; hit: Term | null } {
  const lines: string[] = [];
  for (const { line, term } of candidates) {
    lines.push(line);
    if (accept(term)) return { lines, hit: term };
  }
  return { lines, hit: null };
}

/** What two terms make, in the order + - * /. Dividing by 1 is left out, since multiplying by it does the same. */
function facts(a: Term, b: Term, largest: number): Fact[] {
  const [big, small] = a.value >= b.value ? [a, b] : [b, a];
  const made = (left: Term, operator: string, right: Term, value: number): Fact => ({
    line: `${left.value}${operator}${right.value}=${value}`,
    term: { value, text: `(${left.text}${operator}${right.text})` },
  });
  const all = [made(a, "+", b, a.value + b.value)];
  if (big.value > small.value) all.push(made(big, "-", small, big.value - small.value));
  all.push(made(a, "*", b, a.value * b.value));
  if (small.value > 1 && big.value % small.value === 0) all.push(made(big, "/", small, big.value / small.value));
  return all.filter(({ term }) => term.value <= largest);
}

/** Every value v such that v and `aside` make the target in one step. */
function needs(target: number, aside: Term, largest: number): Need[] {
  const { value: n, text } = aside;
  const t = target;
  const all: Need[] = [];
  const add = (value: number, line: string, check: string, wrap: Need["wrap"]): void => {
    all.push({ value, line: `${line}=${value}`, check: `${check}=${t}`, wrap });
  };
  if (t > n) add(t - n, `${t}-${n}`, `${t - n}+${n}`, (inner) => `${inner}+${text}`);
  add(t + n, `${t}+${n}`, `${t + n}-${n}`, (inner) => `${inner}-${text}`);
  if (n > t) add(n - t, `${n}-${t}`, `${n}-${n - t}`, (inner) => `${text}-${inner}`);
  if (t % n === 0) add(t / n, `${t}/${n}`, `${t / n}*${n}`, (inner) => `${inner}*${text}`);
  if (n > 1) add(t * n, `${t}*${n}`, `${t * n}/${n}`, (inner) => `${inner}/${text}`);
  if (t > 1 && n > t && n % t === 0) add(n / t, `${n}/${t}`, `${n}/${n / t}`, (inner) => `${text}/${inner}`);
  return all.filter(({ value }) => value <= largest);
}

/** The text of a compound term without its outer parentheses. */
function unwrapped(term: Term): string {
  return term.text.slice(1, -1);
}

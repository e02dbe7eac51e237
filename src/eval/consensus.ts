import { LongjingError } from "../errors/index.ts";

/** One sampled answer to a problem. */
export interface Vote {
  /** Null when no answer could be read; such a vote counts for nothing. */
  readonly answer: string | null;
  /** In [0, 1]. */
  readonly score: number;
}

/** Answers that say the same. */
export interface AnswerClass {
  readonly count: number;
  /** Mean of its answers' scores; where a verifier judges equal answers equally it is each one's. */
  readonly score: number;
}

/** The classes in the order in which they were first seen. An answer belongs to the first class whose first answer is the same. */
export function answerClasses(votes: readonly Vote[], same: (a: string, b: string) => boolean): AnswerClass[] {
  const classes: { readonly first: string; count: number; sum: number }[] = [];
  for (const { answer, score } of votes) {
    if (answer === null) continue;
    const known = classes.find(({ first }) => first === answer) ?? classes.find(({ first }) => same(answer, first));
    if (known === undefined) classes.push({ first: answer, count: 1, sum: score });
    else {
      known.count++;
      known.sum += score;
    }
  }
  return classes.map(({ count, sum }) => ({ count, score: sum / count }));
}

/** Largest k: more votes cost more to count than they tell. */
export const mostVotes = 64;

/**
 * cons@k: the expected score of the majority's answer among k of n votes, without bias. Ties are broken for the answer that was seen
 * first. Every k of the votes, in every order, are equally likely, so the answers of a tie are, too: the estimate is the sum over the
 * classes of score times probability to win, counted exactly. Where no answer is read there is none, and the score is 0.
 * @param votes n, with those that could not be read
 */
export function consAtK(votes: number, classes: readonly AnswerClass[], k: number): number {
  const read = classes.reduce((sum, { count }) => sum + count, 0);
  if (!(k >= 1 && k <= Math.min(votes, mostVotes) && read <= votes)) throw new LongjingError("bad_argument", "cons@k is not defined here", { got: { votes, read, k }, expected: `1 <= k <= votes, at most ${mostVotes}` });
  return classes.reduce((sum, { score }, i) => (score === 0 ? sum : sum + score * winProbability(i, classes, votes - read, k)), 0) / choose(votes, k);
}

/** Ways to draw k votes in which a class wins; a tie of m classes counts for an m-th. */
function winProbability(winner: number, classes: readonly AnswerClass[], unread: number, k: number): number {
  const others = classes.filter((_, i) => i !== winner);
  const own = classes[winner]!.count;
  let ways = 0;
  for (let count = 1; count <= Math.min(own, k); count++) {
    const rest = k - count;
    for (const [tied, byVotes] of lessThan(others, count, rest).entries()) {
      for (const [drawn, w] of byVotes.entries()) if (w > 0) ways += (choose(own, count) * w * choose(unread, rest - drawn)) / (tied + 1);
    }
  }
  return ways;
}

/** Ways to draw votes for the other classes, none above `count`: [classes with exactly that many][votes in all]. */
function lessThan(others: readonly AnswerClass[], count: number, most: number): number[][] {
  const empty = (): number[][] => Array.from({ length: Math.floor(most / count) + 1 }, () => new Array<number>(most + 1).fill(0));
  let ways = empty();
  ways[0]![0] = 1;
  for (const { count: size } of others) {
    const next = empty();
    const choices = Array.from({ length: Math.min(size, count, most) + 1 }, (_, votes) => choose(size, votes));
    for (const [tied, byVotes] of ways.entries()) {
      for (const [drawn, w] of byVotes.entries()) {
        if (w === 0) continue;
        for (let votes = 0; votes < choices.length && drawn + votes <= most; votes++) next[tied + Number(votes === count)]![drawn + votes]! += w * choices[votes]!;
      }
    }
    ways = next;
  }
  return ways;
}

/** Binomial coefficient; 0 outside. */
function choose(n: number, k: number): number {
  if (k < 0 || k > n) return 0;
  let ways = 1;
  for (let i = 1; i <= Math.min(k, n - k); i++) ways = (ways * (n - i + 1)) / i;
  return ways;
}

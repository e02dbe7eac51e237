import { LongjingError } from "../errors/index.ts";

/**
 * Probability that at least one of k completions is right, from `correct` right ones among `samples`: 1 - C(n-c, k) / C(n, k),
 * without bias, as a product that neither overflows nor cancels (Chen et al. 2107.03374).
 */
export function passAtK(samples: number, correct: number, k: number): number {
  if (!(correct >= 0 && correct <= samples && k >= 1 && k <= samples)) {
    throw new LongjingError("bad_argument", "pass@k is not defined here", {
      got: { samples, correct, k },
      expected: "0 <= correct <= samples and 1 <= k <= samples",
    });
  }
  let allWrong = 1;
  for (let i = samples - correct + 1; i <= samples; i++) allWrong *= 1 - k / i;
  return 1 - allWrong;
}

/** The most frequent answer, the first seen among equals; null (no answer could be read) never wins; all null gives null. */
export function majorityVote(answers: readonly (string | null)[]): string | null {
  const counts = new Map<string, number>();
  for (const answer of answers) if (answer !== null) counts.set(answer, (counts.get(answer) ?? 0) + 1);
  let best: string | null = null;
  for (const [answer, count] of counts) if (best === null || count > (counts.get(best) as number)) best = answer;
  return best;
}

/**
 * Expected best score of k completions drawn from those at hand, without bias; for scores of 0 and 1 it is pass@k. The i-th smallest of n is
 * the best of C(i-1, k-1) draws among C(n, k).
 */
export function bestOfK(scores: readonly number[], k: number): number {
  const n = scores.length;
  if (!(k >= 1 && k <= n)) throw new LongjingError("bad_argument", "The best of k is not defined here", { got: { samples: n, k }, expected: "1 <= k <= samples" });
  let share = k / n;
  return scores.toSorted((a, b) => b - a).reduce((sum, score, at) => {
    const term = share * score;
    const i = n - 1 - at;
    share *= (i + 1 - k) / Math.max(i, 1);
    return sum + term;
  }, 0);
}

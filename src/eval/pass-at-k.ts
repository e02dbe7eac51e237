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

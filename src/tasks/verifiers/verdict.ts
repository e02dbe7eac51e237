/** What a verifier says of one answer. It looks at the answer alone, is total, and never runs it outside a sandbox. */
export interface Verdict {
  readonly correct: boolean;
  /** Whether the answer is an attempt of the right kind, right or wrong: what a reward of form may look at. */
  readonly legal: boolean;
  /** What was compared with the gold answer; null when the text holds nothing of the kind. */
  readonly parsed: string | null;
}

/** Judges an answer by what is known to be right. */
export type Verifier<G> = (answer: string, gold: G) => Verdict;

export const wrong = (parsed: string | null): Verdict => ({ correct: false, legal: false, parsed });

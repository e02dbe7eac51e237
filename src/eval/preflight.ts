import { LongjingError } from "../errors/index.ts";
import { passAtK } from "./pass-at-k.ts";

/** Whether group-relative RL can start from a model, by what it already does on some problems. */
export interface Preflight {
  /** Mean share of right completions. */
  readonly pass_at_1: number;
  /** Mean probability that a group holds a right completion. */
  readonly pass_at_group: number;
  /** Expected share of groups that hold both right and wrong completions: only they have a gradient. */
  readonly share_with_signal: number;
  readonly share_all_wrong: number;
  readonly share_all_right: number;
}

/** How many of `samples` completions of one problem were right. */
export interface ProblemResult {
  readonly samples: number;
  readonly correct: number;
}

/**
 * What groups of `numGenerations` would look like, from at least that many completions of each problem. Drawing groups
 * without replacement from the completions at hand makes every share unbiased, problem by problem.
 */
export function preflight(results: readonly ProblemResult[], numGenerations: number): Preflight {
  if (results.length === 0) throw new LongjingError("bad_argument", "A pre-flight needs problems", { got: 0, expected: "at least one problem" });
  const average = (of: (result: ProblemResult) => number): number => results.reduce((sum, one) => sum + of(one), 0) / results.length;
  const pass_at_group = average(({ samples, correct }) => passAtK(samples, correct, numGenerations));
  const someWrong = average(({ samples, correct }) => passAtK(samples, samples - correct, numGenerations));
  return {
    pass_at_1: average(({ samples, correct }) => correct / samples),
    pass_at_group,
    // A group has a right one and a wrong one: inclusion and exclusion, since every group has one or the other.
    share_with_signal: pass_at_group + someWrong - 1,
    share_all_wrong: 1 - pass_at_group,
    share_all_right: 1 - someWrong,
  };
}

/** Probability that a group of `numGenerations` holds both right and wrong completions when each is right with probability p. */
export function signalProbability(p: number, numGenerations: number): number {
  return 1 - p ** numGenerations - (1 - p) ** numGenerations;
}

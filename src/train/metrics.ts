import type { Reward } from "../tasks/index.ts";
import { mean, sampleStd, type Advantages } from "./advantages.ts";

/** A scored rollout, plain arrays over its N completions. */
export interface ScoredBatch {
  /** Tokens of each completion, the ending one included [N]. */
  readonly completion_lengths: readonly number[];
  /** Ended by itself, not at the limit [N]. */
  readonly terminated: readonly boolean[];
  /** Names of the reward functions, in the order of the columns. */
  readonly reward_names: readonly string[];
  /** [N][functions] */
  readonly rewards_per_func: readonly (readonly Reward[])[];
  /** What `groupAdvantages` has made of them. */
  readonly advantages: Advantages;
}

/** TRL's tolerance for a standard deviation of zero. */
const zeroStd = 1e-8;

/** The metrics of a scored rollout under the names that TRL logs them by, so that existing dashboards carry over. */
export function rolloutMetrics(batch: ScoredBatch): Record<string, number> {
  const { reward_names, rewards_per_func, advantages } = batch;
  const perFunction = reward_names.flatMap((name, f) => {
    const column = rewards_per_func.map((row) => row[f] as Reward);
    return [[`rewards/${name}/mean`, mean(column)], [`rewards/${name}/std`, sampleStd(column)]] as const;
  });
  return {
    ...completionMetrics(batch.completion_lengths, batch.terminated),
    ...Object.fromEntries(perFunction),
    reward: mean(advantages.rewards),
    reward_std: sampleStd(advantages.rewards),
    frac_reward_zero_std: mean(advantages.std.map((std) => Number(std < zeroStd))),
  };
}

/** Lengths in tokens. Where no completion ended by itself the three terminated lengths are 0, as in TRL. */
export function completionMetrics(lengths: readonly number[], terminated: readonly boolean[]): Record<string, number> {
  const ended = lengths.filter((_, i) => terminated[i]);
  const endedOrZero = ended.length > 0 ? ended : [0];
  return {
    "completions/mean_length": mean(lengths),
    "completions/min_length": Math.min(...lengths),
    "completions/max_length": Math.max(...lengths),
    "completions/clipped_ratio": 1 - ended.length / lengths.length,
    "completions/mean_terminated_length": mean(endedOrZero),
    "completions/min_terminated_length": Math.min(...endedOrZero),
    "completions/max_terminated_length": Math.max(...endedOrZero),
  };
}

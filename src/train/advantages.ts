import { LongjingError } from "../errors/index.ts";
import { isReward, type Reward } from "../tasks/index.ts";

export interface AdvantageOptions {
  /** Completions of one prompt; they stand side by side. */
  readonly num_generations: number;
  /** What the centred reward is divided by: the standard deviation of its group, of the batch, or nothing. Default group. */
  readonly scale_rewards?: "group" | "batch" | "none";
  /** One for each reward function. Default all 1. */
  readonly reward_weights?: readonly number[];
  /**
   * Several reward functions: weigh and add them, then normalise (default), or normalise each in its group, then weigh and
   * add (GDPO, 2601.05242), so that no function drowns another.
   */
  readonly multi_objective_aggregation?: "sum_then_normalize" | "normalize_then_sum";
}

export interface Advantages {
  /** Weighted sum over the functions [N]; NaN where none scored the completion. */
  readonly rewards: readonly number[];
  /** [N]; 0 where the completion has no reward. */
  readonly advantages: readonly number[];
  /** The standard deviation (n - 1) that the row was, or would have been, divided by [N]. */
  readonly std: readonly number[];
}

/** Keeps the quotient finite where all rewards are equal. TRL's value. */
const stdEpsilon = 1e-4;

/**
 * Group-relative advantages (DeepSeekMath 2402.03300; TRL's conventions): `rewards_per_func` is [N][functions], N a multiple
 * of `num_generations`. Throws `bad_argument` where the shapes do not fit, or a value is no reward.
 */
export function groupAdvantages(rewardsPerFunc: readonly (readonly Reward[])[], options: AdvantageOptions): Advantages {
  const { num_generations, scale_rewards = "group", multi_objective_aggregation = "sum_then_normalize" } = options;
  const functions = rewardsPerFunc[0]?.length ?? 0;
  const weights = options.reward_weights ?? Array.from({ length: functions }, () => 1);
  checkShapes(rewardsPerFunc, weights, num_generations);
  const rewards = rewardsPerFunc.map((row) => weighedSum(row, weights));
  if (multi_objective_aggregation === "normalize_then_sum") {
    const normalised = normaliseEach(rewardsPerFunc, num_generations);
    const sums = normalised.map((row) => weighedSum(row, weights));
    const std = sampleStd(sums);
    return { rewards, advantages: centre(sums).map((value) => value / (std + stdEpsilon)), std: sums.map(() => std) };
  }
  const centred = inGroups(rewards, num_generations, centre);
  const std =
    scale_rewards === "batch" ? rewards.map(() => sampleStd(rewards)) : inGroups(rewards, num_generations, (group) => group.map(() => sampleStd(group)));
  const advantages = scale_rewards === "none" ? centred : centred.map((value, i) => value / ((std[i] as number) + stdEpsilon));
  return { rewards, advantages, std };
}

/**
 * Dynamic sampling (DAPO, 2503.14476): which groups carry a signal, because their values, usually the accuracies [N], are not
 * all equal. The others have no gradient.
 */
export function groupsWithSignal(values: readonly Reward[], numGenerations: number): number[] {
  const groups: number[] = [];
  for (let start = 0; start < values.length; start += numGenerations) {
    const scored = values.slice(start, start + numGenerations).filter(isScored);
    if (scored.some((value) => value !== scored[0])) groups.push(start / numGenerations);
  }
  return groups;
}

/**
 * Soft overlong punishment (DAPO eq. 13): 0 up to `max_completion_len - soft_punish_cache` tokens, then falling to -1 at
 * `max_completion_len`, and -1 beyond. It is added to the reward.
 */
export function softOverlongPunishment(length: number, options: { max_completion_len: number; soft_punish_cache: number }): number {
  const free = options.max_completion_len - options.soft_punish_cache;
  if (length <= free) return 0;
  return length <= options.max_completion_len ? (free - length) / options.soft_punish_cache : -1;
}

/** A copy of `completionMask` [N, T] without the rows of completions that did not end by themselves (`mask_truncated_completions`). */
export function maskTruncated(completionMask: Float32Array, terminated: readonly boolean[]): Float32Array {
  const width = completionMask.length / terminated.length;
  const masked = completionMask.slice();
  terminated.forEach((ended, row) => {
    if (!ended) masked.fill(0, row * width, (row + 1) * width);
  });
  return masked;
}

/** Mean of the values that are there (NaN if none). Taken about the first of them, so equal values have exactly their mean. */
export function mean(values: readonly Reward[]): number {
  const scored = values.filter(isScored);
  const first = scored[0] ?? NaN;
  return first + scored.reduce((sum, value) => sum + (value - first), 0) / scored.length;
}

/** Standard deviation with n - 1 of the values that are there; 0 for fewer than two. */
export function sampleStd(values: readonly Reward[]): number {
  const scored = values.filter(isScored);
  if (scored.length < 2) return 0;
  const middle = mean(scored);
  return Math.sqrt(scored.reduce((sum, value) => sum + (value - middle) ** 2, 0) / (scored.length - 1));
}

function isScored(value: Reward): value is number {
  return value !== null && !Number.isNaN(value);
}

function weighedSum(row: readonly Reward[], weights: readonly number[]): number {
  if (!row.some(isScored)) return NaN;
  return row.reduce<number>((sum, value, f) => (isScored(value) ? sum + value * (weights[f] as number) : sum), 0);
}

function centre(values: readonly number[]): number[] {
  const middle = mean(values);
  return values.map((value) => (isScored(value) ? value - middle : 0));
}

function inGroups(values: readonly number[], size: number, map: (group: readonly number[]) => number[]): number[] {
  return Array.from({ length: values.length / size }, (_, g) => map(values.slice(g * size, (g + 1) * size))).flat();
}

/** Each function's rewards about the mean of their group, in standard deviations of their group [N][functions]. */
function normaliseEach(rows: readonly (readonly Reward[])[], size: number): Reward[][] {
  return rows.map((row, i) => {
    const group = rows.slice(i - (i % size), i - (i % size) + size);
    return row.map((value, f) => {
      if (!isScored(value)) return null;
      const column = group.map((other) => other[f] as Reward);
      return (value - mean(column)) / (sampleStd(column) + stdEpsilon);
    });
  });
}

function checkShapes(rows: readonly (readonly Reward[])[], weights: readonly number[], size: number): void {
  const refuse = (where: string, got: unknown, expected: string): never => {
    throw new LongjingError("bad_argument", "The rewards do not form groups", { where, got, expected });
  };
  if (!Number.isInteger(size) || size < 1) refuse("num_generations", size, "a positive integer");
  if (rows.length % size !== 0) refuse("rewards_per_func", rows.length, `a multiple of num_generations (${size}) rows`);
  for (const row of rows) if (row.length !== weights.length) refuse("rewards_per_func", row.length, `${weights.length} rewards a row`);
  const values: readonly unknown[] = rows.flat();
  const stray = values.findIndex((value) => !isReward(value));
  if (stray >= 0) refuse("rewards_per_func", String(values[stray]), "finite numbers, or null or NaN for none");
}

import { LongjingError } from "../errors/index.ts";
import { saidTokens, type Group, type Sample } from "../eval/rollout.ts";
import type { Random } from "../random/index.ts";
import { accuracyReward, formatReward, formatWeight, type Reward, type RewardFunction } from "../tasks/index.ts";
import { groupAdvantages, mean, softOverlongPunishment, type AdvantageOptions } from "./advantages.ts";
import type { JsonValue } from "./checkpoint.ts";
import { rolloutMetrics } from "./metrics.ts";
import type { TrainSample } from "./policy-layout.ts";

/** How completions are rewarded. Names are TRL's GRPOConfig's where it has them. */
export interface RewardOptions<G> {
  /** Default: the task's own, `accuracy` and `format`. The first says what is right, to dynamic sampling and to a curriculum. */
  readonly reward_funcs?: readonly RewardFunction<G>[];
  /** By the function's name. Default 1, and 0.02 for the task's `format`. */
  readonly reward_weights?: Readonly<Record<string, number>>;
  /**
   * A reward function that fails (a server that cannot be reached, a value that is no reward): "raise" ends the run with its error, and it can be resumed from
   * the step before; "mask" takes the sample out of the loss and out of its group, and `frac_reward_failed` counts it. Default "raise".
   */
  readonly reward_failure?: "raise" | "mask";
  readonly scale_rewards?: NonNullable<AdvantageOptions["scale_rewards"]>;
  /** "normalize_then_sum" is GDPO. Default "sum_then_normalize". */
  readonly multi_objective_aggregation?: NonNullable<AdvantageOptions["multi_objective_aggregation"]>;
  /** DAPO's soft overlong punishment, as a reward `overlong`: completions longer than the limit minus this many tokens lose up to 1. */
  readonly soft_punish_cache?: number;
  /** Completions cut at the limit take no part in the loss. */
  readonly mask_truncated_completions?: boolean;
  /** Deals the rewards of a step out at random: the negative control, in which nothing can be learnt. */
  readonly shuffle_rewards?: boolean;
}

type ScoringOptions<G> = RewardOptions<G> & { readonly num_generations: number; readonly max_completion_length: number };

export const rewardFunctions = <G>({ reward_funcs = [accuracyReward, formatReward] }: RewardOptions<G>): readonly RewardFunction<G>[] => reward_funcs;

/** The first reward of each sample: what says whether it is right. */
export const solvedOf = ({ rewards }: Sample): Reward => rewards?.[0] ?? null;

export interface ScoredRollout {
  readonly samples: readonly TrainSample[];
  readonly advantages: readonly number[];
  /** Names and values of the rewards, [N][functions]. */
  readonly names: readonly string[];
  readonly rewards: readonly (readonly Reward[])[];
  readonly metrics: Record<string, number>;
}

/** Rewards to advantages, and all of a rollout to what the policy is trained on. */
export function scoreRollout<G>(options: ScoringOptions<G>, groups: readonly Group<G>[], stream: Random): ScoredRollout {
  const { num_generations, max_completion_length, scale_rewards = "group", multi_objective_aggregation = "sum_then_normalize", soft_punish_cache } = options;
  const names = rewardNames(options);
  const flat = groups.flatMap((g) => g.samples.map((sample) => ({ prompt_ids: g.prompt_ids, sample })));
  const overlong = (length: number): number[] => (soft_punish_cache === undefined ? [] : [softOverlongPunishment(length, { max_completion_len: max_completion_length, soft_punish_cache })]);
  const honest = flat.map(({ sample: { rewards, token_ids } }) => (rewards ? [...rewards, ...overlong(token_ids.length)] : names.map(() => null)));
  const dealt = options.shuffle_rewards ? stream.shuffle(honest) : honest;
  const result = groupAdvantages(dealt, { num_generations, scale_rewards, multi_objective_aggregation, reward_weights: rewardWeights(options) });
  const terminated = flat.map(({ sample }) => sample.finish_reason === "stop");
  const samples = flat.map(({ prompt_ids, sample }, i) => ({
    prompt_ids,
    completion_ids: sample.token_ids,
    old_logprobs: sample.logprobs,
    ...(sample.tool_mask && { tool_mask: sample.tool_mask }),
    advantage: result.advantages[i]!,
    masked: Number.isNaN(result.rewards[i]) || (options.mask_truncated_completions === true && !terminated[i]),
  }));
  const metrics = {
    ...rolloutMetrics({ completion_lengths: flat.map(({ sample }) => saidTokens(sample)), terminated, reward_names: names, rewards_per_func: honest, advantages: result }),
    ...(options.reward_failure === "mask" && { frac_reward_failed: mean(flat.map(({ sample }) => Number(sample.rewards === null))) }),
    ...toolMetrics(flat.map(({ sample }) => sample)),
  };
  return { samples, advantages: result.advantages, names, rewards: honest, metrics };
}

const rewardNames = <G>(options: RewardOptions<G>): string[] => [...rewardFunctions(options).map(({ name }) => name), ...(options.soft_punish_cache === undefined ? [] : ["overlong"])];

/** One for each function. @throws LongjingError "bad_argument" for a weight of none, or that is no number; for no functions, or two of one name */
export function rewardWeights<G>(options: RewardOptions<G>): number[] {
  const { reward_weights = {}, reward_funcs } = options;
  const names = rewardNames(options);
  const stray = Object.keys(reward_weights).find((name) => !names.includes(name));
  if (stray !== undefined) throw new LongjingError("bad_argument", "A weight is of no reward function", { where: "reward_weights", got: stray, expected: names });
  const endless = Object.entries(reward_weights).find(([, weight]) => !Number.isFinite(weight));
  if (endless !== undefined) throw new LongjingError("bad_argument", "A weight is no number", { where: `reward_weights: ${endless[0]}`, got: String(endless[1]), expected: "a finite number" });
  const again = names.find((name, i) => names.indexOf(name) < i);
  if (again !== undefined || rewardFunctions(options).length === 0) throw new LongjingError("bad_argument", "Reward functions are told apart by their names, and there is at least one", { where: "reward_funcs", got: names });
  return names.map((name) => reward_weights[name] ?? (name === "format" && !reward_funcs ? formatWeight : 1));
}

/** TRL's: calls a completion, and the share of calls that could not be done. Turns a completion, as verl counts them. */
function toolMetrics(samples: readonly Sample[]): Record<string, number> {
  if (!samples.some(({ tool_mask }) => tool_mask)) return {};
  const sum = (of: (sample: Sample) => number): number => samples.reduce((n, sample) => n + of(sample), 0);
  const calls = sum((s) => s.tool_calls);
  return {
    "tools/call_frequency": calls / samples.length,
    "tools/failure_frequency": calls === 0 ? 0 : sum((s) => s.tool_failures) / calls,
    "num_turns/mean": sum((s) => s.turns.length) / samples.length,
  };
}

const shownCompletions = 8;

/** Some completions of a rollout, for the log. */
export function shownOf<G>(groups: readonly Group<G>[], { names, rewards, advantages }: ScoredRollout): JsonValue {
  const flat = groups.flatMap((g) => g.samples.map((sample) => ({ prompt: g.problem.prompt, sample })));
  const stride = Math.max(1, Math.floor(flat.length / shownCompletions));
  return flat.flatMap(({ prompt, sample }, i) =>
    i % stride === 0 && i / stride < shownCompletions
      ? [{ prompt, completion: sample.turns.join("\n"), rewards: Object.fromEntries(names.map((name, f) => [name, rewards[i]![f] ?? null])), reward: sample.score.reward, advantage: advantages[i] ?? 0, length: sample.token_ids.length, finish_reason: sample.finish_reason }]
      : [],
  );
}

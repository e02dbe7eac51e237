import type { Problem, Score } from "./task.ts";

/** What one reward function gave one completion; null or NaN where it does not apply: TRL's `None`. */
export type Reward = number | null;

/** Whether it is a finite number, null or NaN. */
export const isReward = (value: unknown): value is Reward => value === null || Number.isNaN(value) || Number.isFinite(value);

/** A completion as a reward function sees it. */
export interface RewardSample<G> {
  readonly problem: Problem<G>;
  /** As the model saw it, with the template's marks. */
  readonly prompt: string;
  /** All that follows the prompt but the last EOS: of several turns, with what answered them and the template's marks. */
  readonly completion: string;
  /** The model's turns, in order, without their EOS. */
  readonly turns: readonly string[];
  /** Tokens of the completion. */
  readonly token_ids: readonly number[];
  /** The model ended it, and no limit. */
  readonly terminated: boolean;
  /** What the task says of the last turn. */
  readonly score: Score;
}

/**
 * A reward, now or later: TRL's `reward_funcs`. A promise that is rejected is a reward that failed, which is not the same as none.
 * It is asked as soon as a completion has ended, while others are still sampled.
 */
export interface RewardFunction<G> {
  /** Of its metrics, `rewards/<name>/mean` and `/std`, and of its weight. */
  readonly name: string;
  readonly reward: (sample: RewardSample<G>) => Reward | Promise<Reward>;
}

/** 1 where the task's answer is right. */
export const accuracyReward: RewardFunction<unknown> = { name: "accuracy", reward: ({ score }) => score.parts.correct };

/** 1 where the form is right, whatever the answer. */
export const formatReward: RewardFunction<unknown> = { name: "format", reward: ({ score }) => score.parts.format };

import { mean } from "./advantages.ts";

/** The best policy so far, by the mean reward of windows of steps, which do not overlap. Part of the checkpoint. */
export type BestState = {
  /** Of the window that is under way. */
  readonly rewards: readonly number[];
  /** The best window yet, and its last step. A higher level counts more than any reward. */
  readonly best: { readonly step: number; readonly level: number; readonly reward: number } | null;
};

export const noBest: BestState = { rewards: [], best: null };

/** Takes in the reward of a step; `best` where it ends a window that is better than all before. */
export function watchReward({ rewards, best }: BestState, step: number, reward: number, level: number, window: number): { readonly state: BestState; readonly best: boolean } {
  const seen = [...rewards, reward];
  if (seen.length < window) return { state: { rewards: seen, best }, best: false };
  const now = { step, level, reward: mean(seen) };
  const better = best === null || now.level > best.level || (now.level === best.level && now.reward > best.reward);
  return { state: { rewards: [], best: better ? now : best }, best: better };
}

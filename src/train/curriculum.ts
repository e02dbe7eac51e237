import { LongjingError } from "../errors/index.ts";
import type { Random } from "../random/index.ts";
import { mean } from "./advantages.ts";

/** Where a curriculum stands: part of the checkpoint. */
export type CurriculumState = {
  readonly level: number;
  /** Shares of right completions of the last problems of this level. */
  readonly recent: readonly number[];
};

/** What came of a problem: the share of its completions that were right. */
export interface Outcome {
  readonly level: number;
  readonly solved: number;
}

/** Chooses the level of each problem. Everything it knows is its state, so that a resumed run draws what it would have drawn. */
export interface Curriculum {
  /** Those that it may ever draw. */
  readonly levels: readonly number[];
  readonly initial: CurriculumState;
  draw(state: CurriculumState, random: Random): number;
  /** After a step, the `step`th from 1. */
  update(state: CurriculumState, outcomes: readonly Outcome[], step: number): CurriculumState;
}

export interface SolveRateOptions {
  /** The highest level. */
  readonly levels: number;
  /** Default 1. */
  readonly start?: number;
  /** The level rises when at least this share of the last completions was right. Default 0.8. */
  readonly raise_at?: number;
  /** It falls when less than this share was. Default 0: never. */
  readonly lower_at?: number;
  /** Problems of the level that are looked back on, and that there must have been. Default 32. */
  readonly window?: number;
  /** Share of the problems that come from lower levels, lest they be forgotten. Default 0.1. */
  readonly review?: number;
}

/** A level that follows the recent rate of right completions. */
export function solveRateCurriculum({ levels, start = 1, raise_at = 0.8, lower_at = 0, window = 32, review = 0.1 }: SolveRateOptions): Curriculum {
  if (!(start >= 1 && start <= levels && lower_at < raise_at)) throw new LongjingError("bad_argument", "The curriculum cannot run", { got: { start, levels, raise_at, lower_at }, expected: "1 ≤ start ≤ levels, lower_at < raise_at" });
  return {
    levels: range(1, levels),
    initial: { level: start, recent: [] },
    draw: ({ level }, random) => (level > 1 && random.next() < review ? random.between(1, level - 1) : level),
    update: ({ level, recent }, outcomes) => {
      const seen = [...recent, ...outcomes.filter((o) => o.level === level).map((o) => o.solved)].slice(-window);
      if (seen.length < window) return { level, recent: seen };
      const rate = mean(seen);
      const next = rate >= raise_at ? Math.min(levels, level + 1) : rate < lower_at ? Math.max(1, level - 1) : level;
      return { level: next, recent: next === level ? seen : [] };
    },
  };
}

/** A level by the step: each entry holds from its step on, counted from 0. The first must be of step 0. */
export function scheduledCurriculum(schedule: readonly { readonly step: number; readonly level: number }[]): Curriculum {
  const [first] = schedule;
  if (first?.step !== 0 || schedule.some(({ step }, i) => i > 0 && step <= schedule[i - 1]!.step)) throw new LongjingError("bad_argument", "The schedule of levels has no order", { got: schedule, expected: "rising steps, the first 0" });
  return {
    levels: [...new Set(schedule.map(({ level }) => level))],
    initial: { level: first.level, recent: [] },
    draw: ({ level }) => level,
    update: (_, outcomes, step) => ({ level: schedule.findLast((entry) => entry.step <= step)!.level, recent: outcomes.map((o) => o.solved) }),
  };
}

/** `curriculum/level`, and `curriculum/solve_rate` of the problems that the state remembers. */
export const curriculumMetrics = ({ level, recent }: CurriculumState): Record<string, number> => ({ "curriculum/level": level, ...(recent.length > 0 && { "curriculum/solve_rate": mean(recent) }) });

const range = (from: number, to: number): number[] => Array.from({ length: to - from + 1 }, (_, i) => from + i);

import fc from "fast-check";
import { expect, test } from "vitest";
import { readFixture } from "../../test/fixtures.ts";
import { groupAdvantages } from "./advantages.ts";
import type { Reward } from "../tasks/index.ts";
import type { AdvantageOptions } from "./advantages.ts";
import { completionMetrics, rolloutMetrics } from "./metrics.ts";

interface MetricsCase {
  readonly config: Omit<AdvantageOptions, "num_generations" | "reward_weights"> & { readonly funcs: number; readonly weights: number[] | null };
  readonly group_size: number;
  readonly rewards_per_func: Reward[][];
  readonly metrics: Record<string, number>;
}

const { cases } = readFixture<{ cases: MetricsCase[] }>("grpo", "advantages.json");

test.each(cases.map((one) => [JSON.stringify(one.config), one] as const))("reward metrics against TRL: %s", (_, { config, group_size, rewards_per_func, metrics }) => {
  const { funcs, weights, ...options } = config;
  const got = rolloutMetrics({
    completion_lengths: rewards_per_func.map(() => 1),
    terminated: rewards_per_func.map(() => true),
    reward_names: Array.from({ length: funcs }, (_, f) => `reward_${f}`),
    rewards_per_func,
    advantages: groupAdvantages(rewards_per_func, { ...options, num_generations: group_size, ...(weights && { reward_weights: weights }) }),
  });
  for (const [name, want] of Object.entries(metrics)) expect(Math.abs((got[name] as number) - want), name).toBeLessThan(2e-6);
});

test("lengths: all, and of those that ended by themselves", () => {
  expect(completionMetrics([4, 10, 2, 10], [true, false, true, false])).toEqual({
    "completions/mean_length": 6.5,
    "completions/min_length": 2,
    "completions/max_length": 10,
    "completions/clipped_ratio": 0.5,
    "completions/mean_terminated_length": 3,
    "completions/min_terminated_length": 2,
    "completions/max_terminated_length": 4,
  });
});

test("the terminated lengths are those of the terminated completions alone, and 0 if there are none", () => {
  const completions = fc.array(fc.tuple(fc.integer({ min: 1, max: 500 }), fc.boolean()), { minLength: 1 });
  fc.assert(
    fc.property(completions, (rows) => {
      const got = completionMetrics(rows.map(([length]) => length), rows.map(([, ended]) => ended));
      const ended = rows.filter(([, one]) => one).map(([length]) => length);
      const alone = completionMetrics(ended, ended.map(() => true));
      for (const which of ["mean", "min", "max"]) {
        expect(got[`completions/${which}_terminated_length`]).toBe(ended.length === 0 ? 0 : alone[`completions/${which}_length`]);
      }
      expect(got["completions/clipped_ratio"]).toBeCloseTo(1 - ended.length / rows.length, 12);
    }),
  );
});

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { readFixture } from "../../test/fixtures.ts";
import { groupAdvantages, groupsWithSignal, maskTruncated, softOverlongPunishment } from "./advantages.ts";
import type { Reward } from "../tasks/index.ts";
import type { AdvantageOptions } from "./advantages.ts";

interface AdvantageCase {
  readonly config: {
    readonly scale_rewards: "group" | "batch" | "none";
    readonly weights: number[] | null;
    readonly multi_objective_aggregation?: "sum_then_normalize" | "normalize_then_sum";
  };
  readonly group_size: number;
  readonly rewards_per_func: Reward[][];
  readonly advantages: number[];
}

const { cases } = readFixture<{ cases: AdvantageCase[] }>("grpo", "advantages.json");

function optionsOf({ config, group_size }: AdvantageCase): AdvantageOptions {
  const { weights, multi_objective_aggregation } = config;
  return {
    num_generations: group_size,
    scale_rewards: config.scale_rewards,
    ...(weights && { reward_weights: weights }),
    ...(multi_objective_aggregation && { multi_objective_aggregation }),
  };
}

test.each(cases.map((one) => [JSON.stringify(one.config), one] as const))("advantages against TRL: %s", (_, one) => {
  const { advantages } = groupAdvantages(one.rewards_per_func, optionsOf(one));
  one.advantages.forEach((want, i) => expect(Math.abs((advantages[i] as number) - want)).toBeLessThan(2e-5));
});

describe("laws of advantages", () => {
  const reward = fc.oneof({ weight: 6, arbitrary: fc.double({ min: -3, max: 3, noNaN: true }) }, fc.constantFrom(null, NaN));
  const groups = fc.integer({ min: 1, max: 6 }).chain((size) =>
    fc.array(fc.array(reward, { minLength: size, maxLength: size }), { minLength: 1, maxLength: 4 }).map((rows) => ({ size, rewards: rows.flat() })),
  );
  const scale = fc.constantFrom("group" as const, "batch" as const, "none" as const);
  const of = (rewards: readonly Reward[], num_generations: number, scale_rewards: "group" | "batch" | "none"): readonly number[] =>
    groupAdvantages(rewards.map((one) => [one]), { num_generations, scale_rewards }).advantages;

  test("each group sums to zero, a missing reward has none", () => {
    fc.assert(
      fc.property(groups, scale, ({ size, rewards }, how) => {
        const got = of(rewards, size, how);
        for (let g = 0; g < got.length; g += size) expect(got.slice(g, g + size).reduce((a, b) => a + b)).toBeCloseTo(0, 6);
        rewards.forEach((one, i) => (one === null || Number.isNaN(one)) && expect(got[i]).toBe(0));
      }),
    );
  });

  test("equal rewards give exactly zero", () => {
    fc.assert(
      fc.property(fc.double({ min: -1e6, max: 1e6, noNaN: true }), fc.integer({ min: 1, max: 9 }), scale, (value, size, how) => {
        const got = of(Array.from({ length: size }, () => value), size, how);
        expect(got.every((one) => one === 0)).toBe(true);
      }),
    );
  });

  test("a constant added to every reward changes nothing", () => {
    fc.assert(
      fc.property(groups, scale, ({ size, rewards }, how) => {
        const moved = of(rewards.map((one) => (one === null ? null : one + 8)), size, how);
        of(rewards, size, how).forEach((want, i) => expect(moved[i]).toBeCloseTo(want, 6));
      }),
    );
  });

  test("the unit of one reward function hardly matters when each is normalised, and decides when they are added", () => {
    const rows = [[1, 0], [0, 3], [1, 1], [0, 2]];
    const inUnit = (unit: number): number[][] => rows.map(([a, b]) => [a as number, (b as number) * unit]);
    const both = { num_generations: 4 } as const;
    const gdpo = (unit: number): readonly number[] => groupAdvantages(inUnit(unit), { ...both, multi_objective_aggregation: "normalize_then_sum" }).advantages;
    const added = (unit: number): readonly number[] => groupAdvantages(inUnit(unit), both).advantages;
    gdpo(100).forEach((one, i) => expect(one).toBeCloseTo(gdpo(1)[i] as number, 3));
    expect(Math.sign(added(100)[0] as number)).not.toBe(Math.sign(added(0.01)[0] as number));
  });

  test("misshapen rewards are refused", () => {
    const refused = expect.objectContaining({ code: "bad_argument" });
    expect(() => groupAdvantages([[1], [0], [1]], { num_generations: 2 })).toThrow(refused);
    expect(() => groupAdvantages([[1], [0, 1]], { num_generations: 2 })).toThrow(refused);
    expect(() => groupAdvantages([[1], [0]], { num_generations: 2, reward_weights: [1, 1] })).toThrow(refused);
    expect(() => groupAdvantages([[1]], { num_generations: 0 })).toThrow(refused);
    for (const stray of [Number.POSITIVE_INFINITY, undefined, "1"]) expect(() => groupAdvantages([[1], [stray as number]], { num_generations: 2 })).toThrow(refused);
  });
});

test("a group carries a signal exactly when some advantage in it is not zero", () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 5 }), fc.array(fc.constantFrom(0, 1, null), { maxLength: 20 }), (size, raw) => {
      const values = raw.slice(0, raw.length - (raw.length % size));
      const { advantages } = groupAdvantages(values.map((one) => [one]), { num_generations: size });
      const kept = groupsWithSignal(values, size);
      for (let g = 0; g < values.length / size; g++) {
        expect(kept.includes(g)).toBe(advantages.slice(g * size, (g + 1) * size).some((one) => one !== 0));
      }
    }),
  );
});

describe("soft overlong punishment", () => {
  const options = { max_completion_len: 20_480, soft_punish_cache: 4096 };

  test.each([[1, 0], [16_384, 0], [18_432, -0.5], [20_480, -1], [20_481, -1]])("DAPO's setting at %i tokens is %d", (length, want) => {
    expect(softOverlongPunishment(length, options)).toBeCloseTo(want, 12);
  });

  test("never rises with length and stays within [-1, 0], with or without a soft zone", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 50 }), fc.nat(50), (max, cache) => {
        const at = (n: number): number => softOverlongPunishment(n, { max_completion_len: max, soft_punish_cache: Math.min(cache, max) });
        for (let n = 1; n < 60; n++) {
          expect(at(n)).toBeLessThanOrEqual(at(n - 1));
          expect(at(n)).toBeGreaterThanOrEqual(-1);
        }
        expect(at(0)).toBeCloseTo(0, 12);
      }),
    );
  });
});

test("truncated rows leave the mask, the rest stays, the original is untouched", () => {
  const mask = Float32Array.from([1, 1, 0, 1, 1, 1]);
  expect([...maskTruncated(mask, [true, false])]).toEqual([1, 1, 0, 0, 0, 0]);
  expect([...mask]).toEqual([1, 1, 0, 1, 1, 1]);
});

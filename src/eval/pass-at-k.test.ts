import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { readFixture } from "../../test/fixtures.ts";
import { majorityVote, passAtK } from "./pass-at-k.ts";
import { preflight, signalProbability } from "./preflight.ts";

interface PassFixture {
  readonly pass_at_k: { n: number; c: number; k: number; value: number }[];
  readonly cons_at_k: { answers: (string | null)[]; gold: string; majority: string; correct: boolean }[];
  readonly ties: { answers: string[]; first_seen: string }[];
}

const golden = readFixture<PassFixture>("eval", "pass_at_k.json");
const counts = fc
  .integer({ min: 1, max: 12 })
  .chain((samples) => fc.record({ samples: fc.constant(samples), correct: fc.nat(samples), k: fc.integer({ min: 1, max: samples }) }));

/** Every way to choose k of the outcomes. */
function subsets<T>(items: readonly T[], k: number): T[][] {
  if (k === 0) return [[]];
  return items.flatMap((item, i) => subsets(items.slice(i + 1), k - 1).map((rest) => [item, ...rest]));
}

describe("pass@k", () => {
  test.each(golden.pass_at_k)("exact fraction: n $n, c $c, k $k", ({ n, c, k, value }) => {
    expect(Math.abs(passAtK(n, c, k) - value)).toBeLessThan(1e-12);
  });

  test("is the share of k-subsets that hold a right one", () => {
    fc.assert(
      fc.property(counts, ({ samples, correct, k }) => {
        const all = subsets(Array.from({ length: samples }, (_, i) => i < correct), k);
        expect(passAtK(samples, correct, k)).toBeCloseTo(all.filter((one) => one.includes(true)).length / all.length, 10);
      }),
    );
  });

  test.each([[10, 11, 1], [10, -1, 1], [10, 5, 0], [10, 5, 11], [NaN, 0, 1]])("undefined for n %d, c %d, k %d", (n, c, k) => {
    expect(() => passAtK(n, c, k)).toThrow(expect.objectContaining({ code: "bad_argument" }));
  });
});

describe("majority vote", () => {
  test.each(golden.cons_at_k)("$answers", ({ answers, gold, majority, correct }) => {
    expect(majorityVote(answers)).toBe(majority);
    expect(majorityVote(answers) === gold).toBe(correct);
  });

  test.each(golden.ties)("first seen among equals: $answers", ({ answers, first_seen }) => {
    expect(majorityVote(answers)).toBe(first_seen);
  });

  test("no readable answer wins nothing", () => {
    expect(majorityVote([null, null])).toBeNull();
    expect(majorityVote([])).toBeNull();
  });
});

describe("pre-flight", () => {
  test("shares are what all groups of the completions show", () => {
    fc.assert(
      fc.property(counts, ({ samples, correct, k }) => {
        const all = subsets(Array.from({ length: samples }, (_, i) => i < correct), k);
        const share = (of: (group: boolean[]) => boolean): number => all.filter(of).length / all.length;
        const got = preflight([{ samples, correct }], k);
        expect(got.share_with_signal).toBeCloseTo(share((group) => group.includes(true) && group.includes(false)), 10);
        expect(got.share_all_right).toBeCloseTo(share((group) => !group.includes(false)), 10);
        expect(got.share_all_wrong).toBeCloseTo(share((group) => !group.includes(true)), 10);
        expect(got.pass_at_1).toBeCloseTo(correct / samples, 12);
      }),
    );
  });

  test("with many completions it agrees with independent draws", () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 100 }), fc.integer({ min: 1, max: 16 }), (percent, k) => {
        const samples = 100_000;
        const { share_with_signal } = preflight([{ samples, correct: percent * 1000 }], k);
        expect(share_with_signal).toBeCloseTo(signalProbability(percent / 100, k), 2);
      }),
      { numRuns: 30 },
    );
  });

  test.each([[0.01, 8, 0.0773], [0.05, 8, 0.3366], [0.1, 8, 0.5695], [0.5, 8, 0.9922], [0.01, 64, 0.4744]])("p %d in groups of %i", (p, group, want) => {
    expect(signalProbability(p, group)).toBeCloseTo(want, 3);
  });

  test("no problems, or fewer completions than a group, are refused", () => {
    expect(() => preflight([], 4)).toThrow(expect.objectContaining({ code: "bad_argument" }));
    expect(() => preflight([{ samples: 3, correct: 1 }], 4)).toThrow(expect.objectContaining({ code: "bad_argument" }));
  });
});

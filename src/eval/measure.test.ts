import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { random } from "../random/index.ts";
import { wilsonInterval } from "./intervals.ts";
import { estimate, measureSamples, type GradedSample } from "./measure.ts";

const same = (a: string, b: string): boolean => a === b;
const sample = (answer: string | null, score: number, more: Partial<GradedSample> = {}): GradedSample => ({ answer, score, tokens: 10, truncated: false, usd: 0.5, ...more });
const right = sample("7", 1);
const wrong = sample("8", 0);
const none = sample(null, 0, { truncated: true, tokens: 30 });

describe("a measurement", () => {
  test("by hand", () => {
    const result = measureSamples([[right, right, wrong, none], [wrong, wrong, wrong, right]], { same, seed: 1 });
    expect(result).toMatchObject({ problems: 2, samples: 4, answered: 7 / 8, truncated: 1 / 8, length: { mean: 12.5, p50: 10, p95: 30 }, usd: 4, usd_per_solved: 4 / 3 });
    expect(Object.keys(result.pass_at)).toEqual(["1", "2", "4"]);
    expect(result.pass_at["1"]).toMatchObject({ value: 3 / 8, interval: "bootstrap" });
    expect(result.pass_at["4"]).toMatchObject({ value: 1, interval: "wilson", ...wilsonInterval(2, 2) });
    expect(result.cons_at["4"]).toMatchObject({ value: 1 / 2, interval: "wilson", ...wilsonInterval(1, 2) });
    expect(result.pass_at["2"]!.value).toBeCloseTo((5 / 6 + 1 / 2) / 2, 12);
  });

  test("what is not known is not made up", () => {
    const result = measureSamples([[wrong, sample("7", 0, { tokens: null, usd: null })]], { same, seed: 1 });
    expect(result).toMatchObject({ length: null, usd: null, usd_per_solved: null });
    expect(measureSamples([[wrong]], { same, seed: 1 })).toMatchObject({ usd: 0.5, usd_per_solved: null });
  });

  test("no problems, and problems with unequally many answers, are refused", () => {
    for (const problems of [[], [[]], [[right], [right, wrong]]]) expect(() => measureSamples(problems, { same, seed: 1 })).toThrow(expect.objectContaining({ code: "bad_argument" }));
  });

  const problems = fc.integer({ min: 1, max: 9 }).chain((samples) => fc.array(fc.array(fc.constantFrom(right, wrong, none, sample("9", 0), sample("5", 0.25)), { minLength: samples, maxLength: samples }), { minLength: 1, maxLength: 12 }));

  test("pass@k rises with k and lies above cons@k; each is within its interval, and k = 1 is the same for both", () => {
    fc.assert(
      fc.property(problems, (asked) => {
        const { pass_at, cons_at } = measureSamples(asked, { same, seed: 3 });
        const ks = Object.keys(pass_at);
        for (const [i, k] of ks.entries()) {
          expect(pass_at[k]!.value).toBeGreaterThanOrEqual((pass_at[ks[i - 1] ?? k]?.value ?? 0) - 1e-12);
          expect(cons_at[k]!.value).toBeLessThanOrEqual(pass_at[k]!.value + 1e-12);
          for (const { low, value, high } of [pass_at[k]!, cons_at[k]!]) {
            expect(low).toBeLessThanOrEqual(value + 1e-12);
            expect(high).toBeGreaterThanOrEqual(value - 1e-12);
          }
        }
        expect(cons_at["1"]!.value).toBeCloseTo(pass_at["1"]!.value, 12);
      }),
      { numRuns: 30 },
    );
  });

  test("does not depend on the order of a problem's answers", () => {
    fc.assert(
      fc.property(problems, fc.nat(), (asked, seed) => {
        const shuffled = asked.map((one, i) => random("shuffle", seed, i).shuffle([...one]));
        const [a, b] = [measureSamples(asked, { same, seed: 3 }), measureSamples(shuffled, { same, seed: 3 })];
        for (const k of Object.keys(a.cons_at)) expect(b.cons_at[k]!.value).toBeCloseTo(a.cons_at[k]!.value, 10);
        expect(b.length).toEqual(a.length);
      }),
      { numRuns: 20 },
    );
  });
});

describe("intervals over problems", () => {
  /** Problems of unequal difficulty: each is answered rightly with a probability of its own. */
  const simulated = (run: number, problems: number, samples: number, difficulty: (u: number) => number): number[] => {
    const source = random("interval coverage", run, problems, samples);
    return Array.from({ length: problems }, () => {
      const p = difficulty(source.next());
      return Array.from({ length: samples }, () => Number(source.next() < p)).reduce<number>((a, b) => a + b, 0) / samples;
    });
  };

  // The limits leave room for the noise of 300 runs, of which one standard deviation is 1.3 points at 95 %.
  test.each([
    ["one sample each, right in 9 of 10", 40, 1, () => 0.9, 0.9],
    ["one sample each, right in 1 of 20", 60, 1, () => 0.05, 0.05],
    ["four samples, difficulties spread evenly", 50, 4, (u: number) => u, 0.5],
    ["eight samples, half never and half always right but for a tenth", 60, 8, (u: number) => (u < 0.5 ? 0.1 : 0.9), 0.5],
  ])("cover the truth about as often as they say: %s", (_, problems, samples, difficulty, truth) => {
    const runs = 300;
    const covered = Array.from({ length: runs }, (_, run) => estimate(simulated(run, problems, samples, difficulty), run)).filter(({ low, high }) => low <= truth && truth <= high).length;
    expect(covered / runs).toBeGreaterThan(0.9);
    expect(covered / runs).toBeLessThanOrEqual(1);
  });

  test("answers of one problem are no independent evidence", () => {
    // The same problems, each answer eight times over: the interval stays as wide.
    const once = simulated(7, 50, 1, () => 0.5);
    const value = estimate(once, 7);
    const repeated = measureSamples(once.map((score) => Array.from({ length: 8 }, () => (score === 1 ? right : wrong))), { same, seed: 7 });
    expect(repeated.pass_at["1"]).toEqual(value);
  });

  test("nothing right is no certainty", () => {
    expect(estimate([0, 0, 0], 1)).toMatchObject({ value: 0, low: 0, interval: "wilson" });
    expect(estimate([0, 0, 0], 1).high).toBeGreaterThan(0.5);
    const equal = estimate([0.25, 0.25, 0.25], 1);
    expect(equal).toMatchObject({ value: 0.25, interval: "wilson" });
    expect(equal.high - equal.low).toBeGreaterThan(0.5);
  });
});

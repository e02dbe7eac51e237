import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { random } from "../random/index.ts";
import { allTasks, type Task } from "../tasks/index.ts";
import { meanInterval } from "./intervals.ts";
import { estimate, measureSamples, type GradedSample } from "./measure.ts";
import { taskQuestions } from "./questions.ts";

const same = (a: string, b: string): boolean => a === b;
const sample = (answer: string | null, score: number, more: Partial<GradedSample> = {}): GradedSample => ({ answer, score, tokens: 10, truncated: false, usd: 0.5, ...more });
const right = sample("7", 1);
const wrong = sample("8", 0);
const none = sample(null, 0, { truncated: true, tokens: 30 });

describe("a measurement", () => {
  test("by hand", () => {
    const result = measureSamples([[right, right, wrong, none], [wrong, wrong, wrong, right]], { same });
    expect(result).toMatchObject({ problems: 2, distinct: 2, samples: 4, answered: 7 / 8, truncated: 1 / 8, length: { mean: 12.5, p50: 10, p95: 30 }, usd: 4, usd_per_solved: 4 / 3 });
    expect(Object.keys(result.pass_at)).toEqual(["1", "2", "4"]);
    expect(result.pass_at["1"]).toEqual({ value: 3 / 8, ...meanInterval([2 / 4, 1 / 4]) });
    expect(result.pass_at["4"]).toEqual({ value: 1, ...meanInterval([1, 1]) });
    expect(result.cons_at["4"]).toEqual({ value: 1 / 2, ...meanInterval([1, 0]) });
    expect(result.pass_at["2"]!.value).toBeCloseTo((5 / 6 + 1 / 2) / 2, 12);
  });

  test("what is not known is not made up", () => {
    const result = measureSamples([[wrong, sample("7", 0, { tokens: null, usd: null })]], { same });
    expect(result).toMatchObject({ length: null, usd: null, usd_per_solved: null });
    expect(measureSamples([[wrong]], { same })).toMatchObject({ usd: 0.5, usd_per_solved: null });
  });

  test("no problems, and problems with unequally many answers, are refused", () => {
    for (const problems of [[], [[]], [[right], [right, wrong]]]) expect(() => measureSamples(problems, { same })).toThrow(expect.objectContaining({ code: "bad_argument" }));
  });

  const problems = fc.integer({ min: 1, max: 9 }).chain((samples) => fc.array(fc.array(fc.constantFrom(right, wrong, none, sample("9", 0), sample("5", 0.25)), { minLength: samples, maxLength: samples }), { minLength: 1, maxLength: 12 }));

  test("pass@k rises with k and lies above cons@k; each is within its interval, and k = 1 is the same for both", () => {
    fc.assert(
      fc.property(problems, (asked) => {
        const { pass_at, cons_at } = measureSamples(asked, { same });
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
        const [a, b] = [measureSamples(asked, { same }), measureSamples(shuffled, { same })];
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

  const coverage = (runs: number, problems: number, samples: number, difficulty: (u: number) => number, truth: number): number =>
    Array.from({ length: runs }, (_, run) => estimate(simulated(run, problems, samples, difficulty))).filter(({ low, high }) => low <= truth && truth <= high).length / runs;

  // The limits leave room for the noise of the runs, of which one standard deviation is 0.7 points.
  test.each([
    ["one sample each, right in 9 of 10", 40, 1, () => 0.9, 0.9],
    ["one sample each, right in 1 of 20", 60, 1, () => 0.05, 0.05],
    ["four samples, difficulties spread evenly", 50, 4, (u: number) => u, 0.5],
    ["eight samples, half never and half always right but for a tenth", 60, 8, (u: number) => (u < 0.5 ? 0.1 : 0.9), 0.5],
  ])("cover the truth about as often as they say: %s", (_, problems, samples, difficulty, truth) => {
    expect(coverage(1000, problems, samples, difficulty, truth)).toBeGreaterThan(0.93);
  });

  test.each([2, 3, 4, 5, 8, 12, 20, 30])("cover the truth for few problems too: %d", (problems) => {
    for (const samples of [1, 2, 4, 8]) expect(coverage(1000, problems, samples, (u) => u, 0.5), `${samples} samples`).toBeGreaterThanOrEqual(0.93);
  });

  test("problems are the same where they ask the same, of an environment that knows the same", () => {
    for (const name of ["weekday", "guess"] as const) {
      const { questions } = taskQuestions(allTasks[name] as Task<unknown>, { problems: 200, seed: 0 });
      const [ids, prompts, contents] = [questions.map(({ id }) => id), questions.map(({ prompt }) => prompt), questions.map(({ content }) => content)].map((all) => new Set(all).size);
      expect([ids, contents! < 200, name === "guess" ? contents! > prompts! : contents === prompts]).toEqual([200, true, true]);
    }
  });

  test("a problem that is posed again is no further evidence, and counts in the mean", () => {
    const values = simulated(3, 20, 4, (u) => u);
    const posed = [...values, ...values, ...values].map((value) => [sample("7", value)]);
    const questions = posed.map((_, i) => `question ${i % 20}`);
    const { problems, distinct, pass_at } = measureSamples(posed, { same, questions });
    expect([problems, distinct]).toEqual([60, 20]);
    for (const [end, value] of Object.entries(estimate(values))) expect(pass_at["1"]![end as "low"], end).toBeCloseTo(value, 12);
    // Posed unequally often, they are worth fewer yet.
    const [often, once] = [estimate([1, 1, 1, 0], ["a", "a", "a", "b"]), estimate([1, 0])];
    expect(often.value).toBe(0.75);
    expect(often.high - often.low).toBeGreaterThan((once.high - once.low) * 0.9);
  });

  test("answers of one problem are no independent evidence", () => {
    // The same problems, each answer eight times over: the interval stays as wide.
    const once = simulated(7, 50, 1, () => 0.5);
    const value = estimate(once);
    const repeated = measureSamples(once.map((score) => Array.from({ length: 8 }, () => (score === 1 ? right : wrong))), { same });
    expect(repeated.pass_at["1"]).toEqual(value);
  });

  test("nothing right is no certainty", () => {
    expect(estimate([0, 0, 0])).toMatchObject({ value: 0, low: 0 });
    expect(estimate([0, 0, 0]).high).toBeGreaterThan(0.5);
    const equal = estimate([0.25, 0.25, 0.25]);
    expect(equal.value).toBe(0.25);
    expect(equal.high - equal.low).toBeGreaterThan(0.5);
  });
});

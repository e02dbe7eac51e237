import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { random } from "../random/index.ts";
import { bootstrapInterval, pairedDifference, wilsonInterval } from "./intervals.ts";

const z = 1.959963984540054;

describe("Wilson", () => {
  test("its ends are the proportions that the score test just fails to reject", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 2000 }).chain((n) => fc.tuple(fc.integer({ min: 0, max: n }), fc.constant(n))), ([successes, trials]) => {
        const { low, high } = wilsonInterval(successes, trials);
        const score = (p: number): number => Math.abs(successes / trials - p) / Math.sqrt((p * (1 - p)) / trials);
        if (successes > 0) expect(score(low)).toBeCloseTo(z, 6);
        else expect(low).toBe(0);
        if (successes < trials) expect(score(high)).toBeCloseTo(z, 6);
        else expect(high).toBe(1);
        expect(low).toBeLessThan(high);
      }),
    );
  });

  test("nothing tried, nothing known", () => {
    expect(wilsonInterval(0, 0)).toEqual({ low: 0, high: 1 });
  });
});

/** How often `covers` holds in seeded simulations. */
function coverage(runs: number, covers: (run: number) => boolean): number {
  return Array.from({ length: runs }, (_, run) => covers(run)).filter(Boolean).length / runs;
}

describe("bootstrap over problems", () => {
  const values = Array.from({ length: 80 }, (_, i) => (i % 5) / 4);

  test("the same seed gives the same interval, which holds the mean", () => {
    const one = bootstrapInterval(values, { seed: 1 });
    expect(bootstrapInterval(values, { seed: 1 })).toEqual(one);
    expect(bootstrapInterval(values, { seed: 2 })).not.toEqual(one);
    expect(one.low).toBeLessThan(0.5);
    expect(one.high).toBeGreaterThan(0.5);
  });

  test("a wider level gives a wider interval, equal problems give a point", () => {
    const narrow = bootstrapInterval(values, { seed: 3, level: 0.8 });
    const wide = bootstrapInterval(values, { seed: 3, level: 0.99 });
    expect(wide.low).toBeLessThan(narrow.low);
    expect(wide.high).toBeGreaterThan(narrow.high);
    expect(bootstrapInterval([0.25, 0.25, 0.25], { seed: 3 })).toEqual({ low: 0.25, high: 0.25 });
  });

  test("covers the truth about as often as it says", () => {
    const share = coverage(300, (run) => {
      const source = random("bootstrap coverage", run);
      const sample = Array.from({ length: 60 }, () => source.next());
      const { low, high } = bootstrapInterval(sample, { seed: run, resamples: 400 });
      return low <= 0.5 && 0.5 <= high;
    });
    expect(share).toBeGreaterThan(0.9);
    expect(share).toBeLessThan(0.99);
  });

  test("no problems are refused", () => {
    expect(() => bootstrapInterval([], { seed: 1 })).toThrow(expect.objectContaining({ code: "bad_argument" }));
  });
});

describe("paired difference", () => {
  const pairs = fc.array(fc.tuple(fc.constantFrom(0, 0.5, 1), fc.constantFrom(0, 0.5, 1)), { minLength: 1, maxLength: 60 });

  test("holds the difference, stays within [-1, 1], and turns over with its arguments", () => {
    fc.assert(
      fc.property(pairs, (rows) => {
        const [before, after] = [rows.map(([a]) => a), rows.map(([, b]) => b)];
        const { difference, low, high } = pairedDifference(before, after);
        expect(low).toBeLessThanOrEqual(difference);
        expect(high).toBeGreaterThanOrEqual(difference);
        expect(low).toBeGreaterThanOrEqual(-1);
        expect(high).toBeLessThanOrEqual(1);
        expect(high).toBeGreaterThan(low);
        const turned = pairedDifference(after, before);
        expect(turned.low).toBeCloseTo(-high, 12);
        expect(turned.high).toBeCloseTo(-low, 12);
      }),
    );
  });

  test("covers the truth about as often as it says, and is narrower than unpaired when problems differ in difficulty", () => {
    const truth = 0.1;
    const draw = (run: number): [number[], number[]] => {
      const source = random("paired coverage", run);
      const problems = Array.from({ length: 200 }, () => {
        const easy = source.next() < 0.5;
        const before = easy || source.next() < 0.1 ? 1 : 0;
        return [before, easy || before === 1 || source.next() < truth / 0.45 ? 1 : 0] as const;
      });
      return [problems.map(([a]) => a), problems.map(([, b]) => b)];
    };
    const share = coverage(1000, (run) => {
      const { low, high } = pairedDifference(...draw(run));
      return low <= truth && truth <= high;
    });
    expect(share).toBeGreaterThan(0.93);
    expect(share).toBeLessThan(0.98);
    const [before, after] = draw(0);
    const width = (values: number[]): number => {
      const { low, high } = wilsonInterval(values.filter((one) => one === 1).length, values.length);
      return high - low;
    };
    const paired = pairedDifference(before, after);
    expect(paired.high - paired.low).toBeLessThan(Math.hypot(width(before), width(after)));
  });

  test("different problems are refused", () => {
    expect(() => pairedDifference([1, 0], [1])).toThrow(expect.objectContaining({ code: "bad_argument" }));
    expect(() => pairedDifference([], [])).toThrow(expect.objectContaining({ code: "bad_argument" }));
  });
});

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { random } from "../random/index.ts";
import { meanInterval, pairedDifference, wilsonInterval } from "./intervals.ts";

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

describe("mean over problems", () => {
  const shares = fc.array(fc.constantFrom(0, 0.25, 0.5, 1), { minLength: 1, maxLength: 60 });

  test("holds the mean, stays within [0, 1], is never a point, and turns over with its values", () => {
    fc.assert(
      fc.property(shares, (values) => {
        const { low, high } = meanInterval(values);
        const mean = values.reduce<number>((a, b) => a + b, 0) / values.length;
        expect(low).toBeLessThanOrEqual(mean + 1e-12);
        expect(high).toBeGreaterThanOrEqual(mean - 1e-12);
        expect([low >= 0, high <= 1, low < high]).toEqual([true, true, true]);
        const turned = meanInterval(values.map((value) => 1 - value));
        expect(turned.low).toBeCloseTo(1 - high, 12);
        expect(turned.high).toBeCloseTo(1 - low, 12);
      }),
    );
  });

  test("of many zeros and ones it is Wilson's, but for the quantile", () => {
    for (const right of [0, 20, 500, 990]) {
      const [ours, wilson] = [meanInterval(Array.from({ length: 1000 }, (_, i) => Number(i < right))), wilsonInterval(right, 1000)];
      for (const end of ["low", "high"] as const) expect(Math.abs(ours[end] - wilson[end])).toBeLessThan(0.002);
    }
  });

  test("the quantile is Student's", () => {
    // Of n halves and the four that are added the standard error is 1 / (n + 4). The quantiles are from a table of Student's distribution.
    for (const [n, t] of [[2, 2.5706], [6, 2.2622], [26, 2.0452]] as const) expect((meanInterval(Array.from({ length: n }, () => 0.5)).high - 0.5) * (n + 4)).toBeCloseTo(t, 3);
  });

  test("no problems are refused", () => {
    expect(() => meanInterval([])).toThrow(expect.objectContaining({ code: "bad_argument" }));
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

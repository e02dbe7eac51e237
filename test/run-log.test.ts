import fc from "fast-check";
import { expect, test } from "vitest";
import { addLines, emptyLog, remaining, smooth } from "../apps/studio/src/run-log.ts";

const line = (fields: object) => JSON.stringify(fields);
const metrics = (stage: string, step: number, time: number, values: object = {}) => line({ type: "metrics", stage, step, steps: 100, ...values, clock: { time, step_time: 2 } });

test("taking lines in one by one, or in any pieces, gives the same log", () => {
  const known = fc.record({
    type: fc.constantFrom("metrics", "completions", "evaluation", "preflight", "notice", "something-new"),
    stage: fc.constantFrom("pretrain", "grpo"),
    step: fc.nat(50),
    reward: fc.double({ noNaN: true }),
    completions: fc.array(fc.record({ prompt: fc.string(), completion: fc.string(), reward: fc.double({ noNaN: true }), rewards: fc.dictionary(fc.string(), fc.double()) }), { maxLength: 2 }),
    clock: fc.record({ time: fc.nat(1000), step_time: fc.nat(5) }),
  });
  const anything = fc.oneof(known.map((value) => JSON.stringify(value)), fc.json(), fc.string());
  fc.assert(
    fc.property(fc.array(fc.array(anything, { maxLength: 4 }), { maxLength: 6 }), (pieces) => {
      expect(pieces.reduce(addLines, emptyLog)).toEqual(addLines(emptyLog, pieces.flat()));
    }),
  );
});

test("numbers become points, those of the clock under its name; damaged and unknown lines are passed over", () => {
  const log = addLines(emptyLog, [metrics("grpo", 1, 10, { reward: 0.5, note: "x" }), "{", "null", line({ type: "new", stage: "grpo", step: 1 }), line({ step: 3 })]);
  expect(log.stages).toHaveLength(1);
  expect(log.stages[0]?.points).toEqual([{ step: 1, values: { reward: 0.5, "clock/time": 10, "clock/step_time": 2 } }]);
});

test("what is left is the steps to come at the pace so far, a pause not counted", () => {
  const stage = (times: readonly number[]) => addLines(emptyLog, times.map((time, at) => metrics("grpo", at + 1, time))).stages[0];
  const steady = stage([2, 4, 6, 8]);
  expect(steady && remaining(steady)).toBeCloseTo(96 * 2);
  const paused = stage([2, 4, 5000, 5002]);
  expect(paused && remaining(paused)).toBeCloseTo(96 * 2);
});

test("a smoothed line stays within what it smooths, follows a straight one without lag, and with radius 0 is the line", () => {
  const lines = fc.array(fc.double({ min: -1e6, max: 1e6, noNaN: true }), { minLength: 1 });
  fc.assert(
    fc.property(lines, fc.nat(8), fc.double({ min: -10, max: 10, noNaN: true }), (values, radius, slope) => {
      const [low, high] = [Math.min(...values), Math.max(...values)];
      const slack = 1e-9 * (1 + Math.abs(low) + Math.abs(high));
      for (const value of smooth(values, radius)) expect(value !== null && value >= low - slack && value <= high + slack).toBe(true);
      expect(smooth(values, 0)).toEqual(values.map((value) => value + 0));
      const straight = values.map((_, at) => slope * at);
      for (const [at, value] of smooth(straight, radius).entries()) {
        if (at >= radius && at + radius < straight.length) expect(value).toBeCloseTo(straight[at] as number);
      }
    }),
  );
});

import fc from "fast-check";
import { expect, test } from "vitest";
import { expOfNegative } from "./exp.ts";

test("it is Math.exp to a part in 10¹³", () => {
  fc.assert(
    fc.property(fc.double({ min: -700, max: 0, noNaN: true }), (x) => {
      expect(Math.abs(expOfNegative(x) / Math.exp(x) - 1)).toBeLessThan(1e-13);
    }),
    { numRuns: 10_000 },
  );
});

test("the ends: nothing at -infinity, 1 at 0, NaN of NaN", () => {
  expect([expOfNegative(-Infinity), expOfNegative(-1e300), expOfNegative(0), expOfNegative(NaN)]).toEqual([0, 0, 1, NaN]);
});

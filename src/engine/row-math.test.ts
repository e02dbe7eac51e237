import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { random } from "../random/index.ts";
import { openBackend } from "../runtime/index.ts";
import { plainRowMath, rowMathOf } from "./row-math.ts";

const backend = await openBackend("cpu");
const here = await backend.hasOwnKernels();
const fast = rowMathOf(backend.ownFunctions());

/** Rows with what sampling may meet: masked tokens, equal scores, no numbers. */
const rows = fc
  .record({ length: fc.integer({ min: 257, max: 700 }), seed: fc.integer(), spread: fc.constantFrom(0, 1, 30, 900), odd: fc.array(fc.tuple(fc.nat(), fc.constantFrom(-Infinity, Infinity, NaN, 0, -0, 1e30)), { maxLength: 4 }), single: fc.boolean() })
  .map(({ length, seed, spread, odd, single }) => {
    const stream = random("rows", seed);
    const scores = new (single ? Float32Array : Float64Array)(length).map(() => Math.round(stream.normal() * spread * 8) / 8);
    for (const [at, value] of odd) scores[at % length] = value;
    return scores;
  });

describe.skipIf(!here)("our kernels of rows", () => {
  test("find what plain loops find", () => {
    fc.assert(
      fc.property(rows, (scores) => {
        expect(fast.argmax(scores)).toBe(plainRowMath.argmax(scores));
      }),
      { numRuns: 500 },
    );
  });

  test("give the same bits as plain loops", () => {
    fc.assert(
      fc.property(rows, fc.constantFrom(1, 0.6, 1e-5, 2), (scores, divisor) => {
        const top = scores[plainRowMath.argmax(scores)]!;
        const [a, b] = [new Float64Array(scores.length), new Float64Array(scores.length)];
        const total = plainRowMath.weights(scores, top, divisor, a);
        expect(fast.weights(scores, top, divisor, b)).toBe(total);
        expect(b).toEqual(a);
        expect(fast.weights(scores, top, divisor)).toBe(total);
      }),
      { numRuns: 500 },
    );
  });

  test("draw what plain loops draw", () => {
    fc.assert(
      fc.property(rows, fc.constantFrom(1, 0.6, 1e-5, 2), fc.constantFrom(0, 0.25, 0.5, 0.999, 1 - 2 ** -53), (scores, divisor, uniform) => {
        const [a, b] = [new Float64Array(scores.length), new Float64Array(scores.length)];
        expect(fast.draw(scores, divisor, uniform, a)).toEqual(plainRowMath.draw(scores, divisor, uniform, b));
        expect(a).toEqual(b);
      }),
      { numRuns: 500 },
    );
  });
});

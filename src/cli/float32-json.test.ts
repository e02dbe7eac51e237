import fc from "fast-check";
import { expect, test } from "vitest";
import { nested, shortest } from "./float32-json.ts";

const float32 = fc.float({ noNaN: true, noDefaultInfinity: true });
const digits = (value: number): number => value.toExponential().replace(/e.*|[-.]/g, "").length;

test("the shortest form reads back as the same float32", () => {
  fc.assert(fc.property(float32, (value) => Math.fround(shortest(value)) === value), { numRuns: 2000 });
});

test("a form with one digit less reads back as another", () => {
  fc.assert(
    fc.property(float32, (value) => {
      const length = digits(shortest(value));
      return length === 1 || Math.fround(Number(value.toPrecision(length - 1))) !== value;
    }),
    { numRuns: 2000 },
  );
});

test("nesting keeps the order and the shape", () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 1, maxLength: 4 }), (shape) => {
      const data = Float32Array.from({ length: shape.reduce((a, b) => a * b) }, (_, i) => i);
      let level: unknown = nested(data, shape);
      expect((level as number[]).flat(Number.POSITIVE_INFINITY)).toEqual(Array.from(data));
      for (const size of shape) {
        expect(level).toHaveLength(size);
        level = (level as unknown[])[0];
      }
    }),
  );
});

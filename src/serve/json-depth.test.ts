import fc from "fast-check";
import { expect, test } from "vitest";
import { isTooDeep, mostJsonDepth } from "./json-depth.ts";

/** One value inside as many lists or objects. */
const nested = (depth: number, inner: string, open = "[", close = "]"): string => open.repeat(depth) + inner + close.repeat(depth);

test("depth is counted in lists and objects, and not in strings", () => {
  const inner = fc.string({ unit: fc.constantFrom("[", "{", "]", "}", '"', "\\", "a"), maxLength: 30 }).map((text) => JSON.stringify(text));
  fc.assert(
    fc.property(inner, fc.constantFrom(["[", "]"] as const, ['{"[":', "}"] as const), (leaf, [open, close]) => {
      expect(isTooDeep(nested(mostJsonDepth, leaf, open, close))).toBe(false);
      expect(isTooDeep(nested(mostJsonDepth + 1, leaf, open, close))).toBe(true);
    }),
  );
  expect(isTooDeep("[],".repeat(1000))).toBe(false);
  expect(isTooDeep("[".repeat(200_000))).toBe(true);
});

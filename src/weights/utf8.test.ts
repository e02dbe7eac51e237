import fc from "fast-check";
import { expect, test } from "vitest";
import { decodesAsUtf8, isUtf8 } from "./utf8.ts";

test("both ways of looking find the same bytes to be UTF-8", () => {
  const whole = fc.string({ unit: "binary", minLength: 1 }).map((text) => new TextEncoder().encode(text));
  const broken = fc.tuple(whole, fc.nat(), fc.nat(255)).map(([bytes, at, byte]) => bytes.with(at % bytes.length, byte));
  fc.assert(
    fc.property(whole, fc.oneof(fc.uint8Array(), broken), (texts, others) => {
      expect([isUtf8(texts), decodesAsUtf8(texts)]).toEqual([true, true]);
      expect(isUtf8(others)).toBe(decodesAsUtf8(others));
    }),
  );
});

test("a character may lie across the parts that are decoded at once", () => {
  for (const before of [65533, 65534, 65535]) {
    const bytes = new TextEncoder().encode(`${"a".repeat(before)}\u{1f375}`);
    expect([decodesAsUtf8(bytes), decodesAsUtf8(bytes.subarray(0, -1))]).toEqual([true, false]);
  }
});

import { expect, test } from "vitest";
import { withinDeadline } from "./deadline.ts";

test("gives what is returned, throws what is thrown, and ends what does not end", () => {
  expect(withinDeadline(10_000, () => 7)).toEqual({ value: 7 });
  expect(() => withinDeadline(10_000, () => { throw new RangeError("x"); })).toThrow(RangeError);
  expect(withinDeadline(20, () => { for (;;); })).toBeNull();
  expect(withinDeadline(20, () => /(a+)+b/.test("a".repeat(60)))).toBeNull();
  expect(withinDeadline(10_000, () => 8)).toEqual({ value: 8 });
});

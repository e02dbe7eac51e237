import fc from "fast-check";
import { expect, test } from "vitest";
import { nearTexts } from "../../test/near-texts.ts";
import { packTexts } from "./packed-texts.ts";
import { TextTable } from "./text-table.ts";

const tableOf = (texts: readonly string[]): TextTable => new TextTable(packTexts(texts), "texts");

test("finds what a Map of the same texts finds, and the later of two", () => {
  // Of few characters, so that texts meet; of one to four bytes each.
  const text = fc.string({ unit: fc.constantFrom("a", "b", "\0", " ", "é", "Ġ", "茶", "🍵"), maxLength: 4 });
  fc.assert(
    fc.property(fc.array(text, { maxLength: 60 }), fc.array(fc.oneof(text, fc.string())), (texts, others) => {
      const map = new Map(texts.map((each, index) => [each, index]));
      const table = tableOf(texts);
      expect(table.size).toBe(map.size);
      for (const each of [...texts, ...others]) expect([table.get(each), table.has(each)]).toEqual([map.get(each), map.has(each)]);
    }),
  );
});

test("half a character is no text, whatever it would be written as", () => {
  const table = tableOf(["\ufffd", "a\ufffd", "🍵"]);
  for (const half of ["\ud83c", "a\udf75", "\udf75"]) expect(table.get(half)).toBeUndefined();
});

test("what is left out is not found, and one that is there twice is told", () => {
  const twice: number[] = [];
  const table = new TextTable(packTexts(["a", "b", "a", "b"]), "texts", { leftOut: (index) => index === 3, onTwice: (index) => twice.push(index) });
  expect([twice, table.size, table.get("a"), table.get("b")]).toEqual([[2], 2, 2, 1]);
});

test("texts that are made to lie in one place are refused", () => {
  expect(() => tableOf(nearTexts())).toThrow(expect.objectContaining({ code: "bad_file", facts: expect.objectContaining({ where: "texts" }) }));
});

import fc from "fast-check";
import { expect, test } from "vitest";
import { parseExactJson, writeExactJson } from "./exact-json.ts";

/** Values of JSON, whose integers are numbers where those are exact and bigints elsewhere. */
const { value } = fc.letrec<{ value: unknown }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 4 },
    fc.constantFrom(null, true, "#", "##1", "1234567890123456789", ""),
    fc.string(),
    fc.integer(),
    fc.bigInt().map((integer) => (Number.isSafeInteger(Number(integer)) ? Number(integer) : integer)),
    fc.array(tie("value")),
    fc.dictionary(fc.string(), tie("value")),
  ),
}));

test("what is written is read as it was", () => {
  fc.assert(fc.property(value, (json) => { expect(parseExactJson(writeExactJson(json))).toEqual(json); }));
});

test("reads as JSON.parse does, but for large integers", () => {
  fc.assert(fc.property(fc.json(), (text) => { expect(JSON.parse(writeExactJson(parseExactJson(text)))).toEqual(JSON.parse(text)); }));
  expect(() => parseExactJson("12345678901234567890x")).toThrow(SyntaxError);
});

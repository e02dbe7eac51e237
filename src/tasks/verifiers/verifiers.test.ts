import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { LongjingError } from "../../errors/index.ts";
import { verifyExact } from "./exact.ts";
import { deepestJson, longestJson, verifyJson } from "./json-schema.ts";
import { longestMatched, verifyPattern } from "./pattern.ts";
import { verifyQuantity } from "./quantity.ts";

describe("exact", () => {
  test.each([
    ["Paris", "Paris", {}, true],
    [" Paris\n", "Paris", {}, true],
    ["１２", "12", {}, true],
    ["paris", "Paris", {}, false],
    ["paris", "Paris", { ignoreCase: true }, true],
    ["New  York", "New York", {}, false],
    ["New  York", "New York", { ignoreSpaces: true }, true],
    ["Paris!", "Paris", { ignorePunctuation: true }, true],
    ["Paris, London", "Paris", {}, false],
    ["", "", {}, false],
    ["!", "", { ignorePunctuation: true }, false],
  ])("%j and %j, %j: %s", (answer, gold, options, correct) => expect(verifyExact(answer, gold, options).correct).toBe(correct));
});

describe("pattern", () => {
  test.each([
    ["2024-01-31", "\\d{4}-\\d\\d-\\d\\d", true],
    ["x2024-01-31", "\\d{4}-\\d\\d-\\d\\d", false],
    ["b", "a|b", true],
    ["ab", "a|b", false],
    ["a\nb", "a.b", true],
    ["7\nanything", "7", false],
    ["", ".*", false],
  ])("%j and %j: %s", (answer, pattern, correct) => expect(verifyPattern(answer, pattern).correct).toBe(correct));

  test("a long answer is none", () => expect(verifyPattern("a".repeat(longestMatched + 1), "a*")).toEqual({ correct: false, legal: false, parsed: null }));
  test("a pattern that backtracks without bound matches nothing", () => expect(verifyPattern("a".repeat(60), "(a+)+b").correct).toBe(false));
  test.each(["(", "a)|(b", "[z-a]"])("refuses %s", (pattern) => expect(() => verifyPattern("a", pattern)).toThrow(LongjingError));
});

describe("JSON Schema", () => {
  const schema = { type: "object", properties: { age: { type: "integer", minimum: 0 }, mail: { type: "string", format: "email" } }, required: ["age"], additionalProperties: false };
  test.each([
    ['{"age": 3}', true, true],
    ['```json\n{"age": 3}\n```', true, true],
    ['{"age": 3.5}', false, true],
    ['{"age": 3, "mail": "nobody"}', false, true],
    ['{"age": 3, "more": 1}', false, true],
    ['{"age": 3} {"age": 3}', false, false],
    ['{"age": -1, "age": 3}', false, false],
    ['{"__proto__": {"age": 3}}', false, true],
    ["The age is 3", false, false],
    ["{'age': 3}", false, false],
    ['{"age": NaN}', false, false],
    ["", false, false],
  ])("%j: correct %s, legal %s", (answer, correct, legal) => expect(verifyJson(answer, schema)).toMatchObject({ correct, legal }));

  test("a key inside a string is none", () => expect(verifyJson('{"a": "\\"b\\": 1"}', true).correct).toBe(true));
  test("required names are the answer's own", () => expect(verifyJson("{}", { required: ["constructor"] }).correct).toBe(false));
  test("depth has an end", () => {
    const nested = (depth: number): string => "[".repeat(depth) + "]".repeat(depth);
    expect(verifyJson(nested(deepestJson), true).correct).toBe(true);
    expect(verifyJson(nested(deepestJson + 1), true).legal).toBe(false);
    expect(verifyJson("[".repeat(200_000), true).legal).toBe(false);
  });
  test("time has an end", () => {
    expect(verifyJson('\\"'.repeat(longestJson / 2), true).legal).toBe(false);
    expect(verifyJson(JSON.stringify("a".repeat(60)), { type: "string", pattern: "^(a+)+b$" })).toMatchObject({ correct: false, legal: true });
    expect(verifyJson(JSON.stringify("a".repeat(40)), { type: "string", pattern: "^a+$" }).correct).toBe(true);
  });
  test.each(["toString", "valueOf", "constructor"])("an answer with a key %s has a verdict", (name) => {
    const answer = JSON.stringify({ [name]: "" });
    expect(verifyJson(answer, { enum: [{ [name]: 1 }, { a: 1 }] })).toEqual({ correct: false, legal: true, parsed: answer });
    expect(verifyJson(answer, { type: "object" }).correct).toBe(true);
  });
  test("refuses what is no schema", () => expect(() => verifyJson("1", { type: "nothing" })).toThrow(LongjingError));
  test("accepts every JSON value where the schema asks for nothing", () => {
    fc.assert(fc.property(fc.jsonValue({ maxDepth: 5 }), (value) => {
      expect(verifyJson(JSON.stringify(value), true).correct).toBe(true);
      expect(verifyJson(JSON.stringify(value), false).correct).toBe(false);
    }));
  });
});

describe("quantity", () => {
  test.each([
    ["1.5 km", "1500 m"],
    ["1,500m", "1.5km"],
    ["90 min", "1.5 hours"],
    ["90分钟", "1.5小时"],
    ["$1,000", "1000 dollars"],
    ["250 cents", "$2.50"],
    ["3 apples", "3 Apples"],
    ["1/2 kg", "500 g"],
    ["50%", "0.5"],
    ["2.54 cm", "1 inch"],
    ["36 km/h", "10 m/s"],
    ["1 m^2", "10000 cm²"],
    ["1.5e3", "1500"],
    ["1.5 × 10^3 m", "1.5 km"],
    ["-0", "0"],
    ["5 kg.", "5 kg"],
    ["-$5", "-5 dollars"],
    ["\u22125 m", "-5 m"],
    ["1 \u03bcm", "1 \u00b5m"],
    ["1 kWh", "3600000 J"],
    ["5 apples", "5 apple"],
    ["1 L", "1 dm^3"],
    ["1 ml", "1 cm³"],
    ["1.5 × 10³ m", "1.5 km"],
    ["60 miles per hour", "60 mph"],
    ["3 square feet", "3 ft^2"],
  ])("%s is %s", (a, b) => {
    expect(verifyQuantity(a, b).correct).toBe(true);
    expect(verifyQuantity(b, a).correct).toBe(true);
  });

  test.each([
    ["1500", "1500 m"],
    ["1500 kg", "1500 m"],
    ["1 m", "1 m^2"],
    ["1 or 2 m", "1 m"],
    ["1 m 2 m", "1 m"],
    ["1 m", "1 M"],
    ["$5 dollars", "$5"],
    ["1/0 m", "0 m"],
    ["1e", "1"],
    ["km", "km"],
    ["", ""],
    ["9".repeat(300), "9".repeat(300)],
    ["3.333", "10/3"],
    ["1,00", "100"],
    ["-$-5", "$5"],
    ["5 glass", "5 glas"],
  ])("%j is not %j", (answer, gold) => expect(verifyQuantity(answer, gold).correct).toBe(false));

  test("a unit may be left out where the task says so", () => expect(verifyQuantity("1500", "1500 m", { unitRequired: false }).correct).toBe(true));
  test("a tolerance reaches as far as it says", () => {
    expect(verifyQuantity("101 m", "100 m", { relative: 0.01 }).correct).toBe(true);
    expect(verifyQuantity("99 m", "100 m", { relative: 0.01 }).correct).toBe(true);
    expect(verifyQuantity("101.001 m", "100 m", { relative: 0.01 }).correct).toBe(false);
    expect(verifyQuantity("-100 m", "100 m", { relative: 0.01 }).correct).toBe(false);
  });
});

test("each has a verdict on every string", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), (text) => {
      for (const verdict of [verifyExact(text, "a"), verifyPattern(text, "a"), verifyJson(text, true), verifyQuantity(text, "1 m")]) if (verdict.correct) expect(verdict.parsed).not.toBeNull();
    }),
    { numRuns: 1000 },
  );
});

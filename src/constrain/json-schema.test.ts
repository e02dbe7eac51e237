import { Ajv2020 } from "ajv/dist/2020.js";
import addFormats from "ajv-formats";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { accepts, masksOf, walk } from "../../test/constrained-texts.ts";
import { random } from "../random/index.ts";
import { formats } from "./formats.ts";
import type { TokenMasks } from "./masks.ts";

const ajv = new Ajv2020({ strict: false, allErrors: false });
addFormats.default(ajv);

interface Pair {
  readonly schema: object | boolean;
  /** A value of the schema, by a number that says which. */
  readonly instance: unknown;
}

const name = fc.oneof(fc.constantFrom("a", "b", "key", "naïve", 'q"uote', "a b"), fc.string({ minLength: 1, maxLength: 4 }));
const text = fc.string({ unit: fc.oneof(fc.constantFrom("a", '"', "\\", "\n", "é", "😀", "\u0001"), fc.string({ unit: "grapheme", minLength: 1, maxLength: 1 })), maxLength: 8 });

const scalar: fc.Arbitrary<Pair> = fc.oneof(
  fc.record({ instance: text, below: fc.nat(3), above: fc.nat(3) }).map(({ instance, below, above }) => {
    const length = Array.from(instance).length;
    return { schema: { type: "string", minLength: Math.max(0, length - below), maxLength: length + above }, instance };
  }),
  text.map((instance) => ({ schema: { type: "string" }, instance })),
  fc.record({ instance: fc.integer(), below: fc.nat(1000), above: fc.nat(1000) }).map(({ instance, below, above }) => ({ schema: { type: "integer", minimum: instance - below, maximum: instance + above }, instance })),
  fc.record({ instance: fc.integer({ min: -99_999, max: 99_999 }).map((n) => n / 100), below: fc.nat(500), above: fc.nat(500) }).map(({ instance, below, above }) => ({ schema: { type: "number", exclusiveMinimum: instance - (below + 1) / 8, maximum: instance + above / 8 }, instance })),
  fc.double({ noNaN: true, noDefaultInfinity: true, min: -1e250, max: 1e250 }).map((instance) => ({ schema: { type: "number" }, instance })),
  fc.boolean().map((instance) => ({ schema: { type: ["boolean", "integer"] }, instance })),
  fc.constant({ schema: { type: "string", nullable: true }, instance: null }),
  fc.jsonValue({ maxDepth: 2 }).map((instance) => ({ schema: { enum: ["other", instance, 17] }, instance })),
  fc.jsonValue({ maxDepth: 1 }).map((instance) => ({ schema: { const: instance }, instance })),
  fc.jsonValue({ maxDepth: 2, noUnicodeString: false }).map((instance) => ({ schema: {}, instance })),
  fc.stringMatching(/^[a-c]{1,3}(x|é)?$/).map((instance) => ({ schema: { type: "string", pattern: "^[a-c]{1,3}(x|é)?$" }, instance })),
);

/** Schemas with a value of each. */
const pairs = fc.letrec<{ pair: Pair; object: Pair; array: Pair; any: Pair }>((tie) => ({
  pair: fc.oneof({ depthSize: "small", withCrossShrink: true }, scalar, tie("object"), tie("array"), tie("any")),
  object: fc
    .record({
      members: fc.uniqueArray(fc.record({ name, of: tie("pair"), required: fc.boolean(), there: fc.boolean() }), { selector: (member) => member.name, maxLength: 4 }),
      extra: fc.constantFrom("none", "false", "integers"),
    })
    .map(({ members, extra }) => {
      const there = members.filter((member) => member.required || member.there);
      const others = extra === "integers" ? { "": 1, other: 2 } : {};
      return {
        schema: {
          type: "object",
          properties: Object.fromEntries(members.map((member) => [member.name, member.of.schema])),
          required: members.filter((member) => member.required).map((member) => member.name),
          ...(extra === "none" ? {} : { additionalProperties: extra === "integers" ? { type: "integer" } : false }),
        },
        // Names that are numbers come first in JavaScript, wherever the schema has them; so they do in the schema.
        instance: { ...Object.fromEntries(there.map((member) => [member.name, member.of.instance])), ...Object.fromEntries(Object.entries(others).filter(([key]) => !members.some((member) => member.name === key))) },
      };
    }),
  array: fc.record({ items: fc.array(tie("pair"), { maxLength: 3 }), kind: fc.constantFrom("tuple", "list"), slack: fc.nat(2) }).map(({ items, kind, slack }) => {
    const first = items[0];
    if (kind === "tuple" && first !== undefined) return { schema: { type: "array", prefixItems: items.map((item) => item.schema), items: false, minItems: Math.max(0, items.length - slack) }, instance: items.map((item) => item.instance) };
    if (first === undefined) return { schema: { type: "array", items: false }, instance: [] };
    return { schema: { type: "array", items: first.schema, minItems: Math.max(0, items.length - slack), maxItems: items.length + slack }, instance: items.map(() => first.instance) };
  }),
  any: fc.record({ one: tie("pair"), other: tie("pair"), keyword: fc.constantFrom("anyOf", "allOf", "$ref") }).map(({ one, other, keyword }) => {
    if (keyword === "anyOf") return { schema: { anyOf: [other.schema, one.schema] }, instance: one.instance };
    if (keyword === "allOf") return { schema: { allOf: [one.schema, { description: "no more than before" }] }, instance: one.instance };
    return { schema: { type: ["object", "null"], properties: { value: one.schema }, additionalProperties: false }, instance: { value: one.instance } };
  }),
}));

/** The same value as a parser reads it back, so that -0 and numbers as names are what JSON makes of them. */
const asJson = (value: unknown): unknown => JSON.parse(JSON.stringify(value));
const oneLine = (value: unknown): string => JSON.stringify(value);
const spaced = (value: unknown): string => JSON.stringify(value, null, 2);
/** Ajv compares objects by methods of theirs, which keys of these names hide. */
const hidesMethods = (schema: unknown): boolean => /"(?:toString|valueOf|constructor)":/.test(JSON.stringify(schema));
const mentionsNumberName = (schema: unknown): boolean => /"properties":\{[^}]*"\d+":/.test(JSON.stringify(schema));

describe("a schema", () => {
  test("lets every value of it be written, compact or indented", () => {
    fc.assert(
      fc.property(pairs.pair, ({ schema, instance }) => {
        // Numbers beyond 1e280 are not written, for fear of those that are infinite.
        fc.pre(!mentionsNumberName(schema) && !/e\+(2[89]|3)/.test(JSON.stringify(instance)));
        const value = asJson(instance);
        const masks = masksOf({ type: "json_schema", schema });
        for (const style of [oneLine, spaced]) expect([style(value), accepts(masks, style(value))]).toEqual([style(value), true]);
      }),
      { numRuns: 200 },
    );
  });

  test("lets nothing else be written: whatever the mask leads to is valid", () => {
    fc.assert(
      fc.property(pairs.pair, fc.integer(), ({ schema }, seed) => {
        fc.pre(!hidesMethods(schema));
        const validate = ajv.compile(schema);
        const masks = masksOf({ type: "json_schema", schema });
        for (let i = 0; i < 4; i++) {
          const written = walk(masks, random("schema", seed, i), 40);
          const value: unknown = JSON.parse(written);
          if (!validate(value)) expect([written, ajv.errorsText(validate.errors)]).toEqual([written, ""]);
        }
      }),
      { numRuns: 60 },
    );
  });

  const list = { $ref: "#/$defs/node", $defs: { node: { type: "object", properties: { value: { type: "integer" }, next: { anyOf: [{ $ref: "#/$defs/node" }, { type: "null" }] } }, required: ["value", "next"], additionalProperties: false } } };

  test.each([
    ["recursion", list, [{ value: 1, next: { value: 2, next: null } }], [{ value: 1 }, { value: 1, next: { next: null } }]],
    ["the root's own name", { type: "array", items: { $ref: "#" } }, [[[], [[]]]], [[1]]],
    ["optional properties in any number", { properties: { a: {}, b: {}, c: {} } }, [{}, { b: 1 }, { a: 1, c: 2 }], [{ c: 1, a: 1 }, { d: 1 }]],
    ["additional properties, but for those that are declared", { properties: { a: { type: "null" } }, additionalProperties: { type: "integer" } }, [{ a: null, b: 1 }, { b: 1, c: 2 }], [{ a: 1 }, { b: null }]],
    ["a required property that is not declared", { type: "object", required: ["x"], additionalProperties: { type: "integer" } }, [{ x: 1 }, { x: 1, y: 2 }], [{}, { y: 1 }]],
    ["allOf", { allOf: [{ properties: { a: { type: "number" } }, required: ["a"] }, { properties: { a: { minimum: 3, type: "integer" }, b: {} } }] }, [{ a: 3 }, { a: 4, b: 1 }], [{ a: 2 }, { a: 3.5 }, { b: 1 }]],
    ["what stands beside alternatives", { type: "object", properties: { kind: { type: "string" } }, required: ["kind"], oneOf: [{ properties: { x: { type: "integer" } }, required: ["x"] }, { properties: { y: {} } }] }, [{ kind: "k", x: 1 }, { kind: "k", y: 1 }], [{ x: 1 }, { kind: "k", x: "1", y: 1 }]],
    ["a reference with more beside it", { $ref: "#/$defs/n", maximum: 9, $defs: { n: { type: "integer", minimum: 3 } } }, [3, 9], [2, 10]],
    ["names in a pointer", { $ref: "#/$defs/a~1b%20c", $defs: { "a/b c": { const: 1 } } }, [1], [2]],
    ["both kinds of bounds of draft 4", { type: "integer", minimum: 3, exclusiveMinimum: true }, [4], [3]],
    ["a list of items, before 2020", { items: [{ type: "integer" }], additionalItems: false }, [[], [1]], [["x"], [1, 2]]],
    ["enum less what type forbids", { type: "integer", enum: [1, "1", 2.5] }, [1], ["1", 2.5]],
    ["a pattern with a length", { type: "string", pattern: "b", minLength: 3, maxLength: 4 }, ["abc", 'b"\\\n'], ["aaa", "b", "abbbb"]],
    ["null where nullable", { type: "object", nullable: true, properties: { a: { type: "string", nullable: true } } }, [null, { a: null }], [1]],
    ["any value", {}, [1, "x", [{}]], []],
  ] as const)("knows %s", (_, schema, good, bad) => {
    const masks = masksOf({ type: "json_schema", schema });
    for (const value of good) expect([value, accepts(masks, JSON.stringify(value))]).toEqual([value, true]);
    for (const value of bad) expect([value, accepts(masks, JSON.stringify(value))]).toEqual([value, false]);
  });

  test.each(Object.keys(formats))("writes only what is of the format %s", (format) => {
    const schema = { type: "string", format };
    const validate = ajv.compile(schema);
    const masks = masksOf({ type: "json_schema", schema });
    for (let seed = 0; seed < 30; seed++) {
      const written = walk(masks, random(format, seed), 30);
      if (!validate(JSON.parse(written))) expect(written).toBe(`of the format ${format}`);
    }
  });

  test.each([
    ["date", "2024-02-29", "2023-02-29"],
    ["date-time", "2026-11-24T21:00:00.5+08:00", "2026-11-24 21:00:00Z"],
    ["duration", "P1Y2M3DT4H", "P"],
    ["uuid", "123e4567-e89b-12d3-a456-426614174000", "123e4567"],
    ["ipv4", "192.168.0.255", "1.2.3.256"],
    ["email", "a.b+c@example.co.uk", "a@b@c"],
    ["uri", "https://example.com:8080/a/b?q=1#x", "example.com"],
    ["hostname", "api.example.com", "-a.com"],
  ])("has of the format %s %s and not %s", (format, good, bad) => {
    const masks = masksOf({ type: "json_schema", schema: { type: "string", format } });
    expect([accepts(masks, JSON.stringify(good)), accepts(masks, JSON.stringify(bad))]).toEqual([true, false]);
  });
});

describe("numbers within bounds", () => {
  const decimals = fc.integer({ min: -200_000, max: 200_000 }).map((n) => n / 1000);
  const side = fc.option(fc.record({ at: decimals, exclusive: fc.boolean() }), { nil: undefined });
  test.each([
    [{ exclusiveMinimum: 0.1 }, ["0.1000000000000000000001", "0.10000000000000001"], ["0.10000000000000002", "0.2"]],
    [{ exclusiveMaximum: 1, minimum: 0 }, ["1", "0.99999999999999999999", "-0.1"], ["0", "-0", "0.9999999999999999"]],
    [{ exclusiveMinimum: 0 }, ["0", "-1", "0.0"], ["0.0000000001", "5"]],
    [{ maximum: 1.7976931348623157e308, minimum: -9223372036854775808 }, [], ["-12", "999999999999999999"]],
    [{ minimum: 1e-300 }, ["0"], ["1"]],
  ])("are compared as they are read: %j", (bounds, bad, good) => {
    const masks = masksOf({ type: "json_schema", schema: { type: "number", ...bounds } });
    for (const value of bad) expect([value, accepts(masks, value)]).toEqual([value, false]);
    for (const value of good) expect([value, accepts(masks, value)]).toEqual([value, true]);
  });

  test("are those that compare so, whole or not", () => {
    fc.assert(
      fc.property(side, side, fc.array(decimals, { minLength: 1, maxLength: 20 }), fc.boolean(), (low, high, values, whole) => {
        const schema = {
          type: whole ? "integer" : "number",
          ...(low === undefined ? {} : { [low.exclusive ? "exclusiveMinimum" : "minimum"]: low.at }),
          ...(high === undefined ? {} : { [high.exclusive ? "exclusiveMaximum" : "maximum"]: high.at }),
        };
        const validate = ajv.compile(schema);
        const all = [...values, 0, ...[low, high].flatMap((end) => (end === undefined ? [] : [end.at, Math.floor(end.at), Math.ceil(end.at), end.at + 0.001, end.at - 0.001]))].map((value) => Number(value.toFixed(3)) + 0);
        let masks: TokenMasks;
        try {
          masks = masksOf({ type: "json_schema", schema });
        } catch (error) {
          expect(error).toMatchObject({ code: "bad_argument" });
          for (const value of all) expect([value, validate(value)]).toEqual([value, false]);
          return;
        }
        for (const value of all) expect([value, accepts(masks, String(value))]).toEqual([value, validate(value)]);
      }),
      { numRuns: 300 },
    );
  });
});

test("multiples within bounds are those that a validator says, and nothing that a reader rounds", () => {
  const divisor = fc.oneof(fc.integer({ min: 1, max: 12 }), fc.integer({ min: 1, max: 1000 }));
  const bound = fc.option(fc.integer({ min: -9999, max: 9999 }).map((halves) => halves / 2), { nil: undefined });
  fc.assert(
    fc.property(divisor, fc.option(divisor, { nil: undefined }), bound, bound, fc.constantFrom("integer", "number"), fc.array(fc.integer({ min: -30, max: 30 }), { minLength: 1 }), fc.integer({ min: -6000, max: 6000 }), (step, other, low, high, type, counts, value) => {
      const both = { multipleOf: step, ...(other !== undefined && { allOf: [{ multipleOf: other }] }) };
      const schema = { type, ...both, ...(low !== undefined && { minimum: low }), ...(high !== undefined && { exclusiveMaximum: high }) };
      const validate = ajv.compile(schema);
      const values = [...counts.map((count) => count * step), ...counts.map((count) => count * (other ?? 1) * step), value];
      let masks: TokenMasks;
      try {
        masks = masksOf({ type: "json_schema", schema });
      } catch (error) {
        const { code } = error as { code: string };
        // Either too large a divisor of both, or nothing lies within the bounds.
        if (code !== "unsupported") for (const one of values) expect([one, validate(one)]).toEqual([one, false]);
        return;
      }
      for (const one of values) expect([one, accepts(masks, String(one))]).toEqual([one, validate(one)]);
      expect(accepts(masks, String(step * 10 ** 15))).toBe(false);
    }),
    { numRuns: 200 },
  );
});

describe("a schema is refused", () => {
  const refusal = (schema: unknown): unknown => {
    try {
      masksOf({ type: "json_schema", schema });
      return undefined;
    } catch (error) {
      const { code, facts } = error as { code: string; facts: { where?: string } };
      return [code, facts.where];
    }
  };

  test.each(["not", "if", "patternProperties", "propertyNames", "contains", "dependentRequired", "unevaluatedProperties", "uniqueItems"])("with the place of the keyword %s, which would be left out", (keyword) => {
    expect(refusal({ properties: { "a/b": { items: { [keyword]: true } } } })).toEqual(["unsupported", `json_schema.schema#/properties/a~1b/items/${keyword}`]);
  });

  test.each([
    [17, "bad_argument", "#"],
    [{ type: "text" }, "bad_argument", "#/type"],
    [{ properties: { a: [] } }, "bad_argument", "#/properties/a"],
    [{ minLength: -1 }, "bad_argument", "#/minLength"],
    [{ $ref: "#/nowhere" }, "bad_argument", "#/$ref"],
    [{ $ref: "https://example.com/schema" }, "unsupported", "#/$ref"],
    [{ type: "string", format: "color" }, "unsupported", "#/format"],
    [{ anyOf: [] }, "bad_argument", "#/anyOf"],
    [{ enum: ["a"], minLength: 3 }, "unsupported", "#/minLength"],
    [{ type: "string", maxLength: 1e6 }, "bad_argument", "#"],
    [{ type: "integer", minimum: 2 ** 53 }, "bad_argument", "#/minimum"],
    [{ type: "integer", exclusiveMaximum: -(2 ** 53) }, "bad_argument", "#/exclusiveMaximum"],
    [{ multipleOf: 0 }, "bad_argument", "#/multipleOf"],
    [{ multipleOf: "2" }, "bad_argument", "#/multipleOf"],
    [{ type: "number", multipleOf: 0.1 }, "unsupported", "#/multipleOf"],
    [{ allOf: [{ multipleOf: 35 }, { multipleOf: 49 }, { multipleOf: 23 }] }, "unsupported", "#/multipleOf"],
  ])("%j", (schema, code, path) => expect(refusal(schema)).toEqual([code, `json_schema.schema${path}`]));

  test.each([[false], [{ $ref: "#" }], [{ anyOf: [{ $ref: "#" }, { type: "null" }] }], [{ type: "integer", minimum: 3, maximum: 2 }], [{ allOf: [{ $ref: "#" }] }], [{ type: "object", properties: { a: { $ref: "#" } }, required: ["a"] }]])(
    "where nothing can follow it: %j",
    (schema) => expect((refusal(schema) as unknown[])[0]).toBe("bad_argument"),
  );
});

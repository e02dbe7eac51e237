import fc from "fast-check";
import { expect, test } from "vitest";
import { compiled } from "../../test/constrained-texts.ts";
import { enforceable } from "./enforceable.ts";

/** Keywords that are refused, and how each may stand in a schema. */
const refused: readonly Readonly<Record<string, unknown>>[] = [
  { uniqueItems: true }, { minProperties: 3 }, { maxProperties: 1 }, { multipleOf: 0.5 }, { not: {} }, { patternProperties: {} }, { contains: {} }, { format: "color" }, { if: {}, else: {} },
];

/** A schema that is enforced as it is, and the same with refused keywords anywhere in it. */
const pairs = fc.letrec<{ pair: readonly [object, object] }>((tie) => {
  const inside = (wrap: (schema: object) => object) => tie("pair").map(([plain, odd]) => [wrap(plain), wrap(odd)] as const);
  const wrapped = fc.oneof(
    inside((items) => ({ type: "array", items })),
    inside((not) => ({ type: "object", properties: { not, uniqueItems: { type: "null" } } })),
    inside((one) => ({ anyOf: [one, { type: "null" }] })),
    inside((one) => ({ type: "array", prefixItems: [one] })),
    inside((one) => ({ $ref: "#/$defs/one", $defs: { one } })),
  );
  const odd = fc.tuple(fc.constantFrom({ type: "string" }, { type: "object" }, { type: "integer", minimum: 1 }), fc.constantFrom(...refused)).map(([plain, more]) => [plain, { ...plain, ...more }] as const);
  return { pair: fc.oneof({ depthSize: "small" }, odd, wrapped) };
}).pair;

test("a schema loses what is refused, wherever it stands, and nothing else", () => {
  fc.assert(
    fc.property(pairs, ([plain, odd]) => {
      const { schema, left_out } = enforceable(odd);
      expect(schema).toEqual(plain);
      expect(left_out.length).toBeGreaterThan(0);
      expect(enforceable(plain)).toEqual({ schema: plain, left_out: [] });
    }),
  );
});

test.each(refused)("what is left can be enforced: %j", (more) => {
  const schema = { type: "object", properties: { a: { type: "array", items: more } }, ...more };
  expect(() => compiled({ type: "json_schema", schema })).toThrow(expect.objectContaining({ code: "unsupported" }));
  expect(() => compiled({ type: "json_schema", schema: enforceable(schema).schema })).not.toThrow();
});

test("words that JSON Schema does not know stay, whatever they are called", () => {
  const schema = Object.fromEntries(["hasOwnProperty", "toString", "__defineGetter__", "constructor", "x"].map((name) => [name, 1]));
  Object.defineProperty(schema, "__proto__", { value: 1, enumerable: true });
  expect(enforceable(schema)).toEqual({ schema, left_out: [] });
});

test("counts of properties that the other keywords imply stay", () => {
  const schema = { type: "object", properties: { a: {}, b: {} }, required: ["a"], additionalProperties: false, minProperties: 1, maxProperties: 2 };
  expect(enforceable(schema)).toEqual({ schema, left_out: [] });
});

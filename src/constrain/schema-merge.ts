import { jsonTypes, listOf, recordOf, restrictions, type JsonType, type Schema, type SchemaObject, type SchemaPlace } from "./schema-node.ts";

/** Keywords of which the larger, or the smaller, is the stricter. */
const larger = ["minProperties", "minItems", "minLength", "minimum", "exclusiveMinimum"];
const smaller = ["maxProperties", "maxItems", "maxLength", "maximum", "exclusiveMaximum"];

/**
 * One schema that allows what two allow, as far as keywords can say it.
 * @throws LongjingError "unsupported" where both have a keyword that does not combine
 */
export function mergeSchemas(a: Schema, b: Schema, at: SchemaPlace): Schema {
  if (a === false || b === false) return false;
  if (a === true) return b;
  if (b === true) return a;
  const merged: Record<string, unknown> = { ...a };
  for (const keyword of restrictions(b)) merged[keyword] = keyword in merged ? mergeKeyword(keyword, a, b, at) : b[keyword];
  if ("type" in a && "type" in b && (merged["type"] as readonly unknown[]).length === 0) return false;
  return { ...merged, ...mergeProperties(a, b, at), ...mergeNullable(a, b) };
}

function mergeKeyword(keyword: string, a: SchemaObject, b: SchemaObject, at: SchemaPlace): unknown {
  const [x, y] = [a[keyword], b[keyword]];
  if (typeof x === "number" && typeof y === "number") {
    if (larger.includes(keyword)) return Math.max(x, y);
    if (smaller.includes(keyword)) return Math.min(x, y);
    if (keyword === "multipleOf" && isDivisor(x) && isDivisor(y)) return (x / greatestDivisor(x, y)) * y;
  }
  switch (keyword) {
    case "type":
      return commonTypes(x, y);
    case "required":
      return [...new Set([...(listOf(a, keyword, at) ?? []), ...(listOf(b, keyword, at) ?? [])])];
    case "enum":
      return (listOf(a, keyword, at) ?? []).filter((value) => (listOf(b, keyword, at) ?? []).some((other) => JSON.stringify(other) === JSON.stringify(value)));
    case "allOf":
      return [...(listOf(a, keyword, at) ?? []), ...(listOf(b, keyword, at) ?? [])];
    case "items":
      return { allOf: [x, y] };
    case "properties":
    case "additionalProperties":
    case "nullable":
      return undefined; // merged together with what they depend on
  }
  if (JSON.stringify(x) === JSON.stringify(y)) return x;
  throw at.unsupported(keyword, "It is there twice, with different values");
}

const isDivisor = (value: number): boolean => Number.isSafeInteger(value) && value > 0;

/** Euclid's, of two whole numbers above 0. */
const greatestDivisor = (a: number, b: number): number => (b === 0 ? a : greatestDivisor(b, a % b));

/** A number that is an integer is both. */
function commonTypes(a: unknown, b: unknown): JsonType[] {
  const list = (types: unknown): readonly unknown[] => (Array.isArray(types) ? types : [types]);
  const allows = (types: readonly unknown[], type: JsonType): boolean => types.includes(type) || (type === "integer" && types.includes("number"));
  const both = jsonTypes.filter((type) => allows(list(a), type) && allows(list(b), type));
  return both.filter((type) => type !== "integer" || !both.includes("number"));
}

/** A property that one of them does not name has to follow what that one says of additional properties. */
function mergeProperties(a: SchemaObject, b: SchemaObject, at: SchemaPlace): SchemaObject {
  const [ofA, ofB] = [recordOf(a, "properties", at), recordOf(b, "properties", at)];
  const [restA, restB] = [a["additionalProperties"] ?? true, b["additionalProperties"] ?? true];
  if (ofA === undefined && ofB === undefined && !("additionalProperties" in a && "additionalProperties" in b)) return {};
  const names = new Set([...Object.keys(ofA ?? {}), ...Object.keys(ofB ?? {})]);
  const one = (of: SchemaObject | undefined, rest: unknown, name: string): unknown => (of !== undefined && Object.hasOwn(of, name) ? of[name] : rest);
  const both = (x: unknown, y: unknown): unknown => (x === true ? y : y === true ? x : x === false || y === false ? false : { allOf: [x, y] });
  const properties = Object.fromEntries([...names].map((name) => [name, both(one(ofA, restA, name), one(ofB, restB, name))]));
  const says = "additionalProperties" in a || "additionalProperties" in b;
  return { properties, ...(says ? { additionalProperties: both(restA, restB) } : {}) };
}

/** Null is added to what `type` says: it stays where both add it, or where one adds it and the other says nothing of types. */
function mergeNullable(a: SchemaObject, b: SchemaObject): SchemaObject {
  const adds = (schema: SchemaObject): boolean => schema["nullable"] === true || !("type" in schema) || [schema["type"]].flat().includes("null");
  return a["nullable"] === true || b["nullable"] === true ? { nullable: adds(a) && adds(b) } : {};
}

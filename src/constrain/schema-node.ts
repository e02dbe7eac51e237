import { LongjingError } from "../errors/index.ts";

/** A JSON Schema, or a part of one. */
export type Schema = boolean | SchemaObject;
export type SchemaObject = Readonly<Record<string, unknown>>;

export const jsonTypes = ["object", "array", "string", "number", "integer", "boolean", "null"] as const;
export type JsonType = (typeof jsonTypes)[number];

/** What each keyword that we enforce is about. */
const keywords = {
  object: ["properties", "required", "additionalProperties", "minProperties", "maxProperties"],
  array: ["items", "prefixItems", "additionalItems", "minItems", "maxItems"],
  string: ["minLength", "maxLength", "pattern", "format"],
  number: ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"],
} as const;

const general = ["type", "nullable", "enum", "const", "anyOf", "oneOf", "allOf", "$ref"];

/** An automaton that divides has as many states. */
const largestDivisor = 1000;

/** Keywords that are not enforced, with which values, and what to say of others. To leave one out would let through what the schema forbids. */
const unsupported = new Map<string, { readonly is: (value: unknown) => boolean; readonly hint?: string }>([
  ...[
    "not", "if", "then", "else", "dependentRequired", "dependentSchemas", "dependencies", "patternProperties", "propertyNames", "unevaluatedProperties",
    "contains", "minContains", "maxContains", "unevaluatedItems", "$dynamicRef", "$recursiveRef",
  ].map((keyword) => [keyword, { is: () => true }] as const),
  ["uniqueItems", { is: (value) => value === true }],
  // Validators divide doubles, and so do not agree on what 0.1 divides.
  ["multipleOf", { is: (value) => typeof value === "number" && value > 0 && !(Number.isInteger(value) && value <= largestDivisor), hint: `Whole numbers to ${largestDivisor} are` }],
]);

const known = new Set<string>([...general, ...Object.values(keywords).flat(), ...unsupported.keys()]);

/** Keywords of a schema that restrict what it allows. */
export function restrictions(schema: SchemaObject): string[] {
  return Object.keys(schema).filter((key) => known.has(key));
}

/** Whether a schema's keyword would forbid something and is never enforced. */
export const isUnsupported = (schema: SchemaObject, keyword: string): boolean => unsupported.get(keyword)?.is(schema[keyword]) === true;

/** Counts of properties that the other keywords do not imply, which is how alone they are enforced. */
export function unimplied({ required, properties, additionalProperties, minProperties, maxProperties }: SchemaObject): string[] {
  const needed = Array.isArray(required) ? new Set(required).size : 0;
  const declared = Object.keys(Object(properties) as object).length;
  const open = (additionalProperties ?? properties === undefined) !== false;
  const few = typeof minProperties === "number" && minProperties > needed;
  const many = typeof maxProperties === "number" && (open || maxProperties < declared);
  return [...(few ? ["minProperties"] : []), ...(many ? ["maxProperties"] : [])];
}

/** A place in a schema, for messages: a JSON pointer behind the name of what holds it. */
export class SchemaPlace {
  readonly #base: string;
  readonly #path: readonly string[];

  constructor(base: string, path: readonly string[] = []) {
    this.#base = base;
    this.#path = path;
  }

  in(...keys: readonly (string | number)[]): SchemaPlace {
    return new SchemaPlace(this.#base, [...this.#path, ...keys.map(String)]);
  }

  get depth(): number {
    return this.#path.length;
  }

  toString(): string {
    return `${this.#base}#${this.#path.map((key) => `/${key.replaceAll("~", "~0").replaceAll("/", "~1")}`).join("")}`;
  }

  error(why: string, got?: unknown, expected?: string): LongjingError {
    return new LongjingError("bad_argument", `The schema is not acceptable: ${why}`, { where: this.toString(), ...(got === undefined ? {} : { got }), ...(expected === undefined ? {} : { expected }) });
  }

  unsupported(keyword: string, hint?: string): LongjingError {
    return new LongjingError("unsupported", `The schema says ${JSON.stringify(keyword)}, which cannot be enforced`, { where: this.in(keyword).toString(), ...(hint === undefined ? {} : { hint }) });
  }
}

/** @throws LongjingError "bad_argument" for what is no schema, "unsupported" for a keyword that we cannot enforce */
export function checkSchema(value: unknown, at: SchemaPlace): Schema {
  if (typeof value === "boolean") return value;
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw at.error("not a schema", value, "an object or a boolean");
  const schema = value as SchemaObject;
  const stray = [...unsupported.keys()].find((keyword) => Object.hasOwn(schema, keyword) && isUnsupported(schema, keyword));
  if (stray !== undefined) throw at.unsupported(stray, unsupported.get(stray)?.hint);
  return schema;
}

/** A keyword that is a whole number, or `otherwise` where it is not there. */
export function count(schema: SchemaObject, keyword: string, at: SchemaPlace, otherwise: number): number {
  const value = schema[keyword];
  if (value === undefined) return otherwise;
  if (typeof value !== "number" || !Number.isSafeInteger(value) || value < 0) throw at.in(keyword).error("not a count", value, "a whole number from 0");
  return value;
}

export function textOf(schema: SchemaObject, keyword: string, at: SchemaPlace): string | undefined {
  const value = schema[keyword];
  if (value === undefined || typeof value === "string") return value;
  throw at.in(keyword).error("not a text", value);
}

export function listOf(schema: SchemaObject, keyword: string, at: SchemaPlace): readonly unknown[] | undefined {
  const value = schema[keyword];
  if (value === undefined || Array.isArray(value)) return value as readonly unknown[] | undefined;
  throw at.in(keyword).error("not a list", value);
}

export function recordOf(schema: SchemaObject, keyword: string, at: SchemaPlace): SchemaObject | undefined {
  const value = schema[keyword];
  if (value === undefined) return undefined;
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw at.in(keyword).error("not an object", value);
  return value as SchemaObject;
}

/**
 * The types that a schema allows. Where it names none, its keywords tell: who writes `properties` means an object. Null means
 * any.
 */
export function typesOf(schema: SchemaObject, at: SchemaPlace): readonly JsonType[] | null {
  const named = schema["type"];
  const nullable = schema["nullable"] === true ? (["null"] as const) : [];
  if (named !== undefined) {
    const list: readonly unknown[] = Array.isArray(named) ? named : [named];
    const stray = list.find((type) => !jsonTypes.includes(type as JsonType));
    if (stray !== undefined || list.length === 0) throw at.in("type").error("no such type", named, jsonTypes.join(", "));
    return [...new Set([...(list as readonly JsonType[]), ...nullable])];
  }
  const meant = (Object.keys(keywords) as (keyof typeof keywords)[]).filter((type) => keywords[type].some((keyword) => Object.hasOwn(schema, keyword)));
  return meant.length === 0 ? null : [...meant, ...nullable];
}

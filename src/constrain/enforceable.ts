import { formats } from "./formats.ts";
import { isUnsupported, unimplied, type SchemaObject } from "./schema-node.ts";

/** Keywords that hold one schema, a list of schemas, and schemas by name; `items` holds one or a list. */
const inner = ["items", "additionalItems", "additionalProperties"];
const lists = ["anyOf", "oneOf", "allOf", "prefixItems", "items"];
const named = ["properties", "$defs", "definitions"];

export interface Enforceable {
  readonly schema: unknown;
  /** Keywords that were left out, each once. */
  readonly left_out: readonly string[];
}

/**
 * What can be enforced of a schema: the same without the keywords that `SchemaCompiler` refuses. Whatever else is wrong with it
 * stays.
 */
export function enforceable(schema: unknown): Enforceable {
  const left = new Set<string>();
  return { schema: kept(schema, left), left_out: [...left] };
}

function kept(value: unknown, left: Set<string>): unknown {
  if (!isObject(value)) return value;
  const out: Record<string, unknown> = {};
  const loose = new Set(unimplied(value));
  for (const [keyword, of] of Object.entries(value)) {
    if (loose.has(keyword) || isUnsupported(value, keyword) || (keyword === "format" && typeof of === "string" && !Object.hasOwn(formats, of))) left.add(keyword);
    else define(out, keyword, keptBelow(keyword, of, left));
  }
  return out;
}

function keptBelow(keyword: string, of: unknown, left: Set<string>): unknown {
  if (lists.includes(keyword) && Array.isArray(of)) return of.map((one) => kept(one, left));
  if (inner.includes(keyword)) return kept(of, left);
  if (!named.includes(keyword) || !isObject(of)) return of;
  const out: Record<string, unknown> = {};
  for (const [name, one] of Object.entries(of)) define(out, name, kept(one, left));
  return out;
}

/** Also a name that assignment would take for the prototype. */
function define(out: Record<string, unknown>, name: string, value: unknown): void {
  Object.defineProperty(out, name, { value, enumerable: true, configurable: true, writable: true });
}

const isObject = (value: unknown): value is SchemaObject => typeof value === "object" && value !== null && !Array.isArray(value);

import type { z } from "zod";
import { LongjingError } from "../errors/index.ts";

/** A JSON object of which nothing is known yet. */
export type RawObject = Readonly<Record<string, unknown>>;

/** The object itself, without the keys whose value is null: on the hub null and absent mean the same. */
export function withoutNulls(raw: RawObject, keep: readonly string[] = []): RawObject {
  return Object.fromEntries(Object.entries(raw).filter(([key, value]) => value !== null || keep.includes(key)));
}

/** @throws LongjingError "bad_config" unless `value` is a JSON object. */
export function asObject(value: unknown, where: string): RawObject {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new LongjingError("bad_config", "A configuration is a JSON object", { got: brief(value), where });
  }
  return value as RawObject;
}

/**
 * `raw` as `schema` reads it. Fields that the schema does not name are dropped.
 * @throws LongjingError "bad_config" that names the first field which does not fit.
 */
export function readFields<T>(schema: z.ZodType<T>, raw: RawObject, where: string): T {
  const result = schema.safeParse(raw);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  const path = issue?.path ?? [];
  const got = path.reduce<unknown>((value, key) => (value as Record<PropertyKey, unknown> | undefined)?.[key], raw);
  throw badField(path.map(String).join("."), got, issue?.message ?? "another value", where);
}

/** An error about one field of one file. */
export function badField(field: string, got: unknown, expected: string, where: string): LongjingError {
  return new LongjingError("bad_config", `${field} is not acceptable`, {
    got: brief(got),
    expected,
    where: `${where}: ${field}`,
  });
}

/** An error about a field that asks for something well formed which we do not do. */
export function unsupportedField(field: string, got: unknown, expected: string, where: string): LongjingError {
  return new LongjingError("unsupported", `${field} asks for something that is not supported`, {
    got: brief(got),
    expected,
    where: `${where}: ${field}`,
  });
}

/** Hostile files nest without end, so that only scalars and lists of scalars may reach a message as they are. */
function brief(value: unknown): unknown {
  if (typeof value !== "object" || value === null) return value;
  if (!Array.isArray(value)) return "an object";
  return value.length <= 8 && value.every((item) => typeof item !== "object") ? value : `a list of ${value.length}`;
}

import { z } from "zod";
import { badField, asObject, readFields, unsupportedField, withoutNulls } from "./config-check.ts";
import type { RawObject } from "./config-check.ts";

/** Rotary position embedding. Which optional fields are present follows from `rope_type`. */
export interface RopeConfig {
  readonly rope_type: RopeType;
  readonly rope_theta: number;
  /** All types but `default`: how many times longer the context has become. */
  readonly factor?: number;
  /** llama3. */
  readonly low_freq_factor?: number;
  /** llama3. */
  readonly high_freq_factor?: number;
  /** llama3 and yarn, in tokens. */
  readonly original_max_position_embeddings?: number;
  /** yarn. */
  readonly beta_fast?: number;
  /** yarn. */
  readonly beta_slow?: number;
  /** yarn: with `mscale_all_dim`, the factor on cos and sin is the ratio of the two. */
  readonly mscale?: number;
  /** yarn, and of deepseek_v3 all types but `default`, whose softmax is scaled by it. */
  readonly mscale_all_dim?: number;
  /** yarn: multiplies cos and sin in place of what the factor and the two mscales give. */
  readonly attention_factor?: number;
}

export type RopeType = "default" | "linear" | "llama3" | "yarn";

const theta = { rope_theta: z.number().gt(1).max(1e18).default(10_000) };
const factor = z.number().min(1).max(1e6);
const scale = z.number().min(0).max(1e6);
const softmax = { mscale_all_dim: scale.exactOptional() };

/** `contextLength` is what transformers takes for the original context where a file does not name it. */
const schemas = {
  default: () => z.object(theta),
  linear: () => z.object({ ...theta, ...softmax, factor }),
  llama3: (contextLength: number) =>
    z.object({
      ...theta,
      ...softmax,
      factor,
      low_freq_factor: scale.gt(0),
      high_freq_factor: scale.gt(0),
      original_max_position_embeddings: z
        .int()
        .min(1)
        .max(2 ** 24)
        .default(contextLength),
    }),
  yarn: (contextLength: number) =>
    z.object({
      ...theta,
      ...softmax,
      factor: factor.optional(),
      original_max_position_embeddings: z
        .int()
        .min(1)
        .max(2 ** 24)
        .default(contextLength),
      beta_fast: scale.gt(0).default(32),
      beta_slow: scale.gt(0).default(1),
      mscale: scale.exactOptional(),
      attention_factor: scale.gt(0).exactOptional(),
    }),
};

/**
 * The rotation of a raw config.json, in any of the styles of the hub: `rope_theta` with `rope_scaling` (its type under
 * `rope_type` or `type`), transformers 5's `rope_parameters`, or both where they agree.
 * @param contextLength `max_position_embeddings`
 */
export function parseRope(raw: RawObject, contextLength: number, where: string): RopeConfig {
  const fields = mergeSources(raw, where);
  const rope_type = fields["rope_type"] ?? "default";
  if (typeof rope_type !== "string" || !isRopeType(rope_type)) {
    throw unsupportedField("rope_type", rope_type, Object.keys(schemas).join(" | "), where);
  }
  if ((fields["partial_rotary_factor"] ?? 1) !== 1) {
    throw unsupportedField("partial_rotary_factor", fields["partial_rotary_factor"], "1, the whole head rotates", where);
  }
  switch (rope_type) {
    case "default":
    case "linear":
      return { rope_type, ...readFields(schemas[rope_type](), fields, where) };
    case "llama3": {
      const rope = readFields(schemas.llama3(contextLength), fields, where);
      if (rope.low_freq_factor >= rope.high_freq_factor) {
        throw badField(
          "low_freq_factor",
          rope.low_freq_factor,
          `less than high_freq_factor (${rope.high_freq_factor})`,
          where,
        );
      }
      return { rope_type, ...rope };
    }
    case "yarn": {
      if ((fields["truncate"] ?? true) !== true) throw unsupportedField("truncate", fields["truncate"], "true", where);
      const rope = readFields(schemas.yarn(contextLength), fields, where);
      if (rope.beta_fast <= rope.beta_slow) {
        throw badField("beta_fast", rope.beta_fast, `more than beta_slow (${rope.beta_slow})`, where);
      }
      return {
        rope_type,
        ...rope,
        factor: rope.factor ?? Math.max(1, contextLength / rope.original_max_position_embeddings),
      };
    }
  }
}

function isRopeType(name: string): name is RopeType {
  return Object.hasOwn(schemas, name);
}

/** The rope fields of the top level, `rope_scaling` and `rope_parameters` in one object; a disagreement is an error. */
function mergeSources(raw: RawObject, where: string): RawObject {
  const merged = new Map<string, unknown>();
  const add = (key: string, value: unknown, from: string): void => {
    // These lists are longrope's alone, which is refused by its name.
    if (key === "long_factor" || key === "short_factor") return;
    if (typeof value === "object")
      throw unsupportedField(`${from}.${key}`, value, "one set of values for all layers", where);
    if (merged.has(key) && merged.get(key) !== value)
      throw badField(key, value, `${String(merged.get(key))}, as said elsewhere in the file`, where);
    merged.set(key, value);
  };
  for (const key of ["rope_theta", "partial_rotary_factor", "original_max_position_embeddings"]) {
    if ((raw[key] ?? null) !== null) add(key, raw[key], "config");
  }
  for (const source of ["rope_scaling", "rope_parameters"]) {
    if ((raw[source] ?? null) === null) continue;
    const fields = withoutNulls(asObject(raw[source], `${where}: ${source}`));
    for (const [key, value] of Object.entries(fields)) add(key === "type" ? "rope_type" : key, value, source);
  }
  return Object.fromEntries(merged);
}

/** As transformers reads it: `rope_theta` and `rope_scaling` before version 5, `rope_parameters` from it on. */
export function ropeToJson(rope: RopeConfig): Record<string, unknown> {
  const { rope_type, rope_theta, ...rest } = rope;
  return {
    rope_theta,
    rope_scaling: rope_type === "default" ? null : { rope_type, type: rope_type, ...rest },
    rope_parameters: { ...rope },
  };
}

import { z } from "zod";
import { LongjingError } from "../errors/index.ts";
import { asObject, readFields, unsupportedField, withoutNulls } from "../model/config-check.ts";
import { modulePattern } from "./module-pattern.ts";

const rank = z
  .int()
  .min(1)
  .max(2 ** 16);
const alpha = z.number().min(-1e6).max(1e6);
const pattern = <T>(value: z.ZodType<T>) => z.record(z.string(), value).default({});

const schema = z.object({
  base_model_name_or_path: z.string().max(4096).exactOptional(),
  r: rank.default(8),
  lora_alpha: alpha.default(8),
  use_rslora: z.boolean().default(false),
  target_modules: z.union([z.string().max(4096), z.array(z.string().max(4096)).max(4096)]),
  rank_pattern: pattern(rank),
  alpha_pattern: pattern(alpha),
});

/** adapter_config.json of PEFT, the fields that bear on the result. Absent ones have PEFT's defaults. */
export type LoraConfig = Readonly<z.infer<typeof schema>>;

/** Fields that change the result in ways that we do not compute, and the values that leave it alone. */
const fixedFields: readonly { readonly field: string; readonly accepts: (value: unknown) => boolean; readonly expected: string }[] = [
  { field: "peft_type", accepts: (value) => value === "LORA", expected: "LORA" },
  { field: "bias", accepts: (value) => value === "none", expected: "none" },
  { field: "modules_to_save", accepts: isEmptyList, expected: "no module beside the factors: train the adapter without modules_to_save, or merge it" },
  { field: "target_parameters", accepts: isEmptyList, expected: "none" },
  // The others subtract their start from the base's weights.
  { field: "init_lora_weights", accepts: (value) => typeof value === "boolean" || ["gaussian", "orthogonal", "eva"].includes(value as string), expected: "true | false | gaussian | orthogonal | eva" },
  ...["use_dora", "use_qalora", "use_bdlora", "lora_bias", "fan_in_fan_out"].map((field) => ({ field, accepts: (value: unknown) => value === false, expected: "false" })),
  ...["layer_replication", "trainable_token_indices", "alora_invocation_tokens", "arrow_config", "kasa_config", "monteclora_config"].map((field) => ({ field, accepts: () => false, expected: "null" })),
];

function isEmptyList(value: unknown): boolean {
  return Array.isArray(value) && value.length === 0;
}

/**
 * Reads a parsed adapter_config.json.
 * @throws LongjingError "bad_config" for a malformed field; "unsupported" for another kind of adapter, and for what is more
 *   than W + s · B · A (DoRA, biases, modules_to_save, …)
 */
export function parseLoraConfig(json: unknown, where: string): LoraConfig {
  const raw = withoutNulls(asObject(json, where));
  for (const { field, accepts, expected } of fixedFields) {
    if (raw[field] !== undefined && !accepts(raw[field])) throw unsupportedField(field, raw[field], expected, where);
  }
  return readFields(schema, raw, where);
}

/** The text of adapter_config.json, as PEFT reads it. */
export function loraConfigToText(config: LoraConfig): string {
  const { base_model_name_or_path = null, ...fields } = config;
  const fixed = { peft_type: "LORA", task_type: "CAUSAL_LM", bias: "none", lora_dropout: 0, fan_in_fan_out: false, init_lora_weights: true, inference_mode: true, modules_to_save: null };
  return `${JSON.stringify({ base_model_name_or_path, ...fixed, ...fields }, null, 2)}\n`;
}

/** Factor on B · A: alpha / r, or alpha / √r (rsLoRA, arXiv 2312.03732). @throws LongjingError "unsupported" for a pattern that `modulePattern` does not take */
export function loraScale({ lora_alpha, alpha_pattern, use_rslora }: LoraConfig, module: string, rank: number, where: string): number {
  return (patterned(alpha_pattern, module, where) ?? lora_alpha) / (use_rslora ? Math.sqrt(rank) : rank);
}

/** The rank that the configuration gives a module. @throws LongjingError "unsupported" for a pattern that `modulePattern` does not take */
export function loraRank({ r, rank_pattern }: LoraConfig, module: string, where: string): number {
  return patterned(rank_pattern, module, where) ?? r;
}

type Patterns = Readonly<Record<string, number>>;
interface Matcher {
  readonly matches: (module: string) => boolean;
  readonly value: number;
}

/** Of configurations that are in use: each pattern is read once, and not for each module. */
const matchersOf = new WeakMap<Patterns, readonly Matcher[]>();

/** In all patterns together that are more than names: a stranger's file decides what is matched, and against every module. */
const mostPatternCharacters = 2 ** 14;

/** What the first pattern that matches a module says. */
function patterned(patterns: Patterns, module: string, where: string): number | undefined {
  let matchers = matchersOf.get(patterns);
  if (matchers === undefined) {
    const length = Object.keys(patterns).reduce((sum, key) => (/^[\w.\\^-]*$/.test(key) ? sum : sum + key.length), 0);
    if (length > mostPatternCharacters) throw new LongjingError("unsupported", "The patterns of ranks or alphas are too many", { got: `${length} characters`, expected: `${mostPatternCharacters} at most, apart from plain names`, where });
    matchers = Object.entries(patterns).map(([key, value]) => ({ matches: modulePattern(key, where), value }));
    matchersOf.set(patterns, matchers);
  }
  return matchers.find(({ matches }) => matches(module))?.value;
}

import { asObject, badField, readFields, unsupportedField, withoutNulls } from "./config-check.ts";
import type { RawObject } from "./config-check.ts";
import { families } from "./config-schema.ts";
import { fp8BlockSize } from "./quantization-config.ts";
import { parseRope, ropeToJson } from "./rope-config.ts";
import type { RopeConfig } from "./rope-config.ts";

export type { RopeConfig, RopeType } from "./rope-config.ts";

/**
 * `config.json` of a Hugging Face checkpoint as a typed value. Field names are the hub's. Sizes are counts of elements,
 * layers, heads or experts; every absent field has taken the default of its `model_type`.
 */
export type ModelConfig = LlamaConfig | Qwen2Config | Qwen3Config | Qwen3MoeConfig | DeepseekV3Config;
export type ModelType = ModelConfig["model_type"];

interface BaseConfig {
  readonly vocab_size: number;
  readonly hidden_size: number;
  /** Of the dense feed-forward layers. */
  readonly intermediate_size: number;
  readonly num_hidden_layers: number;
  readonly num_attention_heads: number;
  readonly num_key_value_heads: number;
  /** Elements of one head; of a deepseek_v3 head, the rotated ones (`qk_rope_head_dim`). */
  readonly head_dim: number;
  readonly max_position_embeddings: number;
  readonly rms_norm_eps: number;
  readonly tie_word_embeddings: boolean;
  readonly rope: RopeConfig;
  /** Standard deviation of a fresh weight matrix. */
  readonly initializer_range: number;
  readonly bos_token_id: number | null;
  /** Empty when the checkpoint names none. */
  readonly eos_token_id: readonly number[];
  readonly pad_token_id: number | null;
}

export interface LlamaConfig extends BaseConfig {
  readonly model_type: "llama";
  /** q, k, v and o have a bias. */
  readonly attention_bias: boolean;
  /** gate, up and down have a bias. */
  readonly mlp_bias: boolean;
}

/** q, k and v always have a bias, o never. */
export interface Qwen2Config extends BaseConfig {
  readonly model_type: "qwen2";
}

/** q and k are RMS-normalised per head before the rotation. */
export interface Qwen3Config extends BaseConfig {
  readonly model_type: "qwen3";
  readonly attention_bias: boolean;
}

export interface Qwen3MoeConfig extends BaseConfig {
  readonly model_type: "qwen3_moe";
  readonly attention_bias: boolean;
  readonly num_experts: number;
  readonly num_experts_per_tok: number;
  readonly moe_intermediate_size: number;
  /** The chosen experts' weights are divided by their sum. */
  readonly norm_topk_prob: boolean;
  /** Layer i is sparse when `(i + 1) % decoder_sparse_step === 0` and it is not in `mlp_only_layers`. */
  readonly decoder_sparse_step: number;
  readonly mlp_only_layers: readonly number[];
  readonly router_aux_loss_coef: number;
}

/** Multi-head latent attention and DeepSeekMoE (arXiv 2412.19437, sections 2.1.1 and 2.1.2). */
export interface DeepseekV3Config extends BaseConfig {
  readonly model_type: "deepseek_v3";
  /** q_a, kv_a and o have a bias. */
  readonly attention_bias: boolean;
  /** null: queries are projected without a low rank. */
  readonly q_lora_rank: number | null;
  readonly kv_lora_rank: number;
  readonly qk_nope_head_dim: number;
  readonly qk_rope_head_dim: number;
  readonly v_head_dim: number;
  readonly n_routed_experts: number;
  readonly n_shared_experts: number;
  readonly num_experts_per_tok: number;
  /** Groups of routed experts, and how many of them a token may use. */
  readonly n_group: number;
  readonly topk_group: number;
  readonly norm_topk_prob: boolean;
  readonly routed_scaling_factor: number;
  /** Layer i is sparse when `i >= first_k_dense_replace` and `i % moe_layer_freq === 0`. */
  readonly first_k_dense_replace: number;
  readonly moe_layer_freq: number;
  readonly moe_intermediate_size: number;
  /** Rotation pairs are (2i, 2i + 1); false: the two halves of the head. */
  readonly rope_interleave: boolean;
  /** Multi-token-prediction modules behind the last layer. */
  readonly num_nextn_predict_layers: number;
}

/** Number formats in which a checkpoint's weights are written. */
export type WeightDtype = "float32" | "bfloat16" | "float16";

/**
 * Reads a parsed config.json in any style of the hub: released checkpoints (`rope_theta`, `rope_scaling`, `num_experts`),
 * transformers 5 (`rope_parameters`, `num_local_experts`), or both where they agree. Fields that do not bear on the result
 * are ignored, absent ones take transformers' default for the `model_type`.
 * @param where the file, for messages
 * @throws LongjingError "bad_config" for a field that is malformed, out of bounds or at odds with another; "unsupported"
 *   for a model, rotation, activation or kind of attention that we do not compute
 */
export function parseConfig(json: unknown, where: string): ModelConfig {
  const raw = withoutNulls(asObject(json, where), meaningfulNulls);
  const config = parseFamily(raw, where);
  // Refused here, where every other thing that we cannot do is; what the blocks are is for whoever reads the weights.
  fp8BlockSize(raw, where);
  for (const { field, accepts, expected } of fixedFields) {
    if (raw[field] !== undefined && !accepts(raw[field])) throw unsupportedField(field, raw[field], expected, where);
  }
  checkBase(config, where);
  if (config.model_type === "qwen3_moe") checkQwen3Moe(config, where);
  if (config.model_type === "deepseek_v3") checkDeepseekV3(config, where);
  return config;
}

const meaningfulNulls = ["num_key_value_heads", "q_lora_rank", "bos_token_id", "eos_token_id", "pad_token_id"];

/** Fields that change the result in ways that we do not compute, and the values that leave it alone. */
const fixedFields: readonly { field: string; accepts: (value: unknown) => boolean; expected: string }[] = [
  { field: "hidden_act", accepts: (value) => value === "silu", expected: "silu" },
  { field: "use_sliding_window", accepts: (value) => value === false, expected: "false" },
  { field: "layer_types", accepts: isFullAttention, expected: "full_attention in every layer" },
  { field: "scoring_func", accepts: (value) => value === "sigmoid", expected: "sigmoid" },
  { field: "topk_method", accepts: (value) => value === "noaux_tc", expected: "noaux_tc" },
];

function isFullAttention(layers: unknown): boolean {
  return Array.isArray(layers) && layers.every((layer) => layer === "full_attention");
}

function parseFamily(raw: RawObject, where: string): ModelConfig {
  const { model_type } = raw;
  switch (model_type) {
    case "llama":
      return { model_type, ...complete(readFields(families.llama, raw, where), raw, where) };
    case "qwen2":
      return { model_type, ...complete(readFields(families.qwen2, raw, where), raw, where) };
    case "qwen3":
      return { model_type, ...complete(readFields(families.qwen3, raw, where), raw, where) };
    case "qwen3_moe": {
      const fields = merge(raw, "num_experts", "num_local_experts", where);
      return { model_type, ...complete(readFields(families.qwen3_moe, fields, where), raw, where) };
    }
    case "deepseek_v3": {
      const experts = merge(raw, "n_routed_experts", "num_local_experts", where);
      const fields = merge(experts, "num_nextn_predict_layers", "num_mtp_layers", where);
      const read = readFields(families.deepseek_v3, fields, where);
      return { model_type, ...complete({ ...read, head_dim: read.head_dim ?? read.qk_rope_head_dim }, raw, where) };
    }
    default: {
      if (typeof model_type !== "string") throw badField("model_type", model_type, "the name of a model type", where);
      throw unsupportedField("model_type", model_type, Object.keys(families).join(" | "), where);
    }
  }
}

/** `raw` with what its `alias` says under `name`. */
function merge(raw: RawObject, name: string, alias: string, where: string): RawObject {
  if (raw[alias] === undefined) return raw;
  if (raw[name] !== undefined && raw[name] !== raw[alias]) throw badField(alias, raw[alias], `the value of ${name}`, where);
  return { ...raw, [name]: raw[alias] };
}

interface Incomplete {
  hidden_size: number;
  num_attention_heads: number;
  max_position_embeddings: number;
  num_key_value_heads?: number | null | undefined;
  head_dim?: number | undefined;
}

/** Fills in what follows from other fields. */
function complete<T extends Incomplete>(fields: T, raw: RawObject, where: string) {
  const { hidden_size, num_attention_heads, max_position_embeddings } = fields;
  if (fields.head_dim === undefined && hidden_size % num_attention_heads !== 0) {
    throw badField("hidden_size", hidden_size, `a multiple of num_attention_heads (${num_attention_heads})`, where);
  }
  return {
    ...fields,
    num_key_value_heads: fields.num_key_value_heads ?? num_attention_heads,
    head_dim: fields.head_dim ?? hidden_size / num_attention_heads,
    rope: parseRope(raw, max_position_embeddings, where),
  };
}

function checkBase(config: ModelConfig, where: string): void {
  const { num_attention_heads, num_key_value_heads, head_dim, vocab_size } = config;
  if (num_attention_heads % num_key_value_heads !== 0) {
    throw badField(
      "num_key_value_heads",
      num_key_value_heads,
      `a divisor of num_attention_heads (${num_attention_heads})`,
      where,
    );
  }
  if (head_dim % 2 !== 0) throw badField("head_dim", head_dim, "an even number, since rotation takes pairs", where);
  for (const field of ["bos_token_id", "eos_token_id", "pad_token_id"] as const) {
    for (const id of [config[field] ?? []].flat()) {
      if (id >= vocab_size) throw badField(field, id, `less than vocab_size (${vocab_size})`, where);
    }
  }
}

function checkQwen3Moe(config: Qwen3MoeConfig, where: string): void {
  const { num_experts, num_experts_per_tok, num_hidden_layers, mlp_only_layers } = config;
  checkExperts("num_experts", num_experts, config, where);
  if (num_experts_per_tok > num_experts) {
    throw badField("num_experts_per_tok", num_experts_per_tok, `at most num_experts (${num_experts})`, where);
  }
  if (mlp_only_layers.some((layer) => layer >= num_hidden_layers)) {
    throw badField("mlp_only_layers", mlp_only_layers, `layers below num_hidden_layers (${num_hidden_layers})`, where);
  }
}

function checkDeepseekV3(config: DeepseekV3Config, where: string): void {
  const { n_routed_experts, n_group, topk_group, num_experts_per_tok, num_attention_heads, qk_rope_head_dim } = config;
  checkExperts("n_routed_experts", n_routed_experts, config, where);
  if (config.num_key_value_heads !== num_attention_heads) {
    throw badField("num_key_value_heads", config.num_key_value_heads, `num_attention_heads (${num_attention_heads})`, where);
  }
  if (config.head_dim !== qk_rope_head_dim) {
    throw badField("head_dim", config.head_dim, `qk_rope_head_dim (${qk_rope_head_dim})`, where);
  }
  if (n_routed_experts % n_group !== 0 || n_routed_experts < 2 * n_group) {
    // A group is scored by the sum of its two best experts (arXiv 2412.19437, section 2.1.2).
    throw badField("n_group", n_group, `equal groups of two or more of the n_routed_experts (${n_routed_experts})`, where);
  }
  if (topk_group > n_group) throw badField("topk_group", topk_group, `at most n_group (${n_group})`, where);
  const eligible = topk_group * (n_routed_experts / n_group);
  if (num_experts_per_tok > eligible) {
    throw badField(
      "num_experts_per_tok",
      num_experts_per_tok,
      `at most the ${eligible} experts of topk_group groups`,
      where,
    );
  }
}

const mostExpertsInAll = 2 ** 18;

function checkExperts(field: string, experts: number, config: ModelConfig, where: string): void {
  if (experts * config.num_hidden_layers > mostExpertsInAll) {
    throw badField(field, experts, `at most ${mostExpertsInAll} experts in all layers together`, where);
  }
}

const architectures: Readonly<Record<ModelType, string>> = {
  llama: "LlamaForCausalLM",
  qwen2: "Qwen2ForCausalLM",
  qwen3: "Qwen3ForCausalLM",
  qwen3_moe: "Qwen3MoeForCausalLM",
  deepseek_v3: "DeepseekV3ForCausalLM",
};

/**
 * The config.json of a checkpoint, which transformers loads before and from version 5, and `parseConfig` reads back as the
 * same config. Write it with `configToText`.
 */
export function configToJson(config: ModelConfig, dtype: WeightDtype): Record<string, unknown> {
  const { rope, eos_token_id, ...fields } = config;
  const [first = null, ...others] = eos_token_id;
  return {
    architectures: [architectures[config.model_type]],
    ...fields,
    eos_token_id: others.length === 0 ? first : eos_token_id,
    hidden_act: "silu",
    ...(config.model_type === "deepseek_v3" ? { scoring_func: "sigmoid", topk_method: "noaux_tc" } : {}),
    ...ropeToJson(rope),
    torch_dtype: dtype,
    dtype,
    use_cache: true,
  };
}

/** transformers 5 refuses an integer where it declares a float, and JavaScript writes 1.0 as 1. */
const wholeFloat =
  /^(\s*"(?:rms_norm_eps|initializer_range|routed_scaling_factor|router_aux_loss_coef|rope_theta|\w*factor)": \d+)(,?)$/gm;

/** The text of config.json. */
export function configToText(config: ModelConfig, dtype: WeightDtype, more: Readonly<Record<string, unknown>> = {}): string {
  return `${JSON.stringify({ ...configToJson(config, dtype), ...more }, null, 2)}\n`.replace(wholeFloat, "$1.0$2");
}

import { LongjingError } from "../errors/index.ts";
import { parseConfig } from "../model/config.ts";
import type { ModelConfig } from "../model/config.ts";
import { ropeFromFactors } from "../model/rope-factors.ts";
import { isSampling, parseGenerationConfig } from "./generation-config.ts";
import type { GenerationConfig } from "./generation-config.ts";
import { endsByName } from "./gguf-ends.ts";
import type { Gguf, GgufValue } from "./gguf.ts";
import { PackedTexts } from "./packed-texts.ts";

/** Fields of a config.json, not checked yet. */
type Fields = Readonly<Record<string, unknown>>;

/**
 * The configuration of the model in a GGUF file, by way of the config.json that it was made from.
 * @param ropeFactors the tensor rope_freqs.weight, if there is one
 * @throws LongjingError "bad_config" for a key that is missing or malformed; "unsupported" for another architecture
 */
export function configFromGguf({ metadata, tensors, label }: Gguf, ropeFactors: Float32Array | null): ModelConfig {
  const architecture = String(metadata.get("general.architecture") ?? "none");
  const family = Object.hasOwn(families, architecture) ? families[architecture] : undefined;
  if (family === undefined) {
    throw new LongjingError("unsupported", "Unknown architecture", { got: architecture, expected: Object.keys(families).join(" | "), where: `${label}: general.architecture` });
  }
  const optional = (name: string): unknown => plain(metadata.get(`${architecture}.${name}`));
  const keys: Keys = {
    label,
    optional,
    required: (name) => {
      const value = optional(name);
      if (value !== undefined) return value;
      throw new LongjingError("bad_config", "A key of the metadata is missing", { expected: `${architecture}.${name}`, where: label });
    },
    has: (tensor) => [...tensors.keys()].some((name) => (typeof tensor === "string" ? name === tensor : tensor.test(name))),
  };
  refuseOtherAttention(keys);
  const embedding = tensors.get("token_embd.weight");
  if (embedding === undefined) throw new LongjingError("bad_file", "The model has no token embeddings", { expected: "token_embd.weight", where: label });
  const fields = { ...commonFields(keys), ...tokenIds(metadata, embedding.shape[0]), ...family(keys), vocab_size: embedding.shape[0] };
  const config = parseConfig({ ...fields, ...ropeFields(keys, ropeFactors) }, label);
  const { rope_type, attention_factor = 1 } = config.rope;
  // llama.cpp squares both into the softmax of latent attention.
  if (config.model_type !== "deepseek_v3" || (rope_type !== "linear" && attention_factor === 1)) return config;
  throw new LongjingError("unsupported", "Latent attention with this rotation is computed in another way", { got: { rope_type, attention_factor }, expected: "no scaling, or YaRN without a factor of its own", where: `${label}: rope.scaling` });
}

/**
 * How the model's makers sample from it: `general.sampling.*`, and every token that ends a turn. A value that is none, which some
 * files hold for what is not set, is taken as absent.
 */
export function generationConfigFromGguf({ metadata, label }: Gguf, { bos_token_id, eos_token_id, pad_token_id }: ModelConfig): GenerationConfig {
  const sampling = (name: string): unknown => plain(metadata.get(`general.sampling.${name}`));
  const fields = {
    temperature: sampling("temp"),
    top_k: sampling("top_k"),
    top_p: sampling("top_p"),
    min_p: sampling("min_p"),
    repetition_penalty: sampling("penalty_repeat"),
  };
  const said = Object.fromEntries(Object.entries(fields).filter(([name, value]) => isSampling(name, value)));
  return parseGenerationConfig({ bos_token_id, eos_token_id, pad_token_id, do_sample: Number(said["temperature"] ?? 0) > 0, ...said }, label);
}

interface Keys {
  /** Names the file in messages. */
  readonly label: string;
  /** A key below the architecture's name. */
  readonly optional: (name: string) => unknown;
  readonly required: (name: string) => unknown;
  /** Whether there is such a tensor, or one with such a name. */
  readonly has: (tensor: string | RegExp) => boolean;
}

/** A list with one value for all layers is that value; a float32 is the shortest decimal that rounds to it: 1e-5 again. */
function plain(value: GgufValue | undefined): unknown {
  if (value instanceof PackedTexts || ArrayBuffer.isView(value)) return value;
  if (typeof value === "object") return value.length > 0 && value.every((item) => item === value[0]) ? plain(value[0]) : value;
  if (typeof value !== "number" || Number.isInteger(value) || Math.fround(value) !== value) return value;
  for (let digits = 1; digits < 9; digits++) {
    const shortest = Number(value.toPrecision(digits));
    if (Math.fround(shortest) === value) return shortest;
  }
  return value;
}

/** An id that the vocabulary does not have, such as 2^32 - 1, is how some files say that there is no such token. */
function tokenIds(metadata: Gguf["metadata"], rows = 0): Fields {
  const id = (name: string): number | null => {
    const value = metadata.get(`tokenizer.ggml.${name}_token_id`);
    return typeof value === "number" && value >= 0 && value < rows ? value : null;
  };
  const named = endsByName(metadata.get("tokenizer.ggml.tokens"), metadata.get("tokenizer.ggml.token_type"));
  const ends = [id("eos"), id("eot"), id("eom"), ...named].filter((end) => end !== null && end < rows);
  return { bos_token_id: id("bos"), eos_token_id: [...new Set(ends)], pad_token_id: id("padding") };
}

function commonFields({ required, optional, has }: Keys): Fields {
  return {
    hidden_size: required("embedding_length"),
    intermediate_size: required("feed_forward_length"),
    // The modules that guess further tokens are counted as blocks, and lie behind the others.
    num_hidden_layers: Number(required("block_count")) - Number(optional("nextn_predict_layers") ?? 0),
    num_attention_heads: required("attention.head_count"),
    num_key_value_heads: optional("attention.head_count_kv") ?? null,
    max_position_embeddings: required("context_length"),
    rms_norm_eps: required("attention.layer_norm_rms_epsilon"),
    tie_word_embeddings: !has("output.weight"),
    rope_theta: optional("rope.freq_base"),
  };
}

/** The size of a head, all of which must rotate. */
function headFields({ optional, required }: Keys): Fields {
  const head_dim = optional("attention.key_length") ?? Number(required("embedding_length")) / Number(required("attention.head_count"));
  const rotated = optional("rope.dimension_count") ?? head_dim;
  const value = optional("attention.value_length") ?? head_dim;
  if (value !== head_dim) {
    throw new LongjingError("unsupported", "Values are as long as keys", { got: value, expected: head_dim, where: "attention.value_length" });
  }
  return { head_dim, partial_rotary_factor: Number(rotated) / Number(head_dim) };
}

/** Keys by which llama.cpp computes attention in a way that we do not, with the value that changes nothing. */
const plainAttention: readonly (readonly [key: string, value: unknown])[] = [["attention.causal", true], ["attention.temperature_scale", 0]];

function refuseOtherAttention({ optional, label }: Keys): void {
  for (const [key, value] of plainAttention) {
    const got = optional(key) ?? value;
    if (got !== value) throw new LongjingError("unsupported", "Attention is computed in another way", { got, expected: value, where: `${label}: ${key}` });
  }
}

/** Biases that any layer may have, and that are zeros in the others. */
const biases = { attention: /^blk\.\d+\.attn_(?:q|k|v|output)\.bias$/, mlp: /^blk\.\d+\.ffn_(?:gate|up|down)\.bias$/, latent: /^blk\.\d+\.attn_(?:q_a|kv_a_mqa|output)\.bias$/ };

const experts = ({ required }: Keys): Fields => ({
  num_experts_per_tok: required("expert_used_count"),
  moe_intermediate_size: required("expert_feed_forward_length"),
});

/** The config.json of each architecture, where it says more than the common fields. */
const families: Readonly<Record<string, (keys: Keys) => Fields>> = {
  llama: (keys) => ({
    // An expert count means Mixtral, which config.json calls by its own name.
    model_type: keys.optional("expert_count") ? "mixtral" : "llama",
    ...headFields(keys),
    attention_bias: keys.has(biases.attention),
    mlp_bias: keys.has(biases.mlp),
  }),
  qwen2: (keys) => ({ model_type: "qwen2", ...headFields(keys) }),
  qwen3: (keys) => ({ model_type: "qwen3", ...headFields(keys), attention_bias: keys.has(biases.attention) }),
  qwen3moe: (keys) => ({
    model_type: "qwen3_moe",
    ...headFields(keys),
    attention_bias: keys.has(biases.attention),
    num_experts: keys.required("expert_count"),
    ...experts(keys),
    // llama.cpp knows no other way for this architecture.
    norm_topk_prob: true,
  }),
  deepseek2: deepseekFields,
};

/** Values of `expert_gating_func`. */
const gatingFunctions: Readonly<Record<number, string>> = { 1: "softmax", 2: "sigmoid" };

function deepseekFields(keys: Keys): Fields {
  const { optional, required } = keys;
  // The first of each pair is there when attention is stored absorbed: one shared key of the latent's size.
  const key = optional("attention.key_length_mla") ?? required("attention.key_length");
  const rotated = required("rope.dimension_count");
  return {
    model_type: "deepseek_v3",
    num_key_value_heads: required("attention.head_count"),
    // 0 where queries have no low rank, since llama.cpp wants the key.
    q_lora_rank: optional("attention.q_lora_rank") || null,
    kv_lora_rank: required("attention.kv_lora_rank"),
    qk_nope_head_dim: Number(key) - Number(rotated),
    qk_rope_head_dim: rotated,
    v_head_dim: optional("attention.value_length_mla") ?? required("attention.value_length"),
    n_routed_experts: required("expert_count"),
    n_shared_experts: required("expert_shared_count"),
    ...experts(keys),
    // A file without the next key is older than the sigmoid's support.
    scoring_func: gatingFunctions[Number(optional("expert_gating_func") ?? 1)] ?? optional("expert_gating_func"),
    n_group: optional("expert_group_count") || 1,
    topk_group: optional("expert_group_used_count") || 1,
    norm_topk_prob: optional("expert_weights_norm") ?? false,
    routed_scaling_factor: optional("expert_weights_scale") || 1,
    first_k_dense_replace: optional("leading_dense_block_count") ?? 0,
    attention_bias: keys.has(biases.latent),
  };
}

/**
 * What llama.cpp rotates by: a file that names no type is interpolated linearly, on top of the factors of each pair.
 * @param factors the tensor rope_freqs.weight, if there is one
 */
function ropeFields(keys: Keys, factors: Float32Array | null): Fields {
  const { optional, label } = keys;
  const refused = (message: string, key: string, got: unknown, expected: string): LongjingError => new LongjingError("unsupported", message, { got, expected, where: `${label}: ${key}` });
  const rope_type = optional("rope.scaling.type") ?? "linear";
  const factor = rope_type === "none" ? 1 : Number((optional("rope.scaling.factor") ?? optional("rope.scale_linear")) || 1);
  const attn = optional("rope.scaling.attn_factor") ?? 1;
  if (rope_type !== "yarn" && attn !== 1) throw refused("Only YaRN's rotation has a factor on cos and sin", "rope.scaling.attn_factor", attn, "1");
  if (rope_type !== "linear" && rope_type !== "none") {
    if (factors !== null) throw refused("The rotation is scaled in two ways", "rope.scaling.type", rope_type, "none | linear, beside rope_freqs.weight");
    return rope_type === "yarn" ? yarnFields(keys, factor) : { rope_scaling: { rope_type, factor } };
  }
  if (factors === null) return factor === 1 ? {} : { rope_scaling: { rope_type: "linear", factor } };
  const rope = ropeFromFactors(Number(optional("rope.freq_base") ?? 10_000), factors.map((each) => each * factor));
  if (rope === null) throw refused("The rotation is scaled in a way that is not Llama 3's", "rope_freqs.weight", `factors from ${factors[0]! * factor} to ${factors.at(-1)! * factor}`, "Llama 3's");
  return { rope_parameters: { ...rope } };
}

function yarnFields({ optional }: Keys, factor: number): Fields {
  // The key holds 0.1 times mscale_all_dim; with an equal mscale nothing is left of the two on cos and sin.
  const mscale = optional("rope.scaling.yarn_log_multiplier") ? Number((Number(optional("rope.scaling.yarn_log_multiplier")) * 10).toPrecision(7)) : null;
  // llama.cpp multiplies what YaRN says for the factor alone.
  const attn = optional("rope.scaling.attn_factor");
  const own = mscale === null ? 1 + 0.1 * Math.log(factor) : 1;
  return {
    rope_scaling: {
      rope_type: "yarn",
      factor,
      attention_factor: attn === undefined ? null : Number((Number(attn) * own).toPrecision(7)),
      original_max_position_embeddings: optional("rope.scaling.original_context_length"),
      beta_fast: optional("rope.scaling.yarn_beta_fast") ?? null,
      beta_slow: optional("rope.scaling.yarn_beta_slow") ?? null,
      mscale,
      mscale_all_dim: mscale,
    },
  };
}

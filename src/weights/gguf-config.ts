import { LongjingError } from "../errors/index.ts";
import { parseConfig } from "../model/config.ts";
import type { ModelConfig } from "../model/config.ts";
import { ropeFromFactors } from "../model/rope-factors.ts";
import { parseGenerationConfig } from "./generation-config.ts";
import type { GenerationConfig } from "./generation-config.ts";
import type { Gguf, GgufValue } from "./gguf.ts";

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
    optional,
    required: (name) => {
      const value = optional(name);
      if (value !== undefined) return value;
      throw new LongjingError("bad_config", "A key of the metadata is missing", { expected: `${architecture}.${name}`, where: label });
    },
    has: (tensor) => tensors.has(tensor),
  };
  const embedding = tensors.get("token_embd.weight");
  if (embedding === undefined) throw new LongjingError("bad_file", "The model has no token embeddings", { expected: "token_embd.weight", where: label });
  const fields = { ...commonFields(keys), ...tokenIds(metadata), ...family(keys), vocab_size: embedding.shape[0] };
  return parseConfig({ ...fields, ...(ropeFactors === null ? ropeFields(keys) : scaledRope(keys, ropeFactors, label)) }, label);
}

/** How the model's makers sample from it: `general.sampling.*`, and every token that ends a turn. */
export function generationConfigFromGguf({ metadata, label }: Gguf): GenerationConfig {
  const sampling = (name: string): unknown => plain(metadata.get(`general.sampling.${name}`));
  const fields = {
    ...tokenIds(metadata),
    do_sample: sampling("temp") !== undefined && sampling("temp") !== 0,
    temperature: sampling("temp"),
    // -1 and 0 both mean every token.
    top_k: sampling("top_k") === -1 ? 0 : sampling("top_k"),
    top_p: sampling("top_p"),
    min_p: sampling("min_p"),
    repetition_penalty: sampling("penalty_repeat"),
  };
  return parseGenerationConfig(Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)), label);
}

interface Keys {
  /** A key below the architecture's name. */
  readonly optional: (name: string) => unknown;
  readonly required: (name: string) => unknown;
  /** Whether there is such a tensor. */
  readonly has: (tensor: string) => boolean;
}

/** A list with one value for all layers is that value; a float32 is the shortest decimal that rounds to it: 1e-5 again. */
function plain(value: GgufValue | undefined): unknown {
  if (typeof value === "object") return value.length > 0 && value.every((item) => item === value[0]) ? plain(value[0]) : value;
  if (typeof value !== "number" || Number.isInteger(value) || Math.fround(value) !== value) return value;
  for (let digits = 1; digits < 9; digits++) {
    const shortest = Number(value.toPrecision(digits));
    if (Math.fround(shortest) === value) return shortest;
  }
  return value;
}

function tokenIds(metadata: Gguf["metadata"]): Fields {
  const id = (name: string): unknown => metadata.get(`tokenizer.ggml.${name}_token_id`) ?? null;
  const ends = [id("eos"), id("eot"), id("eom")].filter((end) => end !== null);
  return { bos_token_id: id("bos"), eos_token_id: [...new Set(ends)], pad_token_id: id("padding") };
}

function commonFields({ required, optional, has }: Keys): Fields {
  return {
    hidden_size: required("embedding_length"),
    intermediate_size: required("feed_forward_length"),
    num_hidden_layers: required("block_count"),
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
    attention_bias: keys.has("blk.0.attn_q.bias"),
    mlp_bias: keys.has("blk.0.ffn_gate.bias"),
  }),
  qwen2: (keys) => ({ model_type: "qwen2", ...headFields(keys) }),
  qwen3: (keys) => ({ model_type: "qwen3", ...headFields(keys), attention_bias: keys.has("blk.0.attn_q.bias") }),
  qwen3moe: (keys) => ({
    model_type: "qwen3_moe",
    ...headFields(keys),
    attention_bias: keys.has("blk.0.attn_q.bias"),
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
    attention_bias: keys.has("blk.0.attn_kv_a_mqa.bias"),
  };
}

function ropeFields({ optional }: Keys): Fields {
  const rope_type = optional("rope.scaling.type") ?? "none";
  if (rope_type === "none") return {};
  const factor = optional("rope.scaling.factor");
  if (rope_type !== "yarn") return { rope_scaling: { rope_type, factor } };
  // The key holds 0.1 times mscale_all_dim; with an equal mscale nothing is left of the two on cos and sin.
  const mscale = optional("rope.scaling.yarn_log_multiplier") ? Number((Number(optional("rope.scaling.yarn_log_multiplier")) * 10).toPrecision(7)) : null;
  // llama.cpp multiplies what YaRN says for the factor alone.
  const attn = optional("rope.scaling.attn_factor");
  const own = mscale === null ? 1 + 0.1 * Math.log(Number(factor)) : 1;
  return {
    rope_scaling: {
      rope_type,
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

function scaledRope({ optional }: Keys, factors: Float32Array, label: string): Fields {
  const rope = ropeFromFactors(Number(optional("rope.freq_base") ?? 10_000), factors);
  if (rope === null) throw new LongjingError("unsupported", "The rotation is scaled in a way that is not Llama 3's", { where: `${label}: rope_freqs.weight` });
  return { rope_parameters: { ...rope } };
}

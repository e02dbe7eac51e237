import { z } from "zod";

// Bounds lie far above any released model: no product of two sizes of a hostile file leaves the exact integers, and no list
// by layer fills the memory.
const width = z
  .int()
  .min(1)
  .max(2 ** 20);
const count = z
  .int()
  .min(1)
  .max(2 ** 12);
const layer = z
  .int()
  .min(0)
  .max(2 ** 10);
const flag = (fallback: boolean) => z.boolean().default(fallback);
const idOrNone = z
  .int()
  .min(-1)
  .max(2 ** 24);
/** A token's id; -1 says "none", as null does. */
export const tokenId = idOrNone.nullable().transform((id) => (id === -1 ? null : id));
/** One id or several, as a list. */
export const tokenIds = z
  .union([idOrNone, z.array(idOrNone).max(1024)])
  .nullable()
  .transform((ids): readonly number[] => [ids ?? []].flat().filter((id) => id !== -1));

/** What the model types disagree on. */
interface Defaults {
  readonly vocab_size: number;
  readonly hidden_size: number;
  readonly intermediate_size: number;
  readonly num_hidden_layers: number;
  readonly num_attention_heads: number;
  readonly max_position_embeddings: number;
  readonly bos_token_id: number | null;
  readonly eos_token_id: readonly number[];
}

const base = (defaults: Defaults) => ({
  vocab_size: z
    .int()
    .min(1)
    .max(2 ** 24)
    .default(defaults.vocab_size),
  hidden_size: width.default(defaults.hidden_size),
  intermediate_size: width.default(defaults.intermediate_size),
  num_hidden_layers: layer.min(1).default(defaults.num_hidden_layers),
  num_attention_heads: count.default(defaults.num_attention_heads),
  max_position_embeddings: z
    .int()
    .min(1)
    .max(2 ** 24)
    .default(defaults.max_position_embeddings),
  rms_norm_eps: z.number().gt(0).max(1).default(1e-6),
  tie_word_embeddings: flag(false),
  initializer_range: z.number().min(0).max(1).default(0.02),
  bos_token_id: tokenId.default(defaults.bos_token_id),
  eos_token_id: tokenIds.default([...defaults.eos_token_id]),
  pad_token_id: tokenId.default(null),
});

const qwen = {
  vocab_size: 151_936,
  hidden_size: 4096,
  intermediate_size: 22_016,
  num_hidden_layers: 32,
  num_attention_heads: 32,
  max_position_embeddings: 32_768,
  bos_token_id: null,
  eos_token_id: [],
};

/**
 * The fields of each model type, apart from the rotation. Defaults are those of transformers 5 (`configuration_*.py`);
 * a `head_dim` or `num_key_value_heads` without one follows from other fields.
 */
export const families = {
  llama: z.object({
    ...base({
      vocab_size: 32_000,
      hidden_size: 4096,
      intermediate_size: 11_008,
      num_hidden_layers: 32,
      num_attention_heads: 32,
      max_position_embeddings: 2048,
      bos_token_id: 1,
      eos_token_id: [2],
    }),
    num_key_value_heads: count.nullish(),
    head_dim: count.optional(),
    attention_bias: flag(false),
    mlp_bias: flag(false),
  }),
  qwen2: z.object({ ...base(qwen), num_key_value_heads: count.nullable().default(32), head_dim: count.optional() }),
  qwen3: z.object({
    ...base(qwen),
    num_key_value_heads: count.nullable().default(32),
    head_dim: count.default(128),
    attention_bias: flag(false),
  }),
  qwen3_moe: z.object({
    ...base({ ...qwen, hidden_size: 2048, intermediate_size: 6144, num_hidden_layers: 24 }),
    num_key_value_heads: count.default(4),
    head_dim: count.optional(),
    attention_bias: flag(false),
    num_experts: count.default(128),
    num_experts_per_tok: count.default(8),
    moe_intermediate_size: width.default(768),
    norm_topk_prob: flag(false),
    decoder_sparse_step: layer.min(1).default(1),
    mlp_only_layers: z
      .array(layer)
      .max(2 ** 10)
      .default([]),
    router_aux_loss_coef: z.number().min(0).max(1e6).default(0.001),
  }),
  deepseek_v3: z.object({
    ...base({
      vocab_size: 129_280,
      hidden_size: 7168,
      intermediate_size: 18_432,
      num_hidden_layers: 61,
      num_attention_heads: 128,
      max_position_embeddings: 4096,
      bos_token_id: 0,
      eos_token_id: [1],
    }),
    num_key_value_heads: count.nullish(),
    head_dim: count.optional(),
    attention_bias: flag(false),
    // DeepSeek's own configurations write 0 for "no low rank", the hub null.
    q_lora_rank: width
      .or(z.literal(0))
      .nullable()
      .default(1536)
      .transform((rank) => (rank === 0 ? null : rank)),
    kv_lora_rank: width.default(512),
    qk_nope_head_dim: count.default(128),
    qk_rope_head_dim: count.default(64),
    v_head_dim: count.default(128),
    n_routed_experts: count.default(256),
    n_shared_experts: count.default(1),
    num_experts_per_tok: count.default(8),
    n_group: count.default(8),
    topk_group: count.default(4),
    norm_topk_prob: flag(true),
    routed_scaling_factor: z.number().gt(0).max(1e6).default(2.5),
    first_k_dense_replace: layer.default(3),
    moe_layer_freq: layer.min(1).default(1),
    moe_intermediate_size: width.default(2048),
    rope_interleave: flag(true),
    // transformers says 1 and then loads a file that has none: a file that has one says so.
    num_nextn_predict_layers: z.int().min(0).max(16).default(0),
  }),
};

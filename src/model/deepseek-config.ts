import type { DeepseekV3Config } from "./config.ts";
import type { VocabularyIds } from "./llama-config.ts";

/** What differs between small models of DeepSeek-V3's architecture that are trained from nothing. */
export interface DeepseekShape {
  readonly hidden_size: number;
  /** Of the first layer, which is dense. */
  readonly intermediate_size: number;
  readonly moe_intermediate_size: number;
  readonly num_hidden_layers: number;
  readonly num_attention_heads: number;
  readonly n_routed_experts: number;
  readonly num_experts_per_tok: number;
  /** Default 1. */
  readonly n_shared_experts?: number;
  readonly kv_lora_rank: number;
  /** Elements of a key that carry no position. Default 16. */
  readonly qk_nope_head_dim?: number;
  /** Elements of a key that are rotated. Default 32. */
  readonly qk_rope_head_dim?: number;
  /** Default 32. */
  readonly v_head_dim?: number;
  /** Default 16384. */
  readonly max_position_embeddings?: number;
  /** Default 0.02. */
  readonly initializer_range?: number;
}

/** Latent attention without a low rank for queries, mixtures from the second layer on in one group, one prediction module. */
export function deepseekConfig(shape: DeepseekShape, { vocabSize, bosId, eosId, padId }: VocabularyIds): DeepseekV3Config {
  const rotated = shape.qk_rope_head_dim ?? 32;
  return {
    model_type: "deepseek_v3",
    vocab_size: vocabSize,
    num_key_value_heads: shape.num_attention_heads,
    max_position_embeddings: 16_384,
    n_shared_experts: 1,
    qk_nope_head_dim: 16,
    v_head_dim: 32,
    initializer_range: 0.02,
    ...shape,
    qk_rope_head_dim: rotated,
    head_dim: rotated,
    rms_norm_eps: 1e-6,
    tie_word_embeddings: true,
    rope: { rope_type: "default", rope_theta: 10_000 },
    attention_bias: false,
    q_lora_rank: null,
    n_group: 1,
    topk_group: 1,
    norm_topk_prob: true,
    routed_scaling_factor: 1,
    first_k_dense_replace: 1,
    moe_layer_freq: 1,
    rope_interleave: true,
    num_nextn_predict_layers: 1,
    bos_token_id: bosId,
    eos_token_id: eosId === null ? [] : [eosId],
    pad_token_id: padId,
  };
}

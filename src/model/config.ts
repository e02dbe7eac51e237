/**
 * `config.json` of a Hugging Face checkpoint as a typed value. Field names are the hub's. Sizes are counts of elements,
 * layers, heads or experts; every absent field has taken the default of its `model_type`.
 */
export type ModelConfig = LlamaConfig | Qwen2Config | Qwen3Config | Qwen3MoeConfig | DeepseekV3Config;
export type ModelType = ModelConfig["model_type"];

/** Rotary position embedding. Which optional fields are present follows from `rope_type`. */
export interface RopeConfig {
  readonly rope_type: "default" | "linear" | "llama3" | "yarn";
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
  /** yarn, deepseek_v3. */
  readonly mscale?: number;
  /** yarn, deepseek_v3. */
  readonly mscale_all_dim?: number;
  /** yarn: multiplies cos and sin in place of the formula. */
  readonly attention_factor?: number;
}

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

import type { LlamaConfig } from "./config.ts";

/** What differs between small llamas that are trained from nothing. */
export interface LlamaShape {
  readonly hidden_size: number;
  readonly intermediate_size: number;
  readonly num_hidden_layers: number;
  readonly num_attention_heads: number;
  /** Default: as many as heads. */
  readonly num_key_value_heads?: number;
  /** Default 512. */
  readonly max_position_embeddings?: number;
}

/** The ids that a configuration takes from a tokenizer; a Tokenizer has them. */
export interface VocabularyIds {
  readonly vocabSize: number;
  readonly bosId: number | null;
  readonly eosId: number | null;
  readonly padId: number | null;
}

/** A llama with tied embeddings, plain rotation and no biases, for a tokenizer. */
export function llamaConfig(shape: LlamaShape, { vocabSize, bosId, eosId, padId }: VocabularyIds): LlamaConfig {
  return {
    model_type: "llama",
    vocab_size: vocabSize,
    num_key_value_heads: shape.num_attention_heads,
    max_position_embeddings: 512,
    ...shape,
    head_dim: shape.hidden_size / shape.num_attention_heads,
    rms_norm_eps: 1e-5,
    tie_word_embeddings: true,
    rope: { rope_type: "default", rope_theta: 10_000 },
    initializer_range: 0.02,
    attention_bias: false,
    mlp_bias: false,
    bos_token_id: bosId,
    eos_token_id: eosId === null ? [] : [eosId],
    pad_token_id: padId,
  };
}

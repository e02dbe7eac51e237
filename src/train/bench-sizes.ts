import type { LlamaConfig } from "../model/index.ts";

export interface BenchSize {
  readonly config: LlamaConfig;
  readonly batch: number;
  readonly time: number;
}

function llama(hidden_size: number, num_hidden_layers: number, num_attention_heads: number, intermediate_size: number, vocab_size: number, max_position_embeddings: number): LlamaConfig {
  return {
    model_type: "llama",
    vocab_size,
    hidden_size,
    intermediate_size,
    num_hidden_layers,
    num_attention_heads,
    num_key_value_heads: num_attention_heads,
    head_dim: hidden_size / num_attention_heads,
    max_position_embeddings,
    rms_norm_eps: 1e-5,
    tie_word_embeddings: true,
    rope: { rope_type: "default", rope_theta: 10_000 },
    initializer_range: 0.02,
    attention_bias: false,
    mlp_bias: false,
    bos_token_id: null,
    eos_token_id: [],
    pad_token_id: null,
  };
}

/** The three sizes at which training is timed against PyTorch: Llama-like, tied embeddings, float32. */
export const benchSizes = {
  S: { config: llama(128, 4, 4, 384, 512, 128), batch: 32, time: 128 },
  M: { config: llama(256, 6, 8, 768, 4096, 256), batch: 16, time: 256 },
  L: { config: llama(512, 8, 8, 1536, 8192, 512), batch: 4, time: 512 },
} as const satisfies Record<string, BenchSize>;

export type BenchSizeName = keyof typeof benchSizes;

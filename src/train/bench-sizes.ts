import { llamaConfig, type LlamaConfig } from "../model/index.ts";

export interface BenchSize {
  readonly config: LlamaConfig;
  readonly batch: number;
  readonly time: number;
}

const noTokens = { bosId: null, eosId: null, padId: null };

function llama(hidden_size: number, num_hidden_layers: number, num_attention_heads: number, intermediate_size: number, vocabSize: number, max_position_embeddings: number): LlamaConfig {
  return llamaConfig({ hidden_size, intermediate_size, num_hidden_layers, num_attention_heads, max_position_embeddings }, { vocabSize, ...noTokens });
}

/** The three sizes at which training is timed against PyTorch: Llama-like, tied embeddings, float32. */
export const benchSizes = {
  S: { config: llama(128, 4, 4, 384, 512, 128), batch: 32, time: 128 },
  M: { config: llama(256, 6, 8, 768, 4096, 256), batch: 16, time: 256 },
  L: { config: llama(512, 8, 8, 1536, 8192, 512), batch: 4, time: 512 },
} as const satisfies Record<string, BenchSize>;

export type BenchSizeName = keyof typeof benchSizes;

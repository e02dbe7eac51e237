import { parameterSpecs, type ModelConfig } from "../model/index.ts";
import { blockLength, roundToNearest } from "../quantize/grid.ts";
import type { QuantizedBlocks } from "../weights/index.ts";
import type { ExportedWeights } from "./causal-lm.ts";

/**
 * Weights rounded to nearest in blocks of 32, symmetric: linear layers in `bits`, embeddings and head in 8. Vectors, routers and
 * matrices whose rows are no whole blocks stay float32.
 */
export function inBlocks(config: ModelConfig, weights: Readonly<Record<string, Float32Array>>, bits: 4 | 8): ExportedWeights {
  return Object.fromEntries(
    parameterSpecs(config).map(({ name, shape }) => {
      const whole = shape.length === 2 && shape[1]! % blockLength === 0 && !name.endsWith(".mlp.gate.weight");
      return [name, whole ? rounded(weights[name]!, shape as readonly [number, number], /^(?:lm_head|model\.embed_tokens)\./.test(name) ? 8 : bits) : weights[name]!];
    }),
  );
}

function rounded(weights: Float32Array, shape: readonly [rows: number, columns: number], bits: 4 | 8): QuantizedBlocks {
  const { codes, scales } = roundToNearest(weights, shape, { bits, kind: "symmetric" });
  const blocks = bits === 8 ? codes : Uint8Array.from({ length: codes.length / 2 }, (_, i) => codes[2 * i]! | (codes[2 * i + 1]! << 4));
  return { rows: shape[0], columns: shape[1], bits, block_size: blockLength, blocks, scales, offsets: null };
}

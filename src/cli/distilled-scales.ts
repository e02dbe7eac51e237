import type { ModelConfig, ParameterSpec } from "../model/index.ts";
import type { StoredParameter } from "../quantize/index.ts";
import type { Backend } from "../runtime/index.ts";
import { processMemory } from "./process-memory.ts";

export interface DistilledScalesOptions {
  readonly backend: Backend;
  readonly config: ModelConfig;
  /** What the weights were calibrated on. */
  readonly ids: readonly number[];
  /** A parameter of the original. */
  readonly read: (spec: ParameterSpec) => Promise<Float32Array>;
  /** Tokens that see each other. Default 256. */
  readonly time?: number;
  readonly onProgress: (done: number, total: number) => void;
}

// Both models, what the smaller one is made of and its gradients, in float32.
const bytesPerWeight = 24;

/** Whether a model's scales can be distilled in half of the memory that there is. */
export const hasMemoryFor = (parameters: readonly StoredParameter[]): boolean => bytesPerWeight * parameters.reduce((n, { weights }) => n + weights.length, 0) < processMemory() / 2;

/** The same codes, with the scales and gains that bring the model closest to the original's distribution of tokens. */
export async function distilledScales(parameters: readonly StoredParameter[], { read, ...options }: DistilledScalesOptions): Promise<StoredParameter[]> {
  const { distillScales } = await import("../train/index.ts");
  const { blockLength, dequantize, rescale } = await import("../quantize/index.ts");
  const rounded = parameters.map(({ spec, matrix, weights }) => ({ spec, weights, block: matrix !== null && spec.quantizable ? blockLength : null }));
  const factors = await distillScales(rounded, read, options);
  return parameters.map((stored) => {
    const own = factors.get(stored.spec.name);
    if (own === undefined) return stored;
    if (stored.matrix === null) return { ...stored, weights: stored.weights.map((weight, i) => weight * own[i]!) };
    const matrix = rescale(stored.matrix, own);
    return { ...stored, matrix, weights: dequantize(matrix) };
  });
}

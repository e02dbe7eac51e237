import { packedConfig } from "../model/quantization-config.ts";
import { packedTensors, type TensorToWrite } from "../weights/index.ts";
import { blockLength, type Grid, type QuantizedMatrix } from "./grid.ts";
import { embeddingName, type StoredParameter } from "./quantize-model.ts";

/** A parameter as a Hugging Face folder in compressed-tensors' "pack-quantized" format stores it. */
export function folderTensors({ spec: { name, shape }, matrix, weights, bits }: StoredParameter): TensorToWrite[] {
  if (matrix === null) return [{ name, shape, dtype: bits === 16 ? "F16" : "F32", data: weights }];
  const { codes, scales } = matrix;
  return packedTensors(name, { shape: matrix.shape, bits: matrix.grid.bits, codes, scales, zeros: zerosOf(matrix) });
}

function zerosOf({ grid, scales, mins }: QuantizedMatrix): Uint8Array | null {
  return grid.kind === "symmetric" ? null : Uint8Array.from(mins, (min, i) => (scales[i] === 0 ? 0 : Math.round(-min / scales[i]!)));
}

/** The `quantization_config` of a folder of such tensors. Linear layers that stay floats are named, for whoever takes all others to be packed. */
export function folderQuantization(linear: Grid, parameters: Iterable<StoredParameter>): Record<string, unknown> {
  const all = Array.from(parameters).filter(({ spec }) => spec.shape.length === 2 && spec.name !== embeddingName);
  const kept = all.filter(({ matrix }) => matrix === null).map(({ spec }) => spec.name.replace(/\.weight$/, ""));
  const tied = all.every(({ spec }) => spec.name !== "lm_head.weight");
  return packedConfig({ bits: linear.bits, symmetric: linear.kind === "symmetric", group_size: blockLength }, tied ? [...kept, "lm_head"] : kept);
}

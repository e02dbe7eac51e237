import { add, dequantize, gather, matmul, matmulQuantized, mul, quantizedMatrix, rmsNormalize, type Value } from "../tensor/index.ts";
import { sizeOf } from "../tensor/op.ts";
import { matmulAdd, matmulAddOperands } from "../tensor/ops/matmul.ts";

/** x [rows, in] · weight [out, in]ᵀ (+ bias [out]) → [rows, out]. Weights have the checkpoint's layout. */
export function linear(x: Value, weight: Value, bias?: Value): Value {
  const y = product(x, weight);
  return bias ? add(y, bias) : y;
}

/** Rows of a table [rows, width] at ids [n] → [n, width]. */
export function embedding(table: Value, ids: Value): Value {
  const quantized = quantizedMatrix(table);
  if (!quantized) return gather(table, ids);
  const [blocks, scales] = [gather(quantized.blocks, ids), gather(quantized.scales, ids)];
  return dequantize({ blocks, scales, offsets: quantized.offsets && gather(quantized.offsets, ids) }, sizeOf(table.shape[1], "embedding"));
}

/**
 * weight [out, in] + scale · b [out, r] · a [r, in] (LoRA, arXiv 2106.09685, section 4.1). Linear layers multiply by its parts,
 * so that it is never formed and no gradient of its size is; whatever else reads it gets the sum.
 */
export const lowRankUpdate = (weight: Value, a: Value, b: Value, scale: number): Value => matmulAdd(matmul(b, a, { alpha: scale }), weight);

function product(x: Value, weight: Value): Value {
  const quantized = quantizedMatrix(weight);
  if (quantized) return matmulQuantized(x, quantized);
  const update = matmulAddOperands(weight);
  if (!update) return matmul(x, weight, { transB: true });
  return add(product(x, update.addend), matmul(matmul(x, update.b, { transB: true }), update.a, { transB: true, alpha: update.alpha }));
}

/** What is multiplied by as it is: neither in blocks, nor by its parts. */
const isPlain = (weight: Value): boolean => !quantizedMatrix(weight) && !matmulAddOperands(weight);

/** Applies a weight to a normalised input. */
export type Projection = (weight: Value, bias?: Value) => Value;

/**
 * RMSNorm with its gain [in], ready to be projected. With many rows the gain is folded into each weight, which is smaller than
 * the activations that it would otherwise multiply, forward and backward; with few rows (decoding) it is not, nor into a weight
 * that is no plain matrix.
 */
export function normed(x: Value, gain: Value, epsilon: number, foldGain: boolean): Projection {
  const unit = rmsNormalize(x, epsilon);
  const scaled = mul(unit, gain);
  return (weight, bias) => (foldGain && isPlain(weight) ? linear(unit, mul(weight, gain), bias) : linear(scaled, weight, bias));
}

/** RMSNorm over the last axis. */
export const rmsNorm = (x: Value, gain: Value, epsilon: number): Value => mul(rmsNormalize(x, epsilon), gain);

import { add, gather, gatherQuantized, matmul, matmulQuantized, mul, quantizedMatrix, reshape, rmsNormalize, transpose, type Value } from "../tensor/index.ts";
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
  return quantized ? gatherQuantized(quantized, ids, sizeOf(table.shape[1], "embedding")) : gather(table, ids);
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
  // In `reduced` the factor is not 1, nor here, for the same reason; powers of two take nothing from the digits.
  const first = update.alpha === 0.5 ? 0.25 : 0.5;
  return add(product(x, update.addend), matmul(reduced(x, update.b, first), update.a, { transB: true, alpha: update.alpha / first }));
}

/** Columns of a product that no kernel divides between threads. */
const undivided = 16;

/**
 * alpha · x [rows, in] · bᵀ [in, r] → [rows, r], each row with the same bits alone and among others. Of a matrix that is no constant
 * ONNX Runtime sums a single row in an order of its own where alpha is 1, and where threads share the columns, in one that goes by how
 * they share them. So alpha is never 1, and the ranks are computed a few at a time.
 */
function reduced(x: Value, b: Value, alpha: number): Value {
  const [rank, inside] = b.shape.map((size) => sizeOf(size, "reduced")) as [number, number];
  let width = Math.min(rank, undivided);
  while (rank % width !== 0) width--;
  if (width === rank) return matmul(x, b, { transB: true, alpha });
  const parts = matmul(x, reshape(b, [rank / width, width, inside]), { transB: true, alpha });
  return reshape(transpose(parts, [1, 0, 2]), [x.shape[0]!, rank]);
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

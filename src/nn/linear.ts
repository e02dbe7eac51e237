import { add, matmul, mul, rmsNormalize, type Value } from "../tensor/index.ts";

/** x [rows, in] · weight [out, in]ᵀ (+ bias [out]) → [rows, out]. Weights have the checkpoint's layout. */
export function linear(x: Value, weight: Value, bias?: Value): Value {
  const y = matmul(x, weight, { transB: true });
  return bias ? add(y, bias) : y;
}

/** Applies a weight to a normalised input. */
export type Projection = (weight: Value, bias?: Value) => Value;

/**
 * RMSNorm with its gain [in], ready to be projected. With many rows the gain is folded into each weight, which is smaller than
 * the activations that it would otherwise multiply, forward and backward; with few rows (decoding) it is not.
 */
export function normed(x: Value, gain: Value, epsilon: number, foldGain: boolean): Projection {
  const unit = rmsNormalize(x, epsilon);
  if (foldGain) return (weight, bias) => linear(unit, mul(weight, gain), bias);
  const scaled = mul(unit, gain);
  return (weight, bias) => linear(scaled, weight, bias);
}

/** RMSNorm over the last axis. */
export const rmsNorm = (x: Value, gain: Value, epsilon: number): Value => mul(rmsNormalize(x, epsilon), gain);

import { applyAll, emit, mostDimensions, noAttributes, ownDomain, requireShape, sameShape, type NoAttributes, type Op } from "../op.ts";
import type { Value } from "../value.ts";

/** silu(gate) · up, and what lies between: all of one shape. */
export interface SwiGLU {
  readonly gate: Value;
  readonly up: Value;
  /** sigmoid(gate) */
  readonly sigma: Value;
  /** gate · sigma */
  readonly activated: Value;
  /** activated · up */
  readonly y: Value;
}

/**
 * Gradients of gate and up from that of silu(gate) · up: d gate = ct (σ (up − y) + y), d up = ct · gate σ. Our kernel computes σ
 * once more, in one pass over gate, up and ct, so that nothing else need be kept; without it there are five.
 */
export const swigluGradientOp: Op<NoAttributes> = {
  name: "swigluGradient",
  infer: (inputs) => {
    const [gate] = inputs;
    requireShape(inputs.length === 6 && inputs.every((x) => sameShape(x.shape, gate!.shape)), "swigluGradient", inputs.map((x) => x.shape), "six of one shape");
    return [gate!, gate!];
  },
  vjp: "none",
  lower: (c) => {
    const [gate, up, sigma, activated, y, ct] = c.inputs as [string, string, string, string, string, string];
    const [dGate, dUp] = c.outputs as [string, string];
    if (c.ownKernels && c.inputTypes[0]!.shape.length <= mostDimensions) return c.node("SwiGLUGradient", [gate, up, ct], c.outputs, {}, ownDomain);
    const weighed = emit(c, "Mul", [sigma, emit(c, "Sub", [up, y])]);
    c.node("Mul", [ct, emit(c, "Add", [weighed, y])], [dGate]);
    c.node("Mul", [ct, activated], [dUp]);
  },
  reference: (inputs) => {
    const [gate, up, sigma, activated, y, ct] = inputs.map((x) => x.data) as [Float64Array, Float64Array, Float64Array, Float64Array, Float64Array, Float64Array];
    const like = inputs[0]!;
    return [{ ...like, data: gate.map((_, i) => ct[i]! * (sigma[i]! * (up[i]! - y[i]!) + y[i]!)) }, { ...like, data: ct.map((d, i) => d * activated[i]!) }];
  },
};

export const swigluGradient = ({ gate, up, sigma, activated, y }: SwiGLU, ct: Value): readonly [gate: Value, up: Value] => applyAll(swigluGradientOp, [gate, up, sigma, activated, y, ct], noAttributes) as [Value, Value];

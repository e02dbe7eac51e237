import { applyAll, emit, mostDimensions, noAttributes, ownDomain, requireShape, sameShape, type LowerContext, type NoAttributes, type Op } from "../op.ts";
import type { NdArray } from "../nd-array.ts";
import type { Value } from "../value.ts";
import { siluOp } from "./elementwise.ts";

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

const ours = (c: LowerContext<NoAttributes>): boolean => c.ownKernels && c.inputTypes[0]!.shape.length <= mostDimensions;

/** silu(gate) · up. */
export const swigluOp: Op<NoAttributes> = {
  name: "swiglu",
  infer: ([gate, up]) => {
    requireShape(sameShape(gate!.shape, up!.shape), "swiglu", [gate!.shape, up!.shape], "one shape");
    return [gate!];
  },
  vjp: "none",
  lower: (c) => {
    const [gate, up] = c.inputs as [string, string];
    if (ours(c)) return c.node("SwiGLU", [gate, up], c.outputs, {}, ownDomain);
    const activated = c.fresh();
    siluOp.lower({ ...c, inputs: [gate], outputs: [activated] });
    c.node("Mul", [activated, up], c.outputs);
  },
  reference: ([gate, up]) => [{ ...gate!, data: gate!.data.map((g, i) => (g / (1 + Math.exp(-g))) * up!.data[i]!) }],
};

/** The same, and after it sigma and activated for `swigluGradient`, which alone may read them: where it is our kernel they are not there. */
export const swigluPartsOp: Op<NoAttributes> = {
  name: "swigluParts",
  infer: (inputs) => {
    const [y] = swigluOp.infer(inputs, noAttributes);
    return [y!, y!, y!];
  },
  vjp: "none",
  lower: (c) => {
    const [gate, up] = c.inputs as [string, string];
    const [y, sigma, activated] = c.outputs as [string, string, string];
    if (ours(c)) return swigluOp.lower({ ...c, outputs: [y] });
    c.node("Sigmoid", [gate], [sigma]);
    c.node("Mul", [gate, sigma], [activated]);
    c.node("Mul", [activated, up], [y]);
  },
  reference: (inputs, attributes, types) => {
    const gate = inputs[0]!;
    const of = (f: (g: number) => number): NdArray => ({ ...gate, data: gate.data.map(f) });
    return [...swigluOp.reference(inputs, attributes, types), of((g) => 1 / (1 + Math.exp(-g))), of((g) => g / (1 + Math.exp(-g)))];
  },
};

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
    if (ours(c)) return c.node("SwiGLUGradient", [gate, up, ct], c.outputs, {}, ownDomain);
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

export function swigluParts(gate: Value, up: Value): SwiGLU {
  const [y, sigma, activated] = applyAll(swigluPartsOp, [gate, up], noAttributes) as [Value, Value, Value];
  return { gate, up, sigma, activated, y };
}
export const swigluGradient = ({ gate, up, sigma, activated, y }: SwiGLU, ct: Value): readonly [gate: Value, up: Value] => applyAll(swigluGradientOp, [gate, up, sigma, activated, y, ct], noAttributes) as [Value, Value];

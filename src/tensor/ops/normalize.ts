import { apply, applyAll, broadcastShapes, constant, noAttributes, requireShape, sizeOf, type NoAttributes, type Op } from "../op.ts";
import type { NdArray } from "../nd-array.ts";
import type { Value } from "../value.ts";
import { exp, mul, sub } from "./elementwise.ts";
import { mean, sum } from "./reduce.ts";

/** Applies `f` to each row along the last axis. */
function byRow(x: NdArray, f: (row: Float64Array) => Float64Array): NdArray {
  const width = x.shape.at(-1)!;
  const data = new Float64Array(x.data.length);
  for (let i = 0; i < data.length; i += width) data.set(f(x.data.subarray(i, i + width)), i);
  return { ...x, data };
}
const logSumExp = (row: Float64Array): number => {
  const top = row.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
  return top + Math.log(row.reduce((s, v) => s + Math.exp(v - top), 0));
};

/** Softmax over the last axis. */
export const softmaxOp: Op<NoAttributes> = {
  name: "softmax",
  infer: ([x]) => [x!],
  vjp: ({ outputs: [y], cotangents: [ct] }) => {
    const t = mul(ct!, y!); // dx = y (ct − Σ ct y)
    return [sub(t, mul(y!, sum(t, [-1])))];
  },
  lower: (c) => c.node("Softmax", c.inputs, c.outputs, { axis: -1 }),
  reference: ([x]) => [byRow(x!, (row) => row.map((v) => Math.exp(v - logSumExp(row))))],
};

export const logSoftmaxOp: Op<NoAttributes> = {
  name: "logSoftmax",
  infer: ([x]) => [x!],
  vjp: ({ outputs: [y], cotangents: [ct] }) => [sub(ct!, mul(exp(y!), sum(ct!, [-1])))],
  lower: (c) => {
    if (c.target === "cpu") return c.node("LogSoftmax", c.inputs, c.outputs, { axis: -1 });
    const [top, shifted, e, total, l] = [c.fresh(), c.fresh(), c.fresh(), c.fresh(), c.fresh()] as const;
    const axes = c.int64([c.inputTypes[0]!.shape.length - 1]);
    c.node("ReduceMax", [c.inputs[0]!, axes], [top], { keepdims: 1 });
    c.node("Sub", [c.inputs[0]!, top], [shifted]);
    c.node("Exp", [shifted], [e]);
    c.node("ReduceSum", [e, axes], [total], { keepdims: 1 });
    c.node("Log", [total], [l]);
    c.node("Sub", [shifted, l], c.outputs);
  },
  reference: ([x]) => [byRow(x!, (row) => row.map((v) => v - logSumExp(row)))],
};

/**
 * x · r with r = 1/√(mean(x²) + epsilon) over the last axis, and r itself with that axis as 1. Zhang and Sennrich, "Root Mean
 * Square Layer Normalization", without the gain: the gain is folded into the weights that follow (nn/linear.ts).
 */
export const rmsNormalizeOp: Op<{ readonly epsilon: number }> = {
  name: "rmsNormalize",
  infer: ([x]) => [x!, { shape: x!.shape.with(-1, 1), dtype: x!.dtype }],
  vjp: ({ outputs: [y, r], cotangents: [ct, ctScale] }) => {
    requireShape(ctScale === null, "rmsNormalize", "a gradient into 1/rms", "none: it is there for the backward pass");
    return [mul(sub(ct!, mul(y!, mean(mul(ct!, y!), [-1]))), r!)];
  },
  lower: (c) => {
    const width = sizeOf(c.inputTypes[0]!.shape.at(-1), "rmsNormalize");
    const attributes = { axis: -1, epsilon: { float: c.attributes.epsilon }, stash_type: 1 };
    const ones = c.ones(width);
    if (c.target === "cpu") return c.node("SimplifiedLayerNormalization", [c.inputs[0]!, ones], c.outputs, attributes);
    // The WebGPU kernel's second output is not 1/rms, so it is computed apart.
    const [square, scaled, shifted, root] = [c.fresh(), c.fresh(), c.fresh(), c.fresh()] as const;
    c.node("ReduceSumSquare", [c.inputs[0]!, c.int64([c.inputTypes[0]!.shape.length - 1])], [square], { keepdims: 1 });
    c.node("Mul", [square, c.float(1 / width)], [scaled]);
    c.node("Add", [scaled, c.float(c.attributes.epsilon)], [shifted]);
    c.node("Sqrt", [shifted], [root]);
    c.node("Reciprocal", [root], [c.outputs[1]!]);
    c.node("Mul", [c.inputs[0]!, c.outputs[1]!], [c.outputs[0]!]);
  },
  reference: ([x], { epsilon }) => {
    const width = x!.shape.at(-1)!;
    const scale = (row: Float64Array): number => 1 / Math.sqrt(row.reduce((s, v) => s + v * v, 0) / width + epsilon);
    const rows = x!.data.length / width;
    const r = Float64Array.from({ length: rows }, (_, i) => scale(x!.data.subarray(i * width, (i + 1) * width)));
    return [byRow(x!, (row) => row.map((v) => v * scale(row))), { shape: x!.shape.with(-1, 1), dtype: x!.dtype, data: r }];
  },
};

/**
 * Rotary position embedding (Su et al.) of x [a, b, heads · dim] at positions [a, b] (int64), from tables cos and sin
 * [positions, rotary / 2]; the whole head is rotated. `interleaved` pairs (2i, 2i+1), else (i, i + dim/2). The kernel takes b for
 * the length of a sequence, which tables must cover whatever the positions are.
 */
export const rotaryOp: Op<{ readonly heads: number; readonly interleaved: boolean }> = {
  name: "rotary",
  infer: ([x, positions, cos, sin], { heads }) => {
    const half = sizeOf(cos!.shape[1], "rotary");
    requireShape(x!.shape.length === 3 && x!.shape[2] === heads * half * 2 && sizeOf(sin!.shape[1], "rotary") === half, "rotary", [x!.shape, cos!.shape], `[a, b, ${heads} · 2 · ${half}]`);
    requireShape(positions!.shape.length === 2, "rotary", positions!.shape, "[a, b]");
    broadcastShapes(positions!.shape, x!.shape.slice(0, 2), "rotary");
    const [length, covered] = [x!.shape[1], cos!.shape[0]];
    requireShape(typeof length !== "number" || typeof covered !== "number" || length <= covered, "rotary", [x!.shape, cos!.shape], "tables of at least b positions");
    return [x!];
  },
  // A rotation's transpose is the rotation the other way.
  vjp: ({ inputs: [, positions, cos, sin], cotangents: [ct], attributes }) => [apply(rotaryOp, [ct!, positions!, cos!, mul(sin!, constant(-1))], attributes), null, null, null],
  lower: (c) => c.node("RotaryEmbedding", c.inputs, c.outputs, { interleaved: Number(c.attributes.interleaved), num_heads: c.attributes.heads }, "com.microsoft"),
  reference: ([x, positions, cos, sin], { heads, interleaved }) => {
    const half = cos!.shape[1]!;
    const dim = half * 2;
    const data = new Float64Array(x!.data.length);
    for (let row = 0; row < x!.data.length / (heads * dim); row++)
      for (let h = 0; h < heads; h++)
        for (let i = 0; i < half; i++) {
          const base = (row * heads + h) * dim;
          const [p, q] = interleaved ? [base + 2 * i, base + 2 * i + 1] : [base + i, base + i + half];
          const at = positions!.data[row]! * half + i;
          data[p] = x!.data[p]! * cos!.data[at]! - x!.data[q]! * sin!.data[at]!;
          data[q] = x!.data[q]! * cos!.data[at]! + x!.data[p]! * sin!.data[at]!;
        }
    return [{ ...x!, data }];
  },
};

export const softmax = (x: Value): Value => apply(softmaxOp, [x], noAttributes);
export const logSoftmax = (x: Value): Value => apply(logSoftmaxOp, [x], noAttributes);
export const rmsNormalize = (x: Value, epsilon: number): Value => applyAll(rmsNormalizeOp, [x], { epsilon })[0]!;
export const rotary = (x: Value, positions: Value, cos: Value, sin: Value, options: { heads: number; interleaved: boolean }): Value => apply(rotaryOp, [x, positions, cos, sin], options);

import { constant, constantInt64, type NdArray, type Value } from "../src/tensor/index.ts";
import { random } from "../src/random/index.ts";
import { apply, applyAll, constantOp, noAttributes } from "../src/tensor/op.ts";
import { elements, ndArray } from "../src/tensor/nd-array.ts";
import * as a from "../src/tensor/ops/adamw.ts";
import * as e from "../src/tensor/ops/elementwise.ts";
import * as f from "../src/tensor/ops/fused.ts";
import * as i from "../src/tensor/ops/index-ops.ts";
import * as m from "../src/tensor/ops/matmul.ts";
import * as n from "../src/tensor/ops/normalize.ts";
import * as r from "../src/tensor/ops/reduce.ts";
import * as q from "../src/tensor/ops/quantized.ts";
import * as s from "../src/tensor/ops/shape.ts";
import * as w from "../src/tensor/ops/swiglu.ts";

/** One use of an op, small enough for finite differences. `inputs` are float32 and differentiable. */
export interface OpSample {
  readonly op: string;
  readonly inputs: readonly NdArray[];
  readonly build: (inputs: readonly Value[]) => readonly Value[];
  /** Floats flow in, but no gradient flows back: what comes out does not vary smoothly, or nothing ever differentiates it. */
  readonly flat?: boolean;
}

const stream = random("op samples");
const real = (...shape: number[]): NdArray => ndArray(shape, () => stream.normal());
const positive = (...shape: number[]): NdArray => ndArray(shape, () => 0.5 + stream.next());
/** Distinct values, far enough apart that a small step changes no order. */
const distinct = (...shape: number[]): NdArray => ndArray(shape, stream.shuffle(Array.from({ length: elements(shape) }, (_, k) => k * 0.37 - 1)));

const sample = (op: string, inputs: readonly NdArray[], build: (...inputs: Value[]) => Value | readonly Value[], flat = false): OpSample => ({
  op,
  inputs,
  build: (values) => {
    const out = build(...values);
    return Array.isArray(out) ? out : [out as Value];
  },
  flat,
});

const bytes = (...shape: number[]): Value => apply(constantOp, [], { data: Uint8Array.from({ length: elements(shape) }, () => stream.below(256)), shape, dtype: "uint8" });
const partsOf = ({ blocks, scales, offsets }: q.QuantizedMatrix): Value[] => [blocks, scales, ...(offsets ? [offsets] : [])];
const quantized = (bits: 4 | 8): q.QuantizedMatrix => ({ blocks: bytes(3, 2, bits * 4), scales: constant(Float32Array.from({ length: 6 }, () => stream.normal()), [3, 2]) });
/** Numbers that survive rounding to 8 bits for each 32, as the kernel does. */
const wholeSteps = (...shape: number[]): NdArray => ndArray(shape, (k) => (k % 32 === 0 ? 127 : stream.below(255) - 127));

const gain = (width: number): Value => constant(Float32Array.from({ length: width }, () => stream.normal()), [width]);

const cosSin = [ndArray([7, 2], (k) => Math.cos(k * 0.3)), ndArray([7, 2], (k) => Math.sin(k * 0.3))] as const;
const rotaryTables = (): [Value, Value] => [constant(Float32Array.from(cosSin[0].data), [7, 2]), constant(Float32Array.from(cosSin[1].data), [7, 2])];
const ids = (values: number[], shape?: number[]): Value => constantInt64(values, shape);

const adamwScalars = { scale: constant(0.5), rate: constant(0.1), epsilon: constant(1e-3), decay: constant(0.9) };

export const opSamples: readonly OpSample[] = [
  sample("add", [real(2, 3), real(3)], e.add),
  sample("sub", [real(2, 1), real(1, 3)], e.sub),
  sample("mul", [real(2, 3), real(2, 1)], e.mul),
  sample("div", [real(2, 3), positive(3)], e.div),
  sample("min", [distinct(2, 3), real(2, 3)], e.minimum),
  sample("max", [distinct(2, 3), real(3)], e.maximum),
  sample("equal", [distinct(4)], (a) => e.cast(e.equal(a, constant(Float32Array.of(9, 9, 9, 9))), "float32"), true),
  sample("less", [distinct(4), distinct(4)], (a, b) => e.cast(e.less(a, b), "float32"), true),
  sample("lessOrEqual", [distinct(4), distinct(4)], (a, b) => e.cast(e.lessOrEqual(a, b), "float32"), true),
  sample("cast", [distinct(4)], (a) => e.cast(e.cast(a, "int64"), "float32"), true),
  sample("where", [distinct(2, 3), real(2, 3), real(3)], (c, a, b) => e.where(e.less(c, constant(0)), a, b)),
  sample("neg", [real(4)], e.neg),
  sample("exp", [real(4)], e.exp),
  sample("log", [positive(4)], e.log),
  sample("sqrt", [positive(4)], e.sqrt),
  sample("reciprocal", [positive(4)], e.reciprocal),
  sample("sigmoid", [real(4)], e.sigmoid),
  sample("silu", [real(4)], e.silu),
  sample("abs", [distinct(4)], e.abs),
  sample("sign", [distinct(4)], (a) => e.abs(a)),
  sample("stopGradient", [real(4)], e.stopGradient, true),
  sample("sum", [real(2, 3, 2)], (x) => r.sum(x, [1])),
  sample("sum", [real(2, 3, 2)], (x) => r.sumAll(x)),
  sample("mean", [real(2, 3)], (x) => r.mean(x, [-1])),
  sample("sumSquare", [real(2, 3)], r.sumSquareAll),
  sample("reduceMax", [distinct(3, 4)], (x) => r.reduceMax(x, [-1])),
  sample("cumsum", [real(2, 4)], r.cumsum),
  sample("argmax", [distinct(3, 4)], (x) => e.cast(r.argmax(x), "float32"), true),
  sample("reshape", [real(2, 6)], (x) => s.reshape(x, [3, 4])),
  sample("transpose", [real(2, 3, 4)], (x) => s.transpose(x, [2, 0, 1])),
  sample("broadcastTo", [real(3, 1)], (x) => s.broadcastTo(x, [2, 3, 4])),
  sample("concat", [real(2, 1), real(2, 3)], (a, b) => s.concat([a, b], 1)),
  sample("split", [real(2, 5)], (x) => s.split(x, [1, 4], 1)),
  sample("slice", [real(5, 2)], (x) => s.slice(x, 0, 1, 3)),
  sample("zeros", [real(2, 3)], (x) => e.add(x, s.zeros([2, 3]))),
  sample("matmul", [real(3, 4), real(4, 2)], (a, b) => m.matmul(a, b)),
  sample("matmul", [real(4, 3), real(2, 4)], (a, b) => m.matmul(a, b, { transA: true, transB: true, alpha: 0.5 })),
  sample("matmul", [real(2, 3, 4), real(4, 2)], (a, b) => m.matmul(a, b)),
  sample("matmul", [real(3, 2, 4), real(5, 2, 4)], (a, b) => m.matmul(a, b, { transBatchA: true, transBatchB: true, transB: true, alpha: 2 })),
  sample("matmul", [real(2, 3, 5), real(5, 2, 4)], (a, b) => m.matmul(a, b, { transBatchB: true })),
  sample("matmul", [real(3, 2, 4), real(2, 3, 5)], (a, b) => m.matmul(a, b, { transBatchA: true, transA: true })),
  sample("matmul", [real(3, 4), real(4, 2), real(3, 2)], (a, b, c) => m.matmulAdd(m.matmul(a, b), c)),
  sample("gather", [real(4, 3)], (x) => i.gather(x, ids([3, 0, 3]))),
  sample("scatterAdd", [real(4, 3), real(3, 3)], (base, rows) => i.scatterAdd(base, ids([1, 3, 1]), rows)),
  sample("takeAlong", [real(3, 4)], (x) => i.takeAlong(x, ids([0, 3, 3, 3, 1, 2], [3, 2]))),
  sample("putAlong", [real(3, 4), real(3, 2)], (like, values) => i.putAlong(like, ids([0, 3, 3, 3, 1, 2], [3, 2]), values)),
  sample("topK", [distinct(3, 4)], (x) => i.topK(x, 2).values),
  sample("topK", [distinct(3, 4)], (x) => e.cast(i.topK(x, 2).indices, "float32"), true),
  sample("dequantize", [real(3, 2)], (scales) => q.dequantize({ blocks: bytes(3, 2, 16), scales }, 32), true),
  sample("dequantize", [real(3, 2), real(3, 2)], (scales, offsets) => q.dequantize({ blocks: bytes(3, 2, 16), scales, offsets }, 64), true),
  sample("gatherQuantized", [], () => q.gatherQuantized(quantized(4), ids([2, 0, 2], [3]), 64), true),
  sample("gatherQuantized", [real(3, 2)], (offsets) => q.gatherQuantized({ ...quantized(8), offsets }, ids([1, 2], [2]), 64), true),
  sample("matmulQuantized", [wholeSteps(2, 64)], (x) => q.matmulQuantized(x, quantized(4))),
  sample("matmulQuantized", [wholeSteps(2, 64)], (x) => q.matmulQuantized(x, { ...quantized(8), offsets: constant(Float32Array.of(1, -2, 0.5, 3, 0, -1), [3, 2]) })),
  sample("gatedMatmulQuantized", [wholeSteps(2, 64)], (x) => apply(q.gatedMatmulQuantizedOp, [x, ...partsOf(quantized(4)), ...partsOf(quantized(8))], { gateParts: 2 }), true),
  sample("gatedMatmulQuantized", [wholeSteps(2, 64)], (x) => apply(q.gatedMatmulQuantizedOp, [x, ...partsOf({ ...quantized(4), offsets: constant(Float32Array.of(1, -2, 0.5, 3, 0, -1), [3, 2]) }), ...partsOf(quantized(4))], { gateParts: 3 }), true),
  sample("softmax", [real(2, 5)], n.softmax),
  sample("logSoftmax", [real(2, 5)], n.logSoftmax),
  sample("rmsNormalize", [real(3, 4)], (x) => n.rmsNormalize(x, 1e-5)),
  sample("rmsNorm", [real(3, 8)], (x) => apply(f.rmsNormOp, [x, gain(8)], { epsilon: 1e-5 }), true),
  sample("addRmsNorm", [real(3, 8), real(3, 8)], (a, b) => applyAll(f.addRmsNormOp, [a, b, gain(8)], { epsilon: 1e-5 }), true),
  sample("rotary", [real(3, 2, 8)], (x) => n.rotary(x, ids([0, 1, 2, 3, 6, 5], [3, 2]), ...rotaryTables(), { heads: 2, interleaved: false })),
  sample("rotary", [real(3, 2, 8)], (x) => n.rotary(x, ids([0, 1, 2, 3, 6, 5], [3, 2]), ...rotaryTables(), { heads: 2, interleaved: true })),
  sample("adamw", [real(3, 7), real(3, 7), real(3, 7), positive(3, 7)], (gradient, parameter, m, v) => Object.values(a.adamw(gradient, { parameter, m, v }, adamwScalars, { beta1: 0.9, beta2: 0.95 })), true),
  sample("adamw", [real(2), real(2), real(2), positive(2)], (gradient, parameter, m, v) => Object.values(a.adamw(gradient, { parameter, m, v }, { ...adamwScalars, decay: undefined }, { beta1: 0.9, beta2: 0.95 })), true),
  sample("swigluGradient", [real(3, 7), real(3, 7), real(3, 7)], (gate, up, ct) => {
    const sigma = e.sigmoid(gate);
    const activated = e.mul(gate, sigma);
    return w.swigluGradient({ gate, up, sigma, activated, y: e.mul(activated, up) }, e.stopGradient(ct)).map(e.stopGradient);
  }, true),
  sample("matmul", [real(3, 4), real(4, 2), real(2)], (a, b, c) => m.matmulAdd(m.matmul(a, b), c)),
  sample("swiglu", [real(3, 7), real(3, 7)], (gate, up) => e.stopGradient(apply(w.swigluOp, [gate, up], noAttributes)), true),
  sample("swigluParts", [real(3, 7), real(3, 7)], (gate, up) => e.stopGradient(w.swigluParts(gate, up).y), true),
];

/** Names of every op that the families define. */
export const opNames: readonly string[] = [e, r, s, m, i, n, q, f, a, w].flatMap((family) =>
  Object.values(family).flatMap((member) => (typeof member === "object" && member !== null && "infer" in member ? [member.name] : [])),
);

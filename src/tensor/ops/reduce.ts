import { apply, noAttributes, sizeOf, type NoAttributes, type Op, type VjpContext } from "../op.ts";
import { aroundAxis, concrete, elements, normalizeAxis, strides, unravel, type NdArray } from "../nd-array.ts";
import type { TensorType, Value } from "../value.ts";
import { add, cast, div, equal, mul, sub } from "./elementwise.ts";
import { broadcastTo, reshape } from "./shape.ts";

type Attributes = { readonly axes: readonly number[]; readonly keepdims: boolean };

function reduceType(x: TensorType, { axes, keepdims }: Attributes): TensorType {
  const shape = keepdims ? x.shape.map((d, i) => (axes.includes(i) ? 1 : d)) : x.shape.filter((_, i) => !axes.includes(i));
  return { shape, dtype: x.dtype };
}

function fold(x: NdArray, { axes }: Attributes, out: TensorType, start: number, f: (acc: number, v: number) => number): NdArray {
  const kept = x.shape.map((d, i) => (axes.includes(i) ? 1 : d));
  const step = strides(kept);
  const data = new Float64Array(elements(kept)).fill(start);
  for (let i = 0; i < x.data.length; i++) {
    const at = unravel(i, x.shape).reduce((sum, c, d) => sum + (axes.includes(d) ? 0 : c * step[d]!), 0);
    data[at] = f(data[at]!, x.data[i]!);
  }
  return { shape: concrete(out.shape, "reduce"), dtype: x.dtype, data };
}

/** The cotangent with the reduced axes back as 1, ready to broadcast over the input. */
function kept({ inputs, cotangents, attributes }: VjpContext<Attributes>): Value {
  return reshape(cotangents[0]!, inputs[0]!.shape.map((d, i) => (attributes.axes.includes(i) ? 1 : d)));
}

function reduction(name: string, onnx: string, reference: (x: NdArray, a: Attributes, out: TensorType) => NdArray, vjp: Op<Attributes>["vjp"]): Op<Attributes> {
  return {
    name,
    infer: ([x], a) => [reduceType(x!, a)],
    vjp,
    lower: (c) => c.node(onnx, [c.inputs[0]!, c.int64(c.attributes.axes)], c.outputs, { keepdims: Number(c.attributes.keepdims) }),
    reference: ([x], a, [out]) => [reference(x!, a, out!)],
  };
}

export const sumOp = reduction("sum", "ReduceSum", (x, a, out) => fold(x, a, out, 0, (s, v) => s + v), (c) => [broadcastTo(kept(c), c.inputs[0]!.shape)]);
export const meanOp = reduction(
  "mean",
  "ReduceMean",
  (x, a, out) => {
    const total = fold(x, a, out, 0, (s, v) => s + v);
    return { ...total, data: total.data.map((v) => v / (x.data.length / total.data.length)) };
  },
  (c) => {
    const count = c.attributes.axes.reduce((n, axis) => n * sizeOf(c.inputs[0]!.shape[axis], "mean"), 1);
    return [broadcastTo(mul(kept(c), 1 / count), c.inputs[0]!.shape)];
  },
);
export const sumSquareOp = reduction("sumSquare", "ReduceSumSquare", (x, a, out) => fold(x, a, out, 0, (s, v) => s + v * v), (c) => [mul(c.inputs[0]!, mul(kept(c), 2))]);
/** Equal maxima share the gradient. */
export const reduceMaxOp = reduction("reduceMax", "ReduceMax", (x, a, out) => fold(x, a, out, Number.NEGATIVE_INFINITY, Math.max), (c) => {
  const [x] = c.inputs;
  const shape = x!.shape.map((d, i) => (c.attributes.axes.includes(i) ? 1 : d));
  const hit = cast(equal(x!, reshape(c.outputs[0]!, shape)), "float32");
  return [mul(hit, div(kept(c), sum(hit, c.attributes.axes)))];
});

type ReduceOptions = { readonly keepdims?: boolean };
const reducer =
  (op: Op<Attributes>, keepByDefault: boolean) =>
  (x: Value, axes: readonly number[] = x.shape.map((_, i) => i), { keepdims = keepByDefault }: ReduceOptions = {}): Value =>
    apply(op, [x], { axes: axes.map((a) => normalizeAxis(a, x.shape.length)).sort((a, b) => a - b), keepdims });

/** Sums over axes, which stay as 1. */
export const sum = reducer(sumOp, true);
/** Mean over axes, which stay as 1. */
export const mean = reducer(meanOp, true);
export const reduceMax = reducer(reduceMaxOp, true);
/** Scalar sum over everything. */
export const sumAll = (x: Value): Value => reducer(sumOp, false)(x);
/** Scalar Σx² over everything: the squared L2 norm. */
export const sumSquareAll = (x: Value): Value => reducer(sumSquareOp, false)(x);

/** Sum of every element along the last axis up to and with each. */
export const cumsumOp: Op<NoAttributes> = {
  name: "cumsum",
  infer: ([x]) => [x!],
  vjp: ({ cotangents: [ct] }) => [add(sub(sum(ct!, [-1]), cumsum(ct!)), ct!)],
  lower: (c) => c.node("CumSum", [c.inputs[0]!, c.int64([-1])], c.outputs),
  reference: ([x]) => {
    const width = x!.shape.at(-1)!;
    const data = x!.data.slice();
    for (let i = 0; i < data.length; i++) if (i % width > 0) data[i]! += data[i - 1]!;
    return [{ ...x!, data }];
  },
};
export const cumsum = (x: Value): Value => apply(cumsumOp, [x], noAttributes);

/** Index of the largest element along the last axis (the first of equals), int64. */
export const argmaxOp: Op<{ readonly axis: number }> = {
  name: "argmax",
  infer: ([x], { axis }) => [{ shape: x!.shape.filter((_, i) => i !== axis), dtype: "int64" }],
  vjp: "none",
  lower: (c) => c.node("ArgMax", c.inputs, c.outputs, { axis: c.attributes.axis, keepdims: 0 }),
  reference: ([x], { axis }, [out]) => {
    const { outer, size, inner } = aroundAxis(x!.shape, axis);
    const data = new Float64Array(outer * inner);
    for (let o = 0; o < outer; o++)
      for (let i = 0; i < inner; i++) {
        let best = 0;
        for (let a = 1; a < size; a++) if (x!.data[(o * size + a) * inner + i]! > x!.data[(o * size + best) * inner + i]!) best = a;
        data[o * inner + i] = best;
      }
    return [{ shape: concrete(out!.shape, "argmax"), dtype: "int64", data }];
  },
};
export const argmax = (x: Value, axis = -1): Value => apply(argmaxOp, [x], { axis: normalizeAxis(axis, x.shape.length) });

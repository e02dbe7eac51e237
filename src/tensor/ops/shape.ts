import { apply, applyAll, broadcastShapes, requireShape, sameShape, sizeOf, type Op } from "../op.ts";
import { aroundAxis, broadcastIndex, concrete, elements, normalizeAxis, strides, unravel, type NdArray } from "../nd-array.ts";
import type { Shape, TensorType, Value } from "../value.ts";

/**
 * Product of the known sizes, and the names among them. Two shapes hold the same number of elements when both agree; where a
 * name is hidden in a product (`batch · time` as one axis), the reshape is taken on trust and the runtime checks it.
 */
function volume(shape: Shape): { known: number; names: string } {
  const names = shape.filter((d): d is string => typeof d === "string").sort();
  return { known: shape.reduce<number>((p, d) => p * (typeof d === "number" ? d : 1), 1), names: names.join(" ") };
}

export const reshapeOp: Op<{ readonly shape: Shape }> = {
  name: "reshape",
  infer: ([x], { shape }) => {
    const from = volume(x!.shape);
    const to = volume(shape);
    const trusted = from.names !== to.names;
    requireShape(trusted || from.known === to.known, "reshape", [x!.shape, shape], "the same number of elements");
    return [{ shape, dtype: x!.dtype }];
  },
  vjp: ({ inputs: [x], cotangents: [ct] }) => [reshape(ct!, x!.shape)],
  lower: (c) => {
    const { shape } = c.attributes;
    const from = c.inputTypes[0]!.shape;
    // ONNX copies the dimension of the same position for 0 and infers one for -1.
    const dims = shape.map((d, i) => (typeof d === "number" ? d : from[i] === d ? 0 : -1));
    const inferred = dims.filter((d) => d === -1).length;
    c.node("Reshape", [c.inputs[0]!, inferred > 1 ? c.shape(shape) : c.int64(dims)], c.outputs);
  },
  reference: ([x], { shape }) => [{ ...x!, shape: concrete(shape, "reshape") }],
};

export const transposeOp: Op<{ readonly permutation: readonly number[] }> = {
  name: "transpose",
  infer: ([x], { permutation }) => [{ shape: permutation.map((p) => x!.shape[p]!), dtype: x!.dtype }],
  vjp: ({ attributes: { permutation }, cotangents: [ct] }) => [transpose(ct!, permutation.map((_, i) => permutation.indexOf(i)))],
  lower: (c) => c.node("Transpose", c.inputs, c.outputs, { perm: c.attributes.permutation }),
  reference: ([x], { permutation }) => {
    const shape = permutation.map((p) => x!.shape[p]!);
    const step = strides(x!.shape);
    const data = Float64Array.from({ length: x!.data.length }, (_, i) => x!.data[unravel(i, shape).reduce((at, c, d) => at + c * step[permutation[d]!]!, 0)]!);
    return [{ shape, dtype: x!.dtype, data }];
  },
};

export const broadcastToOp: Op<{ readonly shape: Shape }> = {
  name: "broadcastTo",
  infer: ([x], { shape }) => {
    requireShape(sameShape(broadcastShapes(x!.shape, shape, "broadcastTo"), shape), "broadcastTo", x!.shape, `something that broadcasts to ${JSON.stringify(shape)}`);
    return [{ shape, dtype: x!.dtype }];
  },
  vjp: ({ cotangents: [ct] }) => [ct!],
  lower: (c) => {
    // ONNX's Expand broadcasts both ways: a 1 leaves a named dimension as it is.
    const dims = c.attributes.shape.map((d) => (typeof d === "number" ? d : 1));
    c.node("Expand", [c.inputs[0]!, c.int64(dims)], c.outputs);
  },
  reference: ([x], { shape }) => {
    const dims = concrete(shape, "broadcastTo");
    return [{ shape: dims, dtype: x!.dtype, data: Float64Array.from({ length: elements(dims) }, (_, i) => x!.data[broadcastIndex(unravel(i, dims), x!.shape)]!) }];
  },
};

export const concatOp: Op<{ readonly axis: number; readonly total: string | undefined }> = {
  name: "concat",
  infer: (xs, { axis, total }) => {
    const [first] = xs as [TensorType];
    for (const x of xs) requireShape(sameShape(x.shape.toSpliced(axis, 1), first.shape.toSpliced(axis, 1)), "concat", xs.map((v) => v.shape), "equal dimensions beside the axis");
    return [{ shape: first.shape.with(axis, total ?? xs.reduce((n, x) => n + sizeOf(x.shape[axis], "concat"), 0)), dtype: first.dtype }];
  },
  vjp: ({ inputs, cotangents: [ct], attributes: { axis } }) => split(ct!, inputs.map((x) => sizeOf(x.shape[axis], "concat")), axis),
  lower: (c) => c.node("Concat", c.inputs, c.outputs, { axis: c.attributes.axis }),
  reference: (xs, { axis }, [out]) => {
    const shape = concrete(out!.shape, "concat");
    const { outer, size, inner } = aroundAxis(shape, axis);
    const data = new Float64Array(elements(shape));
    let start = 0;
    for (const x of xs) {
      const width = x.shape[axis]!;
      for (let o = 0; o < outer; o++) data.set(x.data.subarray(o * width * inner, (o + 1) * width * inner), (o * size + start) * inner);
      start += width;
    }
    return [{ shape, dtype: out!.dtype, data }];
  },
};

function cut(x: NdArray, axis: number, start: number, width: number): NdArray {
  const { outer, size, inner } = aroundAxis(x.shape, axis);
  const data = new Float64Array(outer * width * inner);
  for (let o = 0; o < outer; o++) data.set(x.data.subarray((o * size + start) * inner, (o * size + start + width) * inner), o * width * inner);
  return { shape: x.shape.with(axis, width), dtype: x.dtype, data };
}

export const splitOp: Op<{ readonly axis: number; readonly sizes: readonly number[] }> = {
  name: "split",
  infer: ([x], { axis, sizes }) => {
    requireShape(sizes.reduce((a, b) => a + b, 0) === x!.shape[axis], "split", x!.shape, `axis ${axis} to be the sum of ${JSON.stringify(sizes)}`);
    return sizes.map((size) => ({ shape: x!.shape.with(axis, size), dtype: x!.dtype }));
  },
  vjp: ({ outputs, cotangents, attributes: { axis } }) => [concat(cotangents.map((ct, i) => ct ?? zeros(outputs[i]!.shape)), axis)],
  lower: (c) => c.node("Split", [c.inputs[0]!, c.int64(c.attributes.sizes)], c.outputs, { axis: c.attributes.axis }),
  reference: ([x], { axis, sizes }) => {
    let start = 0;
    return sizes.map((size) => cut(x!, axis, (start += size) - size, size));
  },
};

export const sliceOp: Op<{ readonly axis: number; readonly start: number; readonly size: number }> = {
  name: "slice",
  infer: ([x], { axis, start, size }) => {
    const extent = x!.shape[axis]!;
    requireShape(start >= 0 && size > 0 && (typeof extent === "string" || start + size <= extent), "slice", x!.shape, `axis ${axis} to hold [${start}, ${start + size})`);
    return [{ shape: x!.shape.with(axis, size), dtype: x!.dtype }];
  },
  vjp: ({ inputs: [x], cotangents: [ct], attributes: { axis, start, size } }) => {
    const after = sizeOf(x!.shape[axis], "slice") - start - size;
    const pad = (width: number): Value[] => (width > 0 ? [zeros(x!.shape.with(axis, width))] : []);
    return [concat([...pad(start), ct!, ...pad(after)], axis)];
  },
  lower: (c) => {
    const { axis, start, size } = c.attributes;
    c.node("Slice", [c.inputs[0]!, c.int64([start]), c.int64([start + size]), c.int64([axis])], c.outputs);
  },
  reference: ([x], { axis, start, size }) => [cut(x!, axis, start, size)],
};

/** Zeros that take no space in the model file. */
export const zerosOp: Op<{ readonly shape: Shape }> = {
  name: "zeros",
  infer: (_, { shape }) => [{ shape, dtype: "float32" }],
  vjp: "none",
  lower: (c) => c.node("ConstantOfShape", [c.int64(concrete(c.attributes.shape, "zeros"))], c.outputs),
  reference: (_, { shape }) => {
    const dims = concrete(shape, "zeros");
    return [{ shape: dims, dtype: "float32", data: new Float64Array(elements(dims)) }];
  },
};

export const reshape = (x: Value, shape: Shape): Value => (sameShape(x.shape, shape) ? x : apply(reshapeOp, [x], { shape }));
export const transpose = (x: Value, permutation: readonly number[]): Value => (permutation.every((p, i) => p === i) ? x : apply(transposeOp, [x], { permutation }));
export const broadcastTo = (x: Value, shape: Shape): Value => (sameShape(x.shape, shape) ? x : apply(broadcastToOp, [x], { shape }));
/** @param total names the sum of the sizes along the axis, where these are names themselves */
export const concat = (xs: readonly Value[], axis: number, total?: string): Value => (xs.length === 1 ? xs[0]! : apply(concatOp, xs, { axis: normalizeAxis(axis, xs[0]!.shape.length), total }));
export const split = (x: Value, sizes: readonly number[], axis: number): readonly Value[] => (sizes.length === 1 ? [x] : applyAll(splitOp, [x], { axis: normalizeAxis(axis, x.shape.length), sizes }));
export const slice = (x: Value, axis: number, start: number, size: number): Value => {
  const at = normalizeAxis(axis, x.shape.length);
  return start === 0 && x.shape[at] === size ? x : apply(sliceOp, [x], { axis: at, start, size });
};
export const zeros = (shape: Shape): Value => apply(zerosOp, [], { shape });

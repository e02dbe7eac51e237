import { apply, applyAll, noAttributes, ownDomain, requireShape, sameShape, type NoAttributes, type Op } from "../op.ts";
import { aroundAxis, concrete, elements } from "../nd-array.ts";
import type { Value } from "../value.ts";
import { reshape, zeros } from "./shape.ts";

/** Rows of a table: table [rows, …], ids [any shape] → [...ids, …]. Rows that are picked twice get both gradients. */
export const gatherOp: Op<NoAttributes> = {
  name: "gather",
  infer: ([table, ids]) => [{ shape: [...ids!.shape, ...table!.shape.slice(1)], dtype: table!.dtype }],
  vjp: ({ inputs: [table, ids], cotangents: [ct] }) => [scatterAdd(zeros(table!.shape), ids!, ct!), null],
  lower: (c) => c.node("Gather", c.inputs, c.outputs, { axis: 0 }),
  reference: ([table, ids], _, [out]) => {
    const width = elements(table!.shape.slice(1));
    const shape = concrete(out!.shape, "gather");
    return [{ shape, dtype: out!.dtype, data: Float64Array.from({ length: elements(shape) }, (_, i) => table!.data[ids!.data[Math.floor(i / width)]! * width + (i % width)]!) }];
  },
};

/**
 * base [rows, width] with rows added at ids, in order. Lowered to our kernel, or else to ScatterElements, whose CPU kernel adds in order
 * on one thread: ScatterND's races between threads when an id repeats.
 */
export const scatterAddOp: Op<NoAttributes> = {
  name: "scatterAdd",
  infer: ([base, ids, rows]) => {
    requireShape(base!.shape.length === 2 && ids!.shape.length === 1 && rows!.shape.length === 2 && rows!.shape[1] === base!.shape[1] && rows!.shape[0] === ids!.shape[0], "scatterAdd", [base!.shape, ids!.shape, rows!.shape], "[rows, width], [n], [n, width]");
    return [base!];
  },
  vjp: ({ inputs: [, ids], cotangents: [ct], wanted }) => [ct!, null, wanted[2] ? gather(ct!, ids!) : null],
  lower: (c) => {
    if (c.ownKernels && c.inputTypes[1]!.dtype === "int64") return c.node("ScatterAddRows", c.inputs, c.outputs, {}, ownDomain);
    const [n, width] = concrete(c.inputTypes[2]!.shape, "scatterAdd") as [number, number];
    const column = c.fresh();
    const index = c.fresh();
    c.node("Reshape", [c.inputs[1]!, c.int64([n, 1])], [column]);
    c.node("Expand", [column, c.int64([n, width])], [index]);
    c.node("ScatterElements", [c.inputs[0]!, index, c.inputs[2]!], c.outputs, { axis: 0, reduction: "add" });
  },
  reference: ([base, ids, rows]) => {
    const width = base!.shape[1]!;
    const data = base!.data.slice();
    for (let n = 0; n < ids!.data.length; n++) for (let i = 0; i < width; i++) data[ids!.data[n]! * width + i]! += rows!.data[n * width + i]!;
    return [{ ...base!, data }];
  },
};

/** Along the last axis: x [rows, width], ids [rows, k] → [rows, k]. */
export const takeAlongOp: Op<NoAttributes> = {
  name: "takeAlong",
  infer: ([x, ids]) => {
    requireShape(x!.shape.length === 2 && ids!.shape.length === 2 && x!.shape[0] === ids!.shape[0], "takeAlong", [x!.shape, ids!.shape], "[rows, width], [rows, k]");
    return [{ shape: ids!.shape, dtype: x!.dtype }];
  },
  vjp: ({ inputs: [x, ids], cotangents: [ct] }) => [putAlong(x!, ids!, ct!), null],
  lower: (c) => c.node("GatherElements", c.inputs, c.outputs, { axis: 1 }),
  reference: ([x, ids]) => {
    const width = x!.shape[1]!;
    const k = ids!.shape[1]!;
    return [{ shape: ids!.shape, dtype: x!.dtype, data: ids!.data.map((id, i) => x!.data[Math.floor(i / k) * width + id]!) }];
  },
};

/** Zeros in the shape of `like` [rows, width] with `values` [rows, k] at ids [rows, k]; equal ids add up. */
export const putAlongOp: Op<NoAttributes> = {
  name: "putAlong",
  infer: ([like, ids, values]) => {
    requireShape(sameShape(ids!.shape, values!.shape) && like!.shape[0] === ids!.shape[0], "putAlong", [like!.shape, ids!.shape, values!.shape], "[rows, width], [rows, k], [rows, k]");
    return [like!];
  },
  vjp: ({ inputs: [, ids], cotangents: [ct] }) => [null, null, takeAlong(ct!, ids!)],
  lower: (c) => {
    const shape = c.fresh();
    const zero = c.fresh();
    c.node("Shape", [c.inputs[0]!], [shape]);
    c.node("ConstantOfShape", [shape], [zero]);
    c.node("ScatterElements", [zero, c.inputs[1]!, c.inputs[2]!], c.outputs, { axis: 1, reduction: "add" });
  },
  reference: ([like, ids, values]) => {
    const data = new Float64Array(like!.data.length);
    const k = ids!.shape[1]!;
    for (let i = 0; i < ids!.data.length; i++) data[Math.floor(i / k) * like!.shape[1]! + ids!.data[i]!]! += values!.data[i]!;
    return [{ ...like!, data }];
  },
};

/** The k largest along the last axis of x [rows, width], largest first: values [rows, k] and their indices, int64. */
export const topKOp: Op<{ readonly k: number }> = {
  name: "topK",
  infer: ([x], { k }) => {
    requireShape(x!.shape.length === 2 && (typeof x!.shape[1] === "string" || k <= x!.shape[1]!), "topK", x!.shape, `[rows, width ≥ ${k}]`);
    const shape = [x!.shape[0]!, k];
    return [{ shape, dtype: x!.dtype }, { shape, dtype: "int64" }];
  },
  vjp: ({ inputs: [x], outputs: [, ids], cotangents: [ct] }) => [ct ? putAlong(x!, ids!, ct) : null],
  lower: (c) => c.node("TopK", [c.inputs[0]!, c.int64([c.attributes.k])], c.outputs, { axis: -1, largest: 1, sorted: 1 }),
  reference: ([x], { k }) => {
    const { outer, size } = aroundAxis(x!.shape, 1);
    const values = new Float64Array(outer * k);
    const ids = new Float64Array(outer * k);
    for (let o = 0; o < outer; o++) {
      const row = x!.data.subarray(o * size, (o + 1) * size);
      const order = Array.from(row.keys()).sort((i, j) => row[j]! - row[i]! || i - j);
      for (let i = 0; i < k; i++) {
        ids[o * k + i] = order[i]!;
        values[o * k + i] = row[order[i]!]!;
      }
    }
    return [
      { shape: [outer, k], dtype: x!.dtype, data: values },
      { shape: [outer, k], dtype: "int64", data: ids },
    ];
  },
};

export const gather = (table: Value, ids: Value): Value => apply(gatherOp, [table, ids], noAttributes);
export function scatterAdd(base: Value, ids: Value, rows: Value): Value {
  const flat = reshape(ids, [elements(concrete(ids.shape, "scatterAdd"))]);
  return apply(scatterAddOp, [base, flat, reshape(rows, [flat.shape[0]!, base.shape[1]!])], noAttributes);
}
export const takeAlong = (x: Value, ids: Value): Value => apply(takeAlongOp, [x, ids], noAttributes);
export const putAlong = (like: Value, ids: Value, values: Value): Value => apply(putAlongOp, [like, ids, values], noAttributes);
export function topK(x: Value, k: number): { values: Value; indices: Value } {
  const [values, indices] = applyAll(topKOp, [x], { k }) as [Value, Value];
  return { values, indices };
}

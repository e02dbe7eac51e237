import { expect, test } from "vitest";
import { random } from "../random/index.ts";
import { add, constant, fuse, gradients, graphOf, interpret, matmul, matmulQuantized, mul, ndArray, reshape, rmsNormalize, sigmoid, silu, simplify, sumAll, swigluParts, verify, type Graph, type QuantizedMatrix, type Value } from "./index.ts";
import { apply, constantOp, input } from "./op.ts";

const [rows, width] = [3, 8];
const shapes = { x: [rows, width], y: [rows, width], gain: [width], other: [width], w: [width, width] };
type Inputs = Record<keyof typeof shapes, Value>;

function build(f: (v: Inputs) => Record<string, Value>): { graph: Graph; data: Parameters<typeof interpret>[1] } {
  const stream = random("fuse");
  const values = Object.fromEntries(Object.entries(shapes).map(([name, shape]) => [name, input(name, shape)])) as Inputs;
  return { graph: graphOf(Object.entries(values), Object.entries(f(values))), data: Object.fromEntries(Object.entries(shapes).map(([name, shape]) => [name, ndArray(shape, () => stream.normal())])) };
}
const inBlocks = (seed: number): QuantizedMatrix => {
  const stream = random("blocks", seed);
  return { blocks: apply(constantOp, [], { data: Uint8Array.from({ length: 12 }, () => stream.below(256)), shape: [3, 1, 4], dtype: "uint8" }), scales: constant(Float32Array.of(0.5, -1, 0.25), [3, 1]) };
};
const swiglu = (gate: Value, up: Value): Value => swigluParts(gate, up).y;
const count = (graph: Graph, op: string): number => graph.nodes.filter((n) => n.op.name === op).length;
const norm = (x: Value, gain: Value): Value => mul(rmsNormalize(x, 1e-5), gain);

const cases: Record<string, { readonly f: (v: Inputs) => Record<string, Value>; readonly fused: Record<string, number> }> = {
  "a norm takes its gain": { f: ({ x, gain }) => ({ out: norm(x, gain) }), fused: { rmsNorm: 1, mul: 0 } },
  "a norm takes the sum before it, which others read too": {
    f: ({ x, y, gain, w }) => {
      const total = add(x, y);
      return { out: add(total, matmul(norm(total, gain), w, { transA: false })) };
    },
    fused: { addRmsNorm: 1, rmsNorm: 0, mul: 0 },
  },
  "one sum, two norms: both stay readable": {
    f: ({ x, y, gain, other }) => {
      const total = add(x, y);
      return { a: norm(total, gain), b: norm(total, other) };
    },
    fused: {},
  },
  "a gain that is computed is not moved before its time": { f: ({ x, gain, other }) => ({ out: norm(x, add(gain, other)) }), fused: { rmsNorm: 0 } },
  "a gain for each head of a wider row": { f: ({ x, gain }) => ({ out: reshape(mul(rmsNormalize(reshape(x, [rows, 2, width / 2]), 1e-5), reshape(gain, [2, width / 2])), [rows, width]) }), fused: { rmsNorm: 0 } },
  "x · sigmoid(x)": { f: ({ x, y }) => ({ out: mul(mul(x, sigmoid(x)), y) }), fused: { silu: 1, sigmoid: 0 } },
  "a sigmoid that is read twice": {
    f: ({ x, y }) => {
      const s = sigmoid(x);
      return { out: mul(x, s), too: mul(s, y) };
    },
    fused: { silu: 0 },
  },
  "gated products in blocks": {
    f: ({ x, gain }) => {
      const unit = norm(x, gain);
      return { out: swiglu(matmulQuantized(unit, inBlocks(1)), matmulQuantized(unit, inBlocks(2))) };
    },
    fused: { gatedMatmulQuantized: 1, matmulQuantized: 0, swigluParts: 0, swiglu: 0, mul: 0 },
  },
  "gated products of different rows, and of unrounded ones, stay": {
    f: ({ x, y }) => ({
      out: swiglu(matmulQuantized(x, inBlocks(1)), matmulQuantized(y, inBlocks(2))),
      exact: swiglu(matmulQuantized(x, { ...inBlocks(1), exact: true }), matmulQuantized(x, { ...inBlocks(2), exact: true })),
    }),
    fused: { gatedMatmulQuantized: 0, matmulQuantized: 4, swiglu: 2 },
  },
  "a gate that others read too": {
    f: ({ x }) => {
      const gate = matmulQuantized(x, inBlocks(1));
      return { out: swiglu(gate, matmulQuantized(x, inBlocks(2))), gate };
    },
    fused: { gatedMatmulQuantized: 0, swiglu: 1 },
  },
  "an activation whose parts are read too": {
    f: ({ x, y }) => {
      const { y: out, sigma } = swigluParts(x, y);
      return { out, sigma };
    },
    fused: { swigluParts: 1, swiglu: 0 },
  },
  "a chain of blocks": {
    f: ({ x, y, gain, other, w }) => {
      const first = add(x, matmul(norm(y, gain), w));
      const second = add(first, silu(norm(first, other)));
      return { out: norm(second, gain) };
    },
    fused: { rmsNormalize: 0 },
  },
  "what a backward pass reads": {
    f: ({ x, gain, w }) => {
      const out = matmul(norm(x, gain), w);
      return { out, ...Object.fromEntries(gradients(sumAll(mul(out, out)), [x, gain]).map((g, i) => [`g${i}`, g])) };
    },
    fused: {},
  },
};

test.each(Object.entries(cases))("%s", (_, { f, fused }) => {
  const { graph, data } = build(f);
  const after = fuse(simplify(graph));
  verify(after);
  for (const [op, n] of Object.entries(fused)) expect(count(after, op), op).toBe(n);
  const [got, want] = [interpret(after, data), interpret(graph, data)];
  for (const [name, { shape, data: values }] of Object.entries(want)) {
    expect(got[name]!.shape).toEqual(shape);
    for (const [i, w] of values.entries()) expect(got[name]!.data[i]!).toBeCloseTo(w, 10);
  }
  expect(after.nodes.length).toBeLessThanOrEqual(simplify(graph).nodes.length);
});

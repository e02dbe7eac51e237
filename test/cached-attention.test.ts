import { describe, expect, test } from "vitest";
import { random } from "../src/random/index.ts";
import { cachedAttention, constant, graphOf, interpret, type NdArray, type Value } from "../src/tensor/index.ts";
import { ndArray } from "../src/tensor/nd-array.ts";
import { input } from "../src/tensor/op.ts";
import { runGraph, runnersHere } from "./providers.ts";

const sizes = { heads: 4, kvHeads: 2, scale: 0.3 };
const [dim, capacity] = [16, 12];
const table = (f: (x: number) => number): Value => constant(Float32Array.from({ length: capacity * (dim / 2) }, (_, k) => f(Math.floor(k / (dim / 2)) / ((k % (dim / 2)) + 1))), [capacity, dim / 2]);

interface Case {
  readonly batch: number;
  /** New tokens a row. */
  readonly count: number;
  /** Tokens of each row after the step. */
  readonly totals: readonly number[];
  /** New tokens of each row, where they differ: batch · count in all. */
  readonly fresh?: readonly number[];
}
const cases: Record<string, Case> = {
  "one token for each of rows of different length": { batch: 3, count: 1, totals: [1, 7, 4] },
  "prompts, padded on the right": { batch: 2, count: 5, totals: [5, 3] },
  "a further chunk of one row": { batch: 1, count: 4, totals: [9] },
  "any number of tokens to each row": { batch: 9, count: 1, totals: [7, 6, 3, 9], fresh: [1, 0, 3, 5] },
};

describe.each(Object.entries(cases))("%s", (_, { batch, count, totals, fresh }) => {
  const stream = random("cached attention");
  const real = (...shape: number[]): NdArray => ndArray(shape, () => stream.normal());
  // A first chunk is told by the longest row being as long as the chunk.
  const ints = (values: readonly number[], shape: number[]): NdArray => ({ shape, dtype: "int32", data: Float64Array.from(values) });
  const width = (sizes.heads + 2 * sizes.kvHeads) * dim;
  const rows = totals.length;
  const arrays = { qkv: real(batch, count, width), key: real(rows, 2, capacity, dim), value: real(rows, 2, capacity, dim), last: ints(totals.map((t) => t - 1), [rows]), longest: ints([Math.max(...totals)], []) };
  const lengths = fresh && { lengths: ints([0, ...fresh.map((_, row) => fresh.slice(0, row + 1).reduce((a, b) => a + b))], [rows + 1]) };
  const part = (from: number, size: number): NdArray => ({ shape: [batch, count, size], dtype: "float32", data: arrays.qkv.data.filter((_, i) => i % width >= from && i % width < from + size) });
  const three = { q: part(0, 64), k: part(64, 32), v: part(96, 32) };
  const graph = (packed: boolean, rotating: boolean) => {
    const inputs = { ...(packed ? { qkv: arrays.qkv } : three), key: arrays.key, value: arrays.value, last: arrays.last, longest: arrays.longest, ...lengths };
    const values = Object.fromEntries(Object.entries(inputs).map(([name, a]) => [name, input(name, a.shape, a.dtype)])) as Record<string, Value>;
    const projected = packed ? [values.qkv!] : [values.q!, values.k!, values.v!];
    const { out, presentKey, presentValue } = cachedAttention(projected, { key: values.key!, value: values.value!, last: values.last!, longest: values.longest!, cumulativeLengths: values.lengths }, rotating ? [table(Math.cos), table(Math.sin)] : [], sizes);
    return { inputs, graph: graphOf(Object.entries(values), [["out", out], ["presentKey", presentKey], ["presentValue", presentValue]]) };
  };
  const meaningful = (name: string, i: number, shape: readonly number[]): boolean => {
    // Rows of padding, and places of the cache beyond a row's end, hold anything.
    if (name === "out" && fresh) return true;
    if (name === "out") return Math.floor(i / shape[2]!) % count < totals[Math.floor(i / (shape[2]! * count))]!;
    return Math.floor(i / dim) % capacity < totals[Math.floor(i / (dim * capacity * 2))]!;
  };
  const expectEqual = (got: Record<string, NdArray>, want: Record<string, NdArray>): void => {
    for (const [name, { data, shape }] of Object.entries(want))
      for (const [i, w] of data.entries()) if (meaningful(name, i, shape)) expect(Math.abs(got[name]!.data[i]! - w), `${name}[${i}]`).toBeLessThanOrEqual(2e-5 * (1 + Math.abs(w)));
  };

  test.each([true, false])("packed = apart (rotating: %s)", (rotating) => {
    const [packed, apart] = [graph(true, rotating), graph(false, rotating)];
    expectEqual(interpret(packed.graph, packed.inputs), interpret(apart.graph, apart.inputs));
  });

  // Only our kernel takes rows apart by cumulative lengths.
  test.each((fresh ? runnersHere.filter((runner) => runner === "own") : runnersHere).flatMap((p) => [true, false].flatMap((packed) => [true, false].map((rotating) => [p, packed, rotating] as const))))("%s = reference (packed: %s, rotating: %s)", async (provider, packed, rotating) => {
    const { inputs, graph: g } = graph(packed, rotating);
    expectEqual(await runGraph(g, inputs, provider), interpret(g, inputs));
  });
});

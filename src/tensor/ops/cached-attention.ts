import { applyAll, contrib, ownDomain, requireShape, sizeOf, type Op } from "../op.ts";
import type { NdArray } from "../nd-array.ts";
import type { TensorType, Value } from "../value.ts";

interface Sizes {
  readonly heads: number;
  readonly kvHeads: number;
  readonly scale: number;
}
type Attributes = { readonly heads: number; readonly kvHeads: number; readonly scale: number; readonly packed: boolean };

/** The parts of an op's inputs: what was projected, packed or as three; the cache; the tables where the op rotates. */
function partsOf<T>(inputs: readonly T[], packed: boolean): { readonly projected: readonly T[]; readonly cache: readonly [key: T, value: T, last: T, longest: T]; readonly tables: readonly T[] } {
  const count = packed ? 1 : 3;
  return { projected: inputs.slice(0, count), cache: inputs.slice(count, count + 4) as unknown as [T, T, T, T], tables: inputs.slice(count + 4) };
}

/**
 * Causal attention of new tokens against a cache of fixed capacity, with grouped queries: q [batch, new, heads · dim], k and v
 * [batch, new, kvHeads · dim], or one [batch, new, q | k | v], caches [batch, kvHeads, capacity, dim], `last` int32 [batch] = tokens of each row after this
 * step − 1, `longest` int32 scalar = the longest row after this step. With tables cos and sin [positions, dim / 2], queries and
 * keys are rotated by halves at their places in the row. Gives [batch, new, heads · dim] and the caches with the
 * new keys and values in place.
 *
 * Our kernel, like ONNX Runtime's GroupQueryAttention, writes in place when a cache is bound as input and output at once, which is how
 * the engine runs it. Several new tokens are allowed for the first chunk of a row (right-padded to `new`), or at batch 1.
 */
export const cachedAttentionOp: Op<Attributes> = {
  name: "cachedAttention",
  infer: (inputs, { heads, kvHeads, packed }) => {
    const { projected, cache: [pastK, pastV], tables } = partsOf(inputs, packed);
    const dim = sizeOf(pastK.shape[3], "cachedAttention");
    const widths = packed ? [heads + 2 * kvHeads] : [heads, kvHeads, kvHeads];
    requireShape(projected.every((x, i) => x.shape[2] === widths[i]! * dim) && heads % kvHeads === 0, "cachedAttention", projected.map((x) => x.shape), `heads of ${dim}`);
    requireShape(tables.every((t) => t.shape[1] === dim / 2), "cachedAttention", tables.map((t) => t.shape), `[positions, ${dim / 2}]`);
    return [{ ...projected[0]!, shape: [...projected[0]!.shape.slice(0, 2), heads * dim] }, pastK, pastV];
  },
  vjp: "none",
  lower: (c) => {
    const { heads, kvHeads, scale, packed } = c.attributes;
    const { projected, cache, tables } = partsOf(c.inputs, packed);
    const [key, value, last] = cache;
    if (c.ownKernels) return c.node("CachedAttention", [...projected, ...(packed ? ["", ""] : []), key, value, last, ...tables], c.outputs, { scale: { float: scale } }, ownDomain);
    c.node("GroupQueryAttention", [...projected, ...(packed ? ["", ""] : []), ...cache, ...tables], c.outputs, { num_heads: heads, kv_num_heads: kvHeads, scale: { float: scale }, do_rotary: Number(tables.length > 0), rotary_interleaved: 0, local_window_size: -1 }, contrib);
  },
  reference,
};

function reference(inputs: readonly NdArray[], { heads, kvHeads, scale, packed }: Attributes, types: readonly TensorType[]): readonly NdArray[] {
  const { projected, cache: [pastK, pastV, last], tables } = partsOf(inputs, packed);
  const [batch, count] = projected[0]!.shape as [number, number];
  const [, , capacity, dim] = pastK.shape as [number, number, number, number];
  const startOf = (b: number): number => Math.max(0, last.data[b]! + 1 - count);
  const [q, k, v] = taken(projected, tables, { heads, kvHeads, dim, startOf });
  const keys = pastK.data.slice();
  const values = pastV.data.slice();
  const out = new Float64Array(q.data.length);
  for (let b = 0; b < batch; b++) {
    const total = last.data[b]! + 1;
    const start = startOf(b); // a right-padded first chunk starts at 0
    const fresh = Math.min(count, total);
    for (let t = 0; t < fresh; t++)
      for (let h = 0; h < kvHeads; h++)
        for (let i = 0; i < dim; i++) {
          const to = ((b * kvHeads + h) * capacity + start + t) * dim + i;
          const from = ((b * count + t) * kvHeads + h) * dim + i;
          keys[to] = k.data[from]!;
          values[to] = v.data[from]!;
        }
    for (let t = 0; t < fresh; t++)
      for (let h = 0; h < heads; h++) {
        const query = ((b * count + t) * heads + h) * dim;
        const lane = (b * kvHeads + Math.floor((h * kvHeads) / heads)) * capacity;
        const scores = Array.from({ length: start + t + 1 }, (_, j) => {
          let dot = 0;
          for (let i = 0; i < dim; i++) dot += q.data[query + i]! * keys[(lane + j) * dim + i]!;
          return dot * scale;
        });
        const top = Math.max(...scores);
        const weights = scores.map((s) => Math.exp(s - top));
        const total = weights.reduce((a, w) => a + w, 0);
        for (let i = 0; i < dim; i++) out[query + i] = weights.reduce((a, w, j) => a + (w / total) * values[(lane + j) * dim + i]!, 0);
      }
  }
  return [{ shape: [batch, count, heads * dim], dtype: types[0]!.dtype, data: out }, { ...pastK, data: keys }, { ...pastV, data: values }];
}

/** Queries, keys and values apart, rotated where there are tables. */
function taken(projected: readonly NdArray[], tables: readonly NdArray[], { heads, kvHeads, dim, startOf }: { heads: number; kvHeads: number; dim: number; startOf: (b: number) => number }): readonly [NdArray, NdArray, NdArray] {
  const [first] = projected as [NdArray];
  const [batch, count, width] = first.shape as [number, number, number];
  const cut = (from: number, size: number): NdArray => ({ shape: [batch, count, size], dtype: "float32", data: Float64Array.from({ length: batch * count * size }, (_, i) => first.data[Math.floor(i / size) * width + from + (i % size)]!) });
  const [q, k, v] = projected.length === 1 ? [cut(0, heads * dim), cut(heads * dim, kvHeads * dim), cut((heads + kvHeads) * dim, kvHeads * dim)] : (projected as [NdArray, NdArray, NdArray]);
  const [cos, sin] = tables;
  if (!cos || !sin) return [q, k, v];
  const half = dim / 2;
  const turn = (x: NdArray): NdArray => {
    const data = Float64Array.from(x.data, (value, i) => {
      const within = i % dim;
      const row = Math.floor(i / x.shape[2]!);
      const at = (startOf(Math.floor(row / count)) + (row % count)) * half + (within % half);
      return within < half ? value * cos.data[at]! - x.data[i + half]! * sin.data[at]! : value * cos.data[at]! + x.data[i - half]! * sin.data[at]!;
    });
    return { ...x, data };
  };
  return [turn(q), turn(k), v];
}

export interface CachedAttention {
  readonly out: Value;
  readonly presentKey: Value;
  readonly presentValue: Value;
}

/**
 * @param projected q, k, v, or one value of all
 * @param tables cos and sin, or none
 */
export function cachedAttention(projected: readonly Value[], cache: { key: Value; value: Value; last: Value; longest: Value }, tables: readonly Value[], sizes: Sizes): CachedAttention {
  const [out, presentKey, presentValue] = applyAll(cachedAttentionOp, [...projected, cache.key, cache.value, cache.last, cache.longest, ...tables], { ...sizes, packed: projected.length === 1 }) as [Value, Value, Value];
  return { out, presentKey, presentValue };
}

import { LongjingError } from "../../errors/index.ts";
import { applyAll, contrib, ownDomain, requireShape, sizeOf, type Op } from "../op.ts";
import type { NdArray } from "../nd-array.ts";
import type { TensorType, Value } from "../value.ts";

interface Sizes {
  readonly heads: number;
  readonly kvHeads: number;
  readonly scale: number;
}
type Attributes = { readonly [K in keyof Sizes]: number } & { readonly packed: boolean; readonly ragged: boolean };

interface Parts<T> {
  readonly projected: readonly T[];
  readonly cache: readonly [key: T, value: T, last: T, longest: T];
  readonly lengths: T | undefined;
  readonly tables: readonly T[];
}

/** The parts of an op's inputs: what was projected, packed or as three; the cache; cumulative lengths; the tables where the op rotates. */
function partsOf<T>(inputs: readonly T[], { packed, ragged }: Attributes): Parts<T> {
  const count = packed ? 1 : 3;
  const rest = inputs.slice(count + 4);
  return { projected: inputs.slice(0, count), cache: inputs.slice(count, count + 4) as unknown as [T, T, T, T], lengths: ragged ? rest[0] : undefined, tables: ragged ? rest.slice(1) : rest };
}

/**
 * Causal attention of new tokens against a cache of fixed capacity, with grouped queries: q [batch, new, heads · dim], k and v
 * [batch, new, kvHeads · dim], or one [batch, new, q | k | v], caches [rows, kvHeads, capacity, dim], `last` int32 [rows] = tokens of each row after this
 * step − 1, `longest` int32 scalar = the longest row after this step. With tables cos and sin [positions, dim / 2], queries and
 * keys are rotated by halves at their places in the row. Gives [batch, new, heads · dim] and the caches with the
 * new keys and values in place.
 *
 * Without cumulative lengths row b of the cache gets the new tokens [b, …]; several are allowed for the first chunk of a row (right-padded to `new`),
 * or at batch 1. With them, int32 [rows + 1], as FlashAttention's `cu_seqlens_q`, row b gets the tokens lengths[b], …, lengths[b + 1] − 1 of all
 * batch · new: any number, none too. That is only in our kernel.
 *
 * Our kernel, like ONNX Runtime's GroupQueryAttention, writes in place when a cache is bound as input and output at once, which is how
 * the engine runs it.
 */
export const cachedAttentionOp: Op<Attributes> = {
  name: "cachedAttention",
  infer: (inputs, attributes) => {
    const { heads, kvHeads, packed } = attributes;
    const { projected, cache: [pastK, pastV], tables } = partsOf(inputs, attributes);
    const dim = sizeOf(pastK.shape[3], "cachedAttention");
    const widths = packed ? [heads + 2 * kvHeads] : [heads, kvHeads, kvHeads];
    requireShape(projected.every((x, i) => x.shape[2] === widths[i]! * dim) && heads % kvHeads === 0, "cachedAttention", projected.map((x) => x.shape), `heads of ${dim}`);
    requireShape(tables.every((t) => t.shape[1] === dim / 2), "cachedAttention", tables.map((t) => t.shape), `[positions, ${dim / 2}]`);
    return [{ ...projected[0]!, shape: [...projected[0]!.shape.slice(0, 2), heads * dim] }, pastK, pastV];
  },
  vjp: "none",
  lower: (c) => {
    const { heads, kvHeads, scale, packed } = c.attributes;
    const { projected, cache, lengths, tables } = partsOf(c.inputs, c.attributes);
    const given = [...projected, ...(packed ? ["", ""] : [])];
    const [key, value, last] = cache;
    if (c.ownKernels) return c.node("CachedAttention", [...given, key, value, last, ...(lengths || tables.length > 0 ? [lengths ?? ""] : []), ...tables], c.outputs, { scale: { float: scale } }, ownDomain);
    if (lengths) throw new LongjingError("unsupported", "ONNX Runtime has no attention of rows with different numbers of new tokens", { where: "cachedAttention", expected: "our own kernels, or no cumulative lengths" });
    c.node("GroupQueryAttention", [...given, ...cache, ...tables], c.outputs, { num_heads: heads, kv_num_heads: kvHeads, scale: { float: scale }, do_rotary: Number(tables.length > 0), rotary_interleaved: 0, local_window_size: -1 }, contrib);
  },
  reference,
};

/** New tokens of one row of the cache: token first + t of all is at place start + t of the row. */
interface Fresh {
  readonly row: number;
  readonly first: number;
  readonly start: number;
  readonly count: number;
}

function freshOf(last: NdArray, lengths: NdArray | undefined, count: number): Fresh[] {
  return Array.from(last.data, (before, row) => {
    const first = lengths ? lengths.data[row]! : row * count;
    const width = lengths ? lengths.data[row + 1]! - first : count;
    const total = before + 1;
    return { row, first, start: Math.max(0, total - width), count: Math.min(width, total) }; // a right-padded first chunk starts at 0
  });
}

function reference(inputs: readonly NdArray[], attributes: Attributes, types: readonly TensorType[]): readonly NdArray[] {
  const { heads, kvHeads, scale } = attributes;
  const { projected, cache: [pastK, pastV, last], lengths, tables } = partsOf(inputs, attributes);
  const [batch, count] = projected[0]!.shape as [number, number];
  const [, , capacity, dim] = pastK.shape as [number, number, number, number];
  const fresh = freshOf(last, lengths, count);
  const [q, k, v] = taken(projected, tables, fresh, { heads, kvHeads, dim });
  const keys = pastK.data.slice();
  const values = pastV.data.slice();
  const out = new Float64Array(q.length);
  for (const { row, first, start, count } of fresh) {
    for (let t = 0; t < count; t++)
      for (let h = 0; h < kvHeads; h++)
        for (let i = 0; i < dim; i++) {
          const to = ((row * kvHeads + h) * capacity + start + t) * dim + i;
          const from = ((first + t) * kvHeads + h) * dim + i;
          keys[to] = k[from]!;
          values[to] = v[from]!;
        }
    for (let t = 0; t < count; t++)
      for (let h = 0; h < heads; h++) {
        const query = ((first + t) * heads + h) * dim;
        const lane = (row * kvHeads + Math.floor((h * kvHeads) / heads)) * capacity;
        const scores = Array.from({ length: start + t + 1 }, (_, j) => {
          let dot = 0;
          for (let i = 0; i < dim; i++) dot += q[query + i]! * keys[(lane + j) * dim + i]!;
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
function taken(projected: readonly NdArray[], tables: readonly NdArray[], fresh: readonly Fresh[], { heads, kvHeads, dim }: { heads: number; kvHeads: number; dim: number }): readonly [Float64Array, Float64Array, Float64Array] {
  const [{ shape, data }] = projected as [NdArray];
  const [batch, count, width] = shape as [number, number, number];
  const cut = (from: number, size: number): Float64Array => Float64Array.from({ length: batch * count * size }, (_, i) => data[Math.floor(i / size) * width + from + (i % size)]!);
  const apart = projected.length === 1 ? [cut(0, heads * dim), cut(heads * dim, kvHeads * dim), cut((heads + kvHeads) * dim, kvHeads * dim)] : projected.map((x) => Float64Array.from(x.data));
  const [q, k, v] = apart as [Float64Array, Float64Array, Float64Array];
  const [cos, sin] = tables;
  if (!cos || !sin) return [q, k, v];
  const half = dim / 2;
  const turn = (x: Float64Array, heads: number): Float64Array => {
    const turned = x.slice();
    for (const { first, start, count } of fresh)
      for (let i = 0; i < count * heads * dim; i++) {
        const from = first * heads * dim + i;
        const at = (start + Math.floor(i / (heads * dim))) * half + (i % half);
        turned[from] = i % dim < half ? x[from]! * cos.data[at]! - x[from + half]! * sin.data[at]! : x[from]! * cos.data[at]! + x[from - half]! * sin.data[at]!;
      }
    return turned;
  };
  return [turn(q, heads), turn(k, kvHeads), v];
}

export interface CachedAttention {
  readonly out: Value;
  readonly presentKey: Value;
  readonly presentValue: Value;
}

export interface AttentionCache {
  readonly key: Value;
  readonly value: Value;
  readonly last: Value;
  readonly longest: Value;
  /** Where the new tokens of each row begin among all, and where the last row's end. Default: as many of each row. */
  readonly cumulativeLengths?: Value | undefined;
}

/**
 * @param projected q, k, v, or one value of all
 * @param tables cos and sin, or none
 */
export function cachedAttention(projected: readonly Value[], { key, value, last, longest, cumulativeLengths }: AttentionCache, tables: readonly Value[], sizes: Sizes): CachedAttention {
  const inputs = [...projected, key, value, last, longest, ...(cumulativeLengths ? [cumulativeLengths] : []), ...tables];
  const [out, presentKey, presentValue] = applyAll(cachedAttentionOp, inputs, { ...sizes, packed: projected.length === 1, ragged: cumulativeLengths !== undefined }) as [Value, Value, Value];
  return { out, presentKey, presentValue };
}

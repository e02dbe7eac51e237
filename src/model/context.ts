import { broadcastTo, cachedAttention, concat, constant, constantInt64, mul, reshape, rotary, slice, split, type Dim, type Value } from "../tensor/index.ts";
import { causalAttention, paddedCausalMask, repeatHeads } from "../nn/attention.ts";
import type { RopeTables } from "../nn/rope.ts";
import { sizeOf } from "../tensor/op.ts";
import type { ModelConfig } from "./config.ts";

/**
 * What an attention layer has projected from its rows: one value [rows, q | k | v] of it all, or the three. Without a third, the
 * values are the first `dimV` elements of the keys of one head.
 */
export type Projected = Value | readonly [q: Value, k: Value, v?: Value];

/** Sizes of one attention layer: heads that ask, heads that answer, elements of a key and of a value. */
export interface Heads {
  readonly heads: number;
  readonly kvHeads: number;
  readonly dim: number;
  readonly dimV: number;
  /** Factor on q · k before the softmax. */
  readonly scale: number;
  /** Queries and keys come as they were projected, and are rotated by halves before they meet. Default false. */
  readonly rotated?: boolean;
}

/**
 * What differs between training, prefill and decoding. The model itself sees rows [rows, hidden] only: how rows are laid out in
 * time, where positions come from and where keys and values live is here.
 */
export interface ModelContext {
  /** Number of rows, or its name. */
  readonly rows: Dim;
  /** Many rows: fold norms into weights (nn/linear.ts). */
  readonly foldGain: boolean;
  /** Latent attention: attend to the latent itself, which is all that a cache then holds, and expand no key and no value. */
  readonly absorbed: boolean;
  /** Rotates x [rows, heads · dim] by the rows' positions. */
  rotate(x: Value, heads: number, interleaved: boolean): Value;
  /** q [rows, heads · dim], k [rows, kvHeads · dim], v [rows, kvHeads · dimV] → [rows, heads · dimV]. */
  attend(layer: number, projected: Projected, sizes: Heads): Value;
}

export interface TrainingLayout {
  readonly batch: number;
  readonly time: number;
  /** Query blocks of causal attention (nn/attention.ts). Default: blocks of at least 64 tokens, at most 8. */
  readonly blocks?: number;
  /** int64 [time, batch]; default: the row's time. */
  readonly positions?: Value;
  /** float32 [batch, time]: 1 where a token is real, 0 where it is padding that nothing may attend to. */
  readonly attentionMask?: Value;
}

export const tablesAsValues = (t: RopeTables): [Value, Value] => [constant(t.cos, [t.positions, t.half]), constant(t.sin, [t.positions, t.half])];

/** Each row by a position of its own, int64 [rows, 1]: a kernel's second axis may not be longer than the tables. */
function rotatedAt(positions: Value, tables: RopeTables): ModelContext["rotate"] {
  const [cos, sin] = tablesAsValues(tables);
  return (x, heads, interleaved) => reshape(rotary(reshape(x, [x.shape[0]!, 1, x.shape[1]!]), positions, cos, sin, { heads, interleaved }), x.shape);
}

/** Rows ordered by time: row t · batch + b is token t of sequence b. */
export function trainingContext({ batch, time, blocks, positions, attentionMask }: TrainingLayout, tables: RopeTables): ModelContext {
  const rows = batch * time;
  const at = positions ? reshape(positions, [rows, 1]) : constantInt64(Array.from({ length: rows }, (_, i) => Math.floor(i / batch)), [rows, 1]);
  const mask = attentionMask && paddedCausalMask(time, attentionMask);
  const rotate = rotatedAt(at, tables);
  return {
    rows,
    foldGain: true,
    absorbed: false,
    rotate,
    attend: (_layer, projected, sizes) => attendByTime(rotatedApart(projected, sizes, rotate), sizes, { batch, time, keys: time, mask, blocks }),
  };
}

export interface PrefixLayout {
  readonly prefixes: number;
  /** Sequences that go on from each. */
  readonly group: number;
  readonly prefixTime: number;
  /** Of what follows the prefix. */
  readonly time: number;
  /** float32 [prefixes, prefixTime]: 1 where a token is real, 0 where it is padding, which comes before a prefix. */
  readonly prefixMask: Value;
}

/**
 * Training on sequences that begin alike, whose prefixes are computed once: rows t · prefixes + p are their tokens; after them, row
 * t · batch + b is a token of what follows in sequence b, of prefix ⌊b / group⌋ (batch = prefixes · group). Prefixes end at
 * the same place; where they begin makes no difference to a rotation, which is relative.
 */
export function prefixContext({ prefixes, group, prefixTime, time, prefixMask }: PrefixLayout, tables: RopeTables): ModelContext {
  const batch = prefixes * group;
  const parts = [prefixTime * prefixes, time * batch] as const;
  const rows = parts[0] + parts[1];
  const at = constantInt64(Array.from({ length: rows }, (_, i) => (i < parts[0] ? Math.floor(i / prefixes) : prefixTime + Math.floor((i - parts[0]) / batch))), [rows, 1]);
  const rotate = rotatedAt(at, tables);
  const prefixesMask = paddedCausalMask(prefixTime, prefixMask);
  const mask = paddedCausalMask(time, concat([prefixMask, constant(new Float32Array(prefixes * time).fill(1), [prefixes, time])], 1));
  return {
    rows,
    foldGain: true,
    absorbed: false,
    rotate,
    attend: (_layer, projected, sizes) => {
      const apart = (x: Value): [Value, Value] => split(x, parts, 0) as [Value, Value];
      const [queries, keys, values] = rotatedApart(projected, sizes, rotate);
      const [[q0, q], [k0, k], [v0, v]] = [apart(queries), apart(keys), apart(values)];
      const whole = (prefix: Value, own: Value): Value => concat([eachInGroup(prefix, parts[0], group), own], 0);
      const ofPrefixes = attendByTime([q0, k0, v0], sizes, { batch: prefixes, time: prefixTime, keys: prefixTime, mask: prefixesMask });
      return concat([ofPrefixes, attendByTime([q, whole(k0, k), whole(v0, v)], sizes, { batch, time, keys: prefixTime + time, mask })], 0);
    },
  };
}

interface TimeLayout {
  readonly batch: number;
  readonly time: number;
  readonly keys: number;
  readonly mask?: Value | undefined;
  readonly blocks?: number | undefined;
}

/** q [time · batch, …] against k and v [keys · batch, …], ordered by time; the queries are those of the last keys. */
function attendByTime([q, k, v]: readonly [Value, Value, Value], { heads, kvHeads, dim, dimV, scale }: Heads, { batch, time, keys, mask, blocks = defaultBlocks(time) }: TimeLayout): Value {
  const lanes = (x: Value, count: number, n: number, d: number): Value => repeatHeads(reshape(x, [count, batch * n, d]), heads / n);
  const y = causalAttention(lanes(q, time, heads, dim), lanes(k, keys, kvHeads, dim), lanes(v, keys, kvHeads, dimV), { scale, blocks, ...(mask && { mask }) });
  return reshape(y, [time * batch, heads * dimV]);
}

/** x [rows, width] with each row `group` times, [rows · group, width]. */
export function eachInGroup(x: Value, rows: number, group: number): Value {
  const width = x.shape[1]!;
  return reshape(broadcastTo(reshape(x, [rows, 1, width]), [rows, group, width]), [rows * group, width]);
}

/** Queries, keys and values ready to meet. */
export function rotatedApart(projected: Projected, { heads, kvHeads, dim, dimV, rotated = false }: Heads, rotate: ModelContext["rotate"]): readonly [Value, Value, Value] {
  const [q, k, v = slice(k, 1, 0, dimV)] = "node" in projected ? (split(projected, [heads * dim, kvHeads * dim, kvHeads * dimV], 1) as [Value, Value, Value]) : projected;
  return rotated ? [rotate(q, heads, false), rotate(k, kvHeads, false), v] : [q, k, v];
}

function defaultBlocks(time: number): number {
  for (const blocks of [8, 4, 2]) if (time % blocks === 0 && time / blocks >= 64) return blocks;
  return 1;
}

/** Keys and values of every layer, [batch, heads, capacity, width] each, as `cacheShape` says. */
export interface CacheValues {
  readonly keys: readonly Value[];
  readonly values: readonly Value[];
}

export interface CacheShape {
  /** Heads of a layer's cache. */
  readonly heads: number;
  /** Of a key, and of a value: they share one, and the kernel wants a multiple of 8. */
  readonly width: number;
  /** Values are the beginnings of the keys: one memory serves as both. */
  readonly shared: boolean;
  /** Numbers that a token takes, over all layers. */
  readonly floatsPerToken: number;
}

/** What a model keeps of a token. Of DeepSeek-V3's attention it is the latent and the rotated key that all heads share. */
export function cacheShape(config: ModelConfig): CacheShape {
  const shared = config.model_type === "deepseek_v3";
  const heads = shared ? 1 : config.num_key_value_heads;
  const width = Math.ceil((shared ? config.kv_lora_rank + config.qk_rope_head_dim : config.head_dim) / 8) * 8;
  return { heads, width, shared, floatsPerToken: config.num_hidden_layers * heads * width * (shared ? 1 : 2) };
}

export interface CacheLayout {
  readonly batch: Dim;
  /** New tokens a row of the cache in this step: 1 when decoding. */
  readonly count: Dim;
  /** batch · count, under a name of its own where those are names. */
  readonly rows: Dim;
  /** int64 [batch, count]. */
  readonly positions: Value;
  /**
   * int32 [rows of the cache + 1]: where the new tokens of each begin among all, and where the last one's end. Then any row has any number of
   * them, and batch · count is that of all. Default: row b of the cache has those of batch b.
   */
  readonly cumulativeLengths?: Value | undefined;
  /** int32 [rows of the cache]: tokens of each row after this step, minus one. */
  readonly last: Value;
  /** int32 scalar: the longest row after this step. */
  readonly longest: Value;
  readonly cache: CacheValues;
}

/** Rows ordered by sequence: without cumulative lengths, row b · count + s is new token s of sequence b. `present` fills with the caches as written. */
export function cacheContext(layout: CacheLayout, tables: RopeTables): ModelContext & { readonly present: { keys: Value[]; values: Value[] } } {
  const { batch, count, rows, positions, cumulativeLengths, last, longest, cache } = layout;
  const [cos, sin] = tablesAsValues(tables);
  const byRow = (x: Value): Value => reshape(x, [batch, count, x.shape[1]!]);
  const present = { keys: [] as Value[], values: [] as Value[] };
  const rotate: ModelContext["rotate"] = (x, heads, interleaved) => reshape(rotary(byRow(x), positions, cos, sin, { heads, interleaved }), x.shape);
  return {
    rows,
    present,
    foldGain: false,
    absorbed: true,
    rotate,
    attend: (layer, projected, sizes) => {
      const { heads, kvHeads, dim, dimV, scale } = sizes;
      const width = sizeOf(cache.keys[layer]!.shape[3], "cacheContext");
      const past = { key: cache.keys[layer]!, value: cache.values[layer]!, last, longest, cumulativeLengths };
      const attended = (parts: readonly Value[], tables: readonly Value[]): Value => {
        const { out, presentKey, presentValue } = cachedAttention(parts.map(byRow), past, tables, { heads, kvHeads, scale });
        present.keys[layer] = presentKey;
        present.values[layer] = presentValue;
        return out;
      };
      // Where heads fill the cache's width, the kernel rotates (multiples of 16) and takes a packed projection apart itself.
      if (width === dim && width === dimV && width % 16 === 0 && sizes.rotated) return reshape(attended("node" in projected ? [projected] : projected.filter((x) => x !== undefined), [cos, sin]), [rows, heads * dimV]);
      const [q, k, v] = rotatedApart(projected, sizes, rotate);
      const keys = padHeads(k, rows, kvHeads, dim, width);
      // Where keys and values share their memory, the same is written as both.
      const shared = !("node" in projected) && projected.length === 2;
      const out = attended([padHeads(q, rows, heads, dim, width), keys, shared ? keys : padHeads(v, rows, kvHeads, dimV, width)], []);
      return width === dimV ? reshape(out, [rows, heads * dimV]) : reshape(slice(reshape(out, [rows, heads, width]), 2, 0, dimV), [rows, heads * dimV]);
    },
  };
}

/** x [rows, heads · from] with every head followed by zeros up to `to`. */
function padHeads(x: Value, rows: Dim, heads: number, from: number, to: number): Value {
  if (from === to) return x;
  const apart = reshape(x, [rows, heads, from]);
  const zero = mul(slice(apart, 2, 0, 1), constant(new Float32Array(to - from), [1, 1, to - from]));
  return reshape(concat([apart, zero], 2), [rows, heads * to]);
}

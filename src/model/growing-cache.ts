import { add, cast, concat, cumsum, less, lessOrEqual, matmul, reshape, rotary, softmax, transpose, where, type Dim, type Value } from "../tensor/index.ts";
import type { RopeTables } from "../nn/rope.ts";
import { rotatedApart, tablesAsValues, type CacheValues, type ModelContext } from "./context.ts";

export interface GrowingCacheLayout {
  readonly batch: Dim;
  /** New tokens a row in this step. */
  readonly count: Dim;
  /** batch · count, under a name of its own. */
  readonly rows: Dim;
  /** Names the tokens of the cache and of this step together. */
  readonly total: string;
  /** int64 [batch, count]: the place of each new token among the real tokens of its row. */
  readonly positions: Value;
  /** int64 [batch, total]: 1 for a real token, 0 for padding on the left. */
  readonly attentionMask: Value;
  /** [batch, kvHeads, past, dim] and [batch, kvHeads, past, dimV] a layer. */
  readonly cache: CacheValues;
}

// Far below any score, and still finite: a row of padding stays free of NaN.
const hidden = -1e9;

/**
 * Attention against a cache that every step makes longer, as `past_key_values` of transformers: rows [batch · count, hidden],
 * padded on the left. `present` fills with cache and new tokens, [batch, kvHeads, total, dim]. It copies the cache at each step
 * and uses plain products, so that every runtime has its kernels; the engine's own cache is `cacheContext`.
 */
export function growingCacheContext(layout: GrowingCacheLayout, tables: RopeTables): ModelContext & { readonly present: { keys: Value[]; values: Value[] } } {
  const { batch, count, rows, total, positions, cache } = layout;
  const [cos, sin] = tablesAsValues(tables);
  const rotate: ModelContext["rotate"] = (x, heads, interleaved) => reshape(rotary(reshape(x, [batch, count, x.shape[1]!]), positions, cos, sin, { heads, interleaved }), x.shape);
  const bias = visibility(layout);
  const present = { keys: [] as Value[], values: [] as Value[] };
  return {
    rows,
    present,
    foldGain: false,
    absorbed: false,
    rotate,
    attend: (layer, projected, sizes) => {
      const { heads, kvHeads, dim, dimV, scale } = sizes;
      const [q, k, v] = rotatedApart(projected, sizes, rotate);
      const extended = (past: Value, x: Value, width: number): Value => concat([past, transpose(reshape(x, [batch, count, kvHeads, width]), [0, 2, 1, 3])], 2, total);
      const key = (present.keys[layer] = extended(cache.keys[layer]!, k, dim));
      const value = (present.values[layer] = extended(cache.values[layer]!, v, dimV));
      const grouped = transpose(reshape(q, [batch, count, kvHeads, heads / kvHeads, dim]), [0, 2, 3, 1, 4]);
      const scores = add(matmul(grouped, reshape(key, [batch, kvHeads, 1, total, dim]), { transB: true, alpha: scale }), bias);
      const out = matmul(softmax(scores), reshape(value, [batch, kvHeads, 1, total, dimV]));
      return reshape(transpose(out, [0, 3, 1, 2, 4]), [rows, heads * dimV]);
    },
  };
}

/** 0 where a new token may attend, far below 0 elsewhere, [batch, 1, 1, count, total]: real tokens, none later than itself. */
function visibility({ batch, count, total, positions, attentionMask }: GrowingCacheLayout): Value {
  const real = cast(attentionMask, "float32");
  // Padding lies behind every position.
  const places = where(less(real, 0.5), -hidden, add(cumsum(real), -1));
  const visible = lessOrEqual(reshape(places, [batch, 1, total]), reshape(cast(positions, "float32"), [batch, count, 1]));
  return reshape(where(visible, 0, hidden), [batch, 1, 1, count, total]);
}

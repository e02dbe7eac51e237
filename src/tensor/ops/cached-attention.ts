import { applyAll, contrib, requireShape, sizeOf, type Op } from "../op.ts";
import type { NdArray } from "../nd-array.ts";
import type { TensorType, Value } from "../value.ts";

type Attributes = { readonly heads: number; readonly kvHeads: number; readonly scale: number };

/**
 * Causal attention of new tokens against a cache of fixed capacity, with grouped queries: q [batch, new, heads · dim], k and v
 * [batch, new, kvHeads · dim], caches [batch, kvHeads, capacity, dim], `last` int32 [batch] = tokens of each row after this
 * step − 1, `longest` int32 scalar = the longest row after this step. Gives [batch, new, heads · dim] and the caches with the
 * new keys and values in place.
 *
 * ONNX Runtime's GroupQueryAttention writes in place when a cache is bound as input and output at once, which is how the engine
 * runs it. Several new tokens are allowed for the first chunk of a row (right-padded to `new`), or at batch 1.
 */
export const cachedAttentionOp: Op<Attributes> = {
  name: "cachedAttention",
  infer: ([q, k, v, pastK, pastV], { heads, kvHeads }) => {
    const dim = sizeOf(pastK!.shape[3], "cachedAttention");
    requireShape(q!.shape[2] === heads * dim && k!.shape[2] === kvHeads * dim && v!.shape[2] === kvHeads * dim && heads % kvHeads === 0, "cachedAttention", [q!.shape, k!.shape, v!.shape], `heads of ${dim}`);
    return [q!, pastK!, pastV!];
  },
  vjp: "none",
  lower: (c) => {
    const { heads, kvHeads, scale } = c.attributes;
    const [q, k, v, pastK, pastV, last, longest] = c.inputs as [string, string, string, string, string, string, string];
    c.node("GroupQueryAttention", [q, k, v, pastK, pastV, last, longest], c.outputs, { num_heads: heads, kv_num_heads: kvHeads, scale: { float: scale }, do_rotary: 0, local_window_size: -1 }, contrib);
  },
  reference,
};

function reference(inputs: readonly NdArray[], { heads, kvHeads, scale }: Attributes, types: readonly TensorType[]): readonly NdArray[] {
  const [q, k, v, pastK, pastV, last] = inputs as [NdArray, NdArray, NdArray, NdArray, NdArray, NdArray];
  const [batch, count] = q.shape as [number, number];
  const [, , capacity, dim] = pastK.shape as [number, number, number, number];
  const keys = pastK.data.slice();
  const values = pastV.data.slice();
  const out = new Float64Array(q.data.length);
  for (let b = 0; b < batch; b++) {
    const total = last.data[b]! + 1;
    const start = total >= count ? total - count : 0; // a right-padded first chunk starts at 0
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
  return [{ shape: q.shape, dtype: types[0]!.dtype, data: out }, { ...pastK, data: keys }, { ...pastV, data: values }];
}

export interface CachedAttention {
  readonly out: Value;
  readonly presentKey: Value;
  readonly presentValue: Value;
}

export function cachedAttention(q: Value, k: Value, v: Value, cache: { key: Value; value: Value; last: Value; longest: Value }, attributes: Attributes): CachedAttention {
  const [out, presentKey, presentValue] = applyAll(cachedAttentionOp, [q, k, v, cache.key, cache.value, cache.last, cache.longest], attributes) as [Value, Value, Value];
  return { out, presentKey, presentValue };
}

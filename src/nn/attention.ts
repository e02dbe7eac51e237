import { add, broadcastTo, concat, constant, customVjp, matmul, mul, reshape, slice, softmax, split, sub, sum, transpose, type Value } from "../tensor/index.ts";
import { requireShape, sizeOf } from "../tensor/op.ts";

export interface CausalAttentionOptions {
  /** Factor on q · k before the softmax. */
  readonly scale: number;
  /**
   * Query blocks; block i sees only the keys up to its own end, so that the work above the diagonal falls from a half to
   * 1/(2·blocks) of the square. Must divide the time.
   */
  readonly blocks: number;
  /** [lanes, 1, time], added to the scores: 0 keeps a key, a large negative number hides it. */
  readonly keyBias?: Value;
}

// Far below any score, and still finite: a row with every key hidden stays free of NaN.
const hidden = -1e9;

/**
 * Causal softmax attention, ordered by time: q [time, lanes, dim], k [time, lanes, dim], v [time, lanes, dimV], where a lane is
 * one head of one sequence, to [time, lanes, dimV]. Time comes first so that no operand and no gradient is transposed before a
 * product (matmul's transBatch).
 *
 * The gradient uses Σⱼ dPᵢⱼ Pᵢⱼ = dYᵢ · Yᵢ (Dao et al., FlashAttention, eq. 4), which is a sum over dimV instead of time.
 */
export function causalAttention(q: Value, k: Value, v: Value, { scale, blocks, keyBias }: CausalAttentionOptions): Value {
  const time = sizeOf(q.shape[0], "causalAttention");
  requireShape(time % blocks === 0, "causalAttention", time, `a time that ${blocks} blocks divide`);
  const width = time / blocks;
  const widths = new Array<number>(blocks).fill(width);
  const part = (i: number, query: Value) => {
    const keys = slice(k, 0, 0, (i + 1) * width);
    const values = slice(v, 0, 0, (i + 1) * width);
    const scores = add(matmul(query, keys, { transBatchA: true, transBatchB: true, transB: true, alpha: scale }), causalMask(width, i));
    const p = softmax(keyBias ? add(scores, slice(keyBias, 2, 0, (i + 1) * width)) : scores);
    return { query, keys, values, p, y: swapLanes(matmul(p, values, { transBatchB: true })) };
  };
  let parts: ReturnType<typeof part>[];
  const forward = (): Value[] => {
    parts = split(q, widths, 0).map((query, i) => part(i, query));
    return [concat(parts.map((p) => p.y), 0)];
  };
  const backward = ([dy]: readonly (Value | null)[], [y]: readonly Value[]): Value[] => {
    const dys = split(dy!, widths, 0);
    const deltas = split(sum(mul(dy!, y!), [2]), widths, 0).map(swapLanes);
    const gradients = parts.map(({ query, keys, values, p }, i) => {
      const dScores = mul(sub(matmul(dys[i]!, values, { transBatchA: true, transBatchB: true, transB: true }), deltas[i]!), p);
      return {
        dq: swapLanes(matmul(dScores, keys, { transBatchB: true, alpha: scale })),
        dk: swapLanes(matmul(dScores, query, { transA: true, transBatchB: true, alpha: scale })),
        dv: swapLanes(matmul(p, dys[i]!, { transA: true, transBatchB: true })),
      };
    });
    return [concat(gradients.map((g) => g.dq), 0), sumPrefixes(gradients.map((g) => g.dk), width), sumPrefixes(gradients.map((g) => g.dv), width)];
  };
  return customVjp([q, k, v], forward, backward)[0]!;
}

/** [a, b, c] → [b, a, c]. */
const swapLanes = (x: Value): Value => transpose(x, [1, 0, 2]);

/** Mask of query block i against the keys up to its end, [width, (i + 1) · width]. */
function causalMask(width: number, i: number): Value {
  const keys = (i + 1) * width;
  return constant(Float32Array.from({ length: width * keys }, (_, at) => (at % keys > i * width + Math.floor(at / keys) ? hidden : 0)), [width, keys]);
}

/** Block i holds gradients for the first (i + 1) · width rows; adds them up row by row. */
function sumPrefixes(prefixes: readonly Value[], width: number): Value {
  const pieces = prefixes.map((x, i) => split(x, new Array<number>(i + 1).fill(width), 0));
  return concat(pieces.map((_, j) => pieces.slice(j).map((p) => p[j]!).reduce((a, b) => add(a, b))), 0);
}

/** Repeats key or value heads for grouped queries: [time, batch · kvHeads, dim] → [time, batch · heads, dim]. */
export function repeatHeads(x: Value, groups: number): Value {
  if (groups === 1) return x;
  const [time, lanes, dim] = x.shape.map((d) => sizeOf(d, "repeatHeads")) as [number, number, number];
  return reshape(broadcastTo(reshape(x, [time, lanes, 1, dim]), [time, lanes, groups, dim]), [time, lanes * groups, dim]);
}

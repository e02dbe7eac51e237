import { add, broadcastTo, concat, constant, customVjp, matmul, mul, ownKernel, reshape, slice, softmax, split, sub, sum, transpose, type Value } from "../tensor/index.ts";
import { requireShape, sizeOf } from "../tensor/op.ts";

export interface CausalAttentionOptions {
  /** Factor on q · k before the softmax. */
  readonly scale: number;
  /**
   * Query blocks; block i sees only the keys up to its own end, so that the work above the diagonal falls from a half to
   * 1/(2·blocks) of the square. Must divide the time.
   */
  readonly blocks: number;
  /**
   * [n, time, keys], added to the scores of lanes / n consecutive lanes each: 0 keeps a key, a large negative number hides it. It says
   * of every key whether it is hidden, of those to come too. Default: those to come.
   */
  readonly mask?: Value;
}

// Far below any score, and still finite: a row with every key hidden stays free of NaN.
const hidden = -1e9;

// Elements of a head that our kernel takes at once (kernels/causal-attention.h).
const ownMultiple = 16;

/**
 * Causal softmax attention, ordered by time: q [time, lanes, dim], k [keys, lanes, dim], v [keys, lanes, dimV], where a lane is
 * one head of one sequence and the queries are those of the last keys, to [time, lanes, dimV]. Time comes first so that no operand
 * and no gradient is transposed before a product (matmul's transBatch).
 *
 * Our own kernel keeps a lane's scores in a cache, and its backward pass computes them once more. To a query that sees no key at all it
 * gives other numbers, as finite.
 *
 * The gradient uses Σⱼ dPᵢⱼ Pᵢⱼ = dYᵢ · Yᵢ (Dao et al., FlashAttention, eq. 4), which is a sum over dimV instead of time.
 */
export function causalAttention(q: Value, k: Value, v: Value, { scale, blocks, mask }: CausalAttentionOptions): Value {
  const [time, keys] = [q, k].map((x) => sizeOf(x.shape[0], "causalAttention")) as [number, number];
  requireShape(time % blocks === 0 && time <= keys, "causalAttention", [time, keys], `a time that ${blocks} blocks divide, and a key for each query`);
  const width = time / blocks;
  const widths = new Array<number>(blocks).fill(width);
  const part = (i: number, query: Value) => {
    const seen = keys - time + (i + 1) * width;
    const [keysSeen, values] = [slice(k, 0, 0, seen), slice(v, 0, 0, seen)];
    const hide = mask ? slice(slice(mask, 1, i * width, width), 2, 0, seen) : causalMask(width, seen);
    const p = softmax(addToLanes(matmul(query, keysSeen, { transBatchA: true, transBatchB: true, transB: true, alpha: scale }), hide));
    return { query, keys: keysSeen, values, p, y: swapLanes(matmul(p, values, { transBatchB: true })) };
  };
  let parts: ReturnType<typeof part>[];
  const ours = (operator: string, inputs: readonly (Value | null)[], plain: readonly Value[]): readonly Value[] => ([q, v].every((x) => sizeOf(x.shape[2], "causalAttention") % ownMultiple === 0) ? ownKernel(operator, inputs, { scale }, plain) : plain);
  const forward = (): readonly Value[] => {
    parts = split(q, widths, 0).map((query, i) => part(i, query));
    return ours("CausalAttention", [q, k, v, mask ?? null], [concat(parts.map((p) => p.y), 0)]);
  };
  const backward = ([dy]: readonly (Value | null)[], [y]: readonly Value[]): readonly Value[] => {
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
    const pieces = [keys - time + width, ...widths.slice(1)];
    return ours("CausalAttentionGradient", [q, k, v, dy!, mask ?? null], [concat(gradients.map((g) => g.dq), 0), sumPrefixes(gradients.map((g) => g.dk), pieces), sumPrefixes(gradients.map((g) => g.dv), pieces)]);
  };
  return customVjp([q, k, v], forward, backward)[0]!;
}

/** [a, b, c] → [b, a, c]. */
const swapLanes = (x: Value): Value => transpose(x, [1, 0, 2]);

/** Scores [lanes, time, keys] with each of a mask's parts [n, time, keys] added to its lanes / n. */
function addToLanes(scores: Value, mask: Value): Value {
  const [lanes, time, keys] = scores.shape.map((d) => sizeOf(d, "causalAttention")) as [number, number, number];
  const n = sizeOf(mask.shape[0], "causalAttention");
  if (n === 1 || n === lanes) return add(scores, n === 1 ? reshape(mask, [time, keys]) : mask);
  return reshape(add(reshape(scores, [n, lanes / n, time, keys]), reshape(mask, [n, 1, time, keys])), scores.shape);
}

/** [1, time, keys] for the queries of the last keys: each sees those up to its own. */
export function causalMask(time: number, keys: number): Value {
  return constant(Float32Array.from({ length: time * keys }, (_, at) => (at % keys > keys - time + Math.floor(at / keys) ? hidden : 0)), [1, time, keys]);
}

/** `causalMask` of keys of which some are padding, [n, time, keys]. @param real [n, keys]: 1, and 0 for padding */
export function paddedCausalMask(time: number, real: Value): Value {
  const [n, keys] = real.shape.map((d) => sizeOf(d, "paddedCausalMask")) as [number, number];
  return add(causalMask(time, keys), reshape(mul(add(real, -1), -hidden), [n, 1, keys]));
}

/** Block i holds gradients for the rows of the first i + 1 pieces; adds them up row by row. */
function sumPrefixes(prefixes: readonly Value[], widths: readonly number[]): Value {
  const pieces = prefixes.map((x, i) => split(x, widths.slice(0, i + 1), 0));
  return concat(pieces.map((_, j) => pieces.slice(j).map((p) => p[j]!).reduce((a, b) => add(a, b))), 0);
}

/** Repeats key or value heads for grouped queries: [time, batch · kvHeads, dim] → [time, batch · heads, dim]. */
export function repeatHeads(x: Value, groups: number): Value {
  if (groups === 1) return x;
  const [time, lanes, dim] = x.shape.map((d) => sizeOf(d, "repeatHeads")) as [number, number, number];
  return reshape(broadcastTo(reshape(x, [time, lanes, 1, dim]), [time, lanes, groups, dim]), [time, lanes * groups, dim]);
}

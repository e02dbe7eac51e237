import { add, broadcastTo, concat, div, matmul, mean, mul, putAlong, reshape, sigmoid, softmax, stopGradient, sum, sumAll, takeAlong, topK, where, less, type Dim, type Value } from "../tensor/index.ts";
import { sizeOf } from "../tensor/op.ts";
import { swiglu } from "./swiglu.ts";

/** Which experts serve each row, and how much: indices [rows, k] int64, weights [rows, k], scores [rows, experts]. */
export interface Routing {
  readonly indices: Value;
  readonly weights: Value;
  /** Scores before selection, over all experts: what balance losses read. */
  readonly scores: Value;
}

// Below every biased score; finite, so that a mask never meets infinity minus infinity.
const rejected = -1e30;

/** Qwen3-MoE's router: softmax over all experts, the k best, renormalised where the configuration says so. */
export function softmaxRouting(logits: Value, k: number, normalize: boolean): Routing {
  const scores = softmax(logits);
  const { indices } = topK(stopGradient(scores), k);
  const chosen = takeAlong(scores, indices);
  return { indices, scores, weights: normalize ? div(chosen, sum(chosen, [-1])) : chosen };
}

export interface GroupedRoutingOptions {
  readonly num_experts_per_tok: number;
  readonly n_group: number;
  readonly topk_group: number;
  readonly norm_topk_prob: boolean;
  readonly routed_scaling_factor: number;
}

/**
 * DeepSeek-V3's router (arXiv 2412.19437, section 2.1.2): sigmoid scores; groups ranked by the sum of their two best biased
 * scores; experts of rejected groups masked; the k best chosen by biased score and weighed by the unbiased one. The bias
 * [experts] takes part in the choice only, so no gradient reaches it.
 */
export function groupedSigmoidRouting(logits: Value, bias: Value, options: GroupedRoutingOptions): Routing {
  const [rows] = logits.shape as [Dim, Dim];
  const experts = sizeOf(logits.shape[1], "groupedSigmoidRouting");
  const { n_group, topk_group } = options;
  const scores = sigmoid(logits);
  const biased = stopGradient(add(scores, bias));
  const perGroup = experts / n_group;
  const best = topK(reshape(biased, [typeof rows === "number" ? rows * n_group : "groups", perGroup]), Math.min(2, perGroup)).values;
  const groupScores = reshape(sum(best, [-1]), [rows, n_group]);
  const top = topK(groupScores, topk_group);
  const kept = putAlong(groupScores, top.indices, onesLike(top.values));
  const mask = reshape(broadcastTo(reshape(kept, [rows, n_group, 1]), [rows, n_group, perGroup]), [rows, experts]);
  const { indices } = topK(where(less(mask, 0.5), rejected, biased), options.num_experts_per_tok);
  const chosen = takeAlong(scores, indices);
  const normalized = options.norm_topk_prob ? div(chosen, add(sum(chosen, [-1]), 1e-20)) : chosen;
  return { indices, scores, weights: mul(normalized, options.routed_scaling_factor) };
}

/** Weights of one expert, [inner, dim], [inner, dim], [dim, inner]. */
export interface ExpertWeights {
  readonly gate: Value;
  readonly up: Value;
  readonly down: Value;
}

/**
 * Σ over experts of weight · expert(x), x [rows, dim]. All experts are computed as three products over their concatenated
 * weights and unchosen ones multiplied by zero: for a handful of small experts that is less work than gathering rows, no token
 * is ever dropped, and it differentiates like any dense layer.
 */
export function mixture(x: Value, { indices, weights, scores }: Routing, experts: readonly ExpertWeights[]): Value {
  const inner = sizeOf(experts[0]!.gate.shape[0], "mixture");
  const rows = x.shape[0]!;
  const stacked = (pick: (e: ExpertWeights) => Value, axis: number): Value => concat(experts.map(pick), axis);
  const activated = swiglu(matmul(x, stacked((e) => e.gate, 0), { transB: true }), matmul(x, stacked((e) => e.up, 0), { transB: true }));
  const dense = putAlong(scores, indices, weights);
  const weighed = mul(reshape(activated, [rows, experts.length, inner]), reshape(dense, [rows, experts.length, 1]));
  return matmul(reshape(weighed, [rows, experts.length * inner]), stacked((e) => e.down, 1), { transB: true });
}

/** How often each expert was chosen, [experts], over all rows. */
export function expertLoad(routing: Routing): Value {
  return reshape(sum(choices(routing), [0]), [routing.scores.shape[1]!]);
}

/** 1 where a row chose an expert, else 0, [rows, experts]. */
const choices = ({ indices, weights, scores }: Routing): Value => putAlong(scores, indices, onesLike(weights));

/** Ones in the shape of finite `x`, which may have a named dimension. */
const onesLike = (x: Value): Value => add(mul(x, 0), 1);

/**
 * Switch-style load-balancing loss as transformers computes it over all sparse layers: experts · Σᵢ fᵢ Pᵢ, where f is the share
 * of choices and P the mean probability, over the rows of every layer together.
 */
export function loadBalancingLoss(routings: readonly Routing[]): Value {
  const experts = sizeOf(routings[0]!.scores.shape[1], "loadBalancingLoss");
  const scores = concat(routings.map((r) => r.scores), 0);
  const chosen = concat(routings.map(choices), 0);
  return mul(sumAll(mul(mean(chosen, [0]), mean(scores, [0]))), experts);
}

/**
 * DeepSeek-V3's sequence-wise balance loss, before its coefficient (eq. 17 to 20): mean over sequences of Σᵢ fᵢ Pᵢ with
 * fᵢ = experts / (k · time) · (choices of i) and Pᵢ the mean of the scores divided by their sum. Rows are ordered by time:
 * [time · batch]. The choices are those made (with the bias), as in common implementations.
 */
export function sequenceBalanceLoss(routing: Routing, batch: number): Value {
  const { indices, scores } = routing;
  const [rows, experts] = scores.shape.map((d) => sizeOf(d, "sequenceBalanceLoss")) as [number, number];
  const time = rows / batch;
  const k = sizeOf(indices.shape[1], "sequenceBalanceLoss");
  const bySequence = (x: Value): Value => mean(reshape(x, [time, batch, experts]), [0]);
  const f = mul(bySequence(choices(routing)), experts / k);
  const p = bySequence(div(scores, sum(scores, [-1])));
  return mul(sumAll(mul(f, p)), 1 / batch);
}

/**
 * The router bias after a step (section 2.1.2): raised by `speed` for experts with less than the mean load, lowered for those
 * with more. Plain numbers: it is no part of the gradient.
 */
export function updateRouterBias(bias: Float32Array, load: ArrayLike<number>, speed: number): Float32Array {
  let total = 0;
  for (let i = 0; i < load.length; i++) total += load[i]!;
  return bias.map((b, i) => b + speed * Math.sign(total / load.length - load[i]!));
}


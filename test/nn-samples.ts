import { add, concat, constant, constantInt64, matmul, mul, reshape, softmax, type NdArray, type Value } from "../src/tensor/index.ts";
import { causalAttention, causalMask, entropy, groupedSigmoidRouting, loadBalancingLoss, logprobsFromLogits, mixture, normed, repeatHeads, rmsNorm, sequenceBalanceLoss, softmaxRouting, swiglu, tokenLogprobs } from "../src/nn/index.ts";
import { random } from "../src/random/index.ts";
import { ndArray } from "../src/tensor/nd-array.ts";
import type { OpSample } from "./op-samples.ts";

const stream = random("nn samples");
const real = (...shape: number[]): NdArray => ndArray(shape, () => stream.normal());
const sample = (op: string, inputs: readonly NdArray[], build: (...inputs: Value[]) => Value | readonly Value[]): OpSample => ({
  op,
  inputs,
  build: (values) => {
    const out = build(...values);
    return Array.isArray(out) ? out : [out as Value];
  },
});

const qkv = (keys = 4): NdArray[] => [real(4, 3, 2), real(keys, 3, 2), real(keys, 3, 3)];
const attention = (blocks: number, mask?: Value) => (q: Value, k: Value, v: Value) => causalAttention(q, k, v, { scale: 0.7, blocks, ...(mask && { mask }) });
// Finite: a large negative number would drown the differences.
const bias = (): Value => constant(Float32Array.from({ length: 12 }, (_, i) => (i % 5 === 0 ? -3 : 0)), [3, 1, 4]);
const targets = (): Value => constantInt64([1, 4, 1]);
const experts = (w: Value) => [0, 1, 2].map((j) => ({ gate: slab(w, j, 0), up: slab(w, j, 1), down: reshape(slab(w, j, 2), [3, 2]) }));
// [3 experts · 3 matrices, 2 · 3] → matrix m of expert j, [2, 3].
const slab = (w: Value, j: number, m: number): Value => reshape(matmul(constant(Float32Array.from({ length: 9 }, (_, i) => Number(i === j * 3 + m)), [1, 9]), w), [2, 3]);

/** Layers with gradients of their own, or made of ops in ways that could go wrong: the same test as for ops. */
export const nnSamples: readonly OpSample[] = [
  sample("causalAttention, one block", qkv(), attention(1)),
  sample("causalAttention, two blocks", qkv(), attention(2)),
  sample("causalAttention, four blocks and a bias on keys", qkv(), (q, k, v) => attention(4, add(causalMask(4, 4), bias()))(q, k, v)),
  sample("causalAttention, two blocks after a prefix", qkv(6), attention(2)),
  sample("causalAttention, one mask for all lanes", qkv(), (q, k, v) => attention(1, causalMask(4, 4))(q, k, v)),
  sample("repeatHeads", [real(2, 2, 3)], (x) => repeatHeads(x, 2)),
  sample("swiglu", [real(2, 3), real(2, 3)], swiglu),
  sample("rmsNorm", [real(2, 3), real(3)], (x, gain) => rmsNorm(x, gain, 1e-5)),
  sample("normed, folded", [real(2, 3), real(3), real(4, 3)], (x, gain, w) => normed(x, gain, 1e-5, true)(w)),
  sample("normed, not folded", [real(2, 3), real(3), real(4, 3), real(4)], (x, gain, w, b) => normed(x, gain, 1e-5, false)(w, b)),
  sample("tokenLogprobs", [real(3, 2), real(5, 2)], (h, table) => tokenLogprobs(h, table, targets()).logprobs),
  sample("tokenLogprobs, a large vocabulary", [real(3, 2), real(7, 2)], (h, table) => tokenLogprobs(h, table, targets()).logprobs),
  sample("tokenLogprobs, weights of both signs", [real(3, 2), real(5, 2)], (h, table) => mul(tokenLogprobs(h, table, targets()).logprobs, constant(Float32Array.of(2, -1, 0), [3, 1]))),
  sample("logprobsFromLogits", [real(3, 5)], (z) => logprobsFromLogits(z, targets())),
  sample("entropy", [real(3, 5)], (z) => entropy(softmax(z))),
  sample("softmaxRouting", [real(3, 6)], (z) => softmaxRouting(z, 2, true).weights),
  sample("groupedSigmoidRouting", [real(3, 6)], (z) => groupedSigmoidRouting(z, constant(Float32Array.of(0.1, -0.2, 0, 0.3, 0, 0.05)), { num_experts_per_tok: 2, n_group: 3, topk_group: 2, norm_topk_prob: true, routed_scaling_factor: 2.5 }).weights),
  sample("mixture", [real(4, 3), real(4, 3), real(9, 6)], (x, z, w) => mixture(x, softmaxRouting(z, 2, true), experts(w))),
  sample("sequenceBalanceLoss", [real(4, 6)], (z) => sequenceBalanceLoss(groupedSigmoidRouting(z, constant(new Float32Array(6)), { num_experts_per_tok: 2, n_group: 1, topk_group: 1, norm_topk_prob: true, routed_scaling_factor: 1 }), 2)),
  sample("loadBalancingLoss", [real(4, 6)], (z) => loadBalancingLoss([softmaxRouting(z, 2, true), softmaxRouting(concat([z], 0), 3, false)])),
];

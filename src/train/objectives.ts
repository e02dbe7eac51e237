import { LongjingError } from "../errors/index.ts";
import { entropy, tokenLogprobs } from "../nn/losses.ts";
import { add, argmax, cast, constant, constantInt64, div, equal, exp, less, lessOrEqual, log, logSoftmax, maximum, mean, minimum, mul, neg, reduceMax, reshape, stopGradient, sub, sum, sumAll, topK, where, type Value } from "../tensor/index.ts";
import { requireShape, sameShape, sizeOf } from "../tensor/op.ts";

export type LossType = "grpo" | "bnpo" | "dr_grpo" | "dapo" | "cispo";
export type KlEstimator = "k1" | "k2" | "k3";

/** What is known when the step is traced. Names and meanings are those of TRL's GRPOConfig. */
export interface PolicyLossOptions {
  readonly loss_type: LossType;
  /** One ratio for each token, or the geometric mean of the completion's (GSPO, arXiv 2507.18071). */
  readonly importance_sampling_level: "token" | "sequence";
  readonly epsilon: number;
  /** The upper bound's own epsilon (clip-higher); null = epsilon. For cispo it is the bound of the ratio itself. */
  readonly epsilon_high: number | null;
  /** Bound of the ratio where the advantage is negative (dual clip); null = none. */
  readonly delta: number | null;
  /** Factor of the KL term; 0 leaves it out. */
  readonly beta: number;
  readonly kl_estimator: KlEstimator;
  /** Multiplies the KL of each token by the ratio, which makes its gradient unbiased off-policy (DeepSeek-V3.2, arXiv 2512.02556). */
  readonly use_bias_correction_kl: boolean;
  /** Trains on this share of the tokens, those of highest entropy (arXiv 2506.01939); 1 = all. */
  readonly top_entropy_quantile: number;
  /** In tokens: what dr_grpo divides by. */
  readonly max_completion_length: number;
  readonly gradient_accumulation_steps: number;
}

export const policyLossDefaults: Omit<PolicyLossOptions, "max_completion_length"> = {
  loss_type: "dapo",
  importance_sampling_level: "token",
  epsilon: 0.2,
  epsilon_high: null,
  delta: null,
  beta: 0,
  kl_estimator: "k3",
  use_bias_correction_kl: true,
  top_entropy_quantile: 1,
  gradient_accumulation_steps: 1,
};

/** Natural-log probabilities of the completions' tokens and what weighs them, [time, batch]; masked places may hold anything finite. */
export interface PolicyLossInputs {
  readonly per_token_logps: Value;
  /** Of the policy that sampled; absent when it is this one, before any step: the ratio is then 1 with a gradient. */
  readonly old_per_token_logps?: Value | undefined;
  /** Of the reference policy; needed where beta is not 0. */
  readonly ref_per_token_logps?: Value | undefined;
  /** In nats, for the report and for `top_entropy_quantile`. */
  readonly entropies?: Value | undefined;
  /** 1 for a token of the completion, 0 elsewhere. */
  readonly mask: Value;
  /** [batch] or [1, batch] */
  readonly advantages: Value;
  /** Scalar: completion tokens of all micro-batches of the step, for dapo and cispo. Default: those of this batch. */
  readonly num_items_in_batch?: Value | undefined;
  /** Scalar: completions of all micro-batches of the step, for grpo and dr_grpo, where some places hold none. Default: the places of all. */
  readonly num_completions_in_batch?: Value | undefined;
  /** Scalar: micro-batches of the step, for bnpo. Default: `gradient_accumulation_steps`. */
  readonly num_micro_batches?: Value | undefined;
}

export interface Objective {
  /** Scalar, to be minimised. */
  readonly loss: Value;
  /** Scalars under TRL's names. */
  readonly metrics: Readonly<Record<string, Value>>;
  /** What else a stage reads after each step, of any shape. */
  readonly statistics?: Readonly<Record<string, Value>>;
}

interface Terms {
  readonly logps: Value;
  /** [time, batch], or [1, batch] at sequence level. */
  readonly ratio: Value;
  readonly advantages: Value;
  readonly options: PolicyLossOptions;
}

/** Cost of each token, and 1 where its ratio was beyond a bound that its advantage points to, else 0. */
interface Surrogate {
  readonly cost: Value;
  readonly low: Value | null;
  readonly high: Value;
}

/** What each token costs, and how the tokens are weighed: the two places where the losses differ. */
interface Formula {
  readonly surrogate: (terms: Terms) => Surrogate;
  readonly weight: (inputs: PolicyLossInputs, options: PolicyLossOptions) => Value;
}

const tokens = (mask: Value): Value => maximum(sumAll(mask), 1);
const batchSize = ({ mask }: PolicyLossInputs): number => sizeOf(mask.shape[1], "policyLoss");
const completions = (inputs: PolicyLossInputs, { gradient_accumulation_steps }: PolicyLossOptions): Value => inputs.num_completions_in_batch ?? constant(batchSize(inputs) * gradient_accumulation_steps);
const globalTokens = (inputs: PolicyLossInputs): Value => div(1, inputs.num_items_in_batch ? maximum(inputs.num_items_in_batch, 1) : tokens(inputs.mask));

const formulas: Readonly<Record<LossType, Formula>> = {
  // DeepSeekMath, arXiv 2402.03300: every completion counts the same.
  grpo: { surrogate: clippedRatio, weight: (inputs, o) => div(div(1, completions(inputs, o)), maximum(sum(inputs.mask, [0]), 1)) },
  // Every token of the micro-batch counts the same.
  bnpo: { surrogate: clippedRatio, weight: (inputs, o) => div(div(1, inputs.num_micro_batches ?? constant(o.gradient_accumulation_steps)), tokens(inputs.mask)) },
  // Dr. GRPO, arXiv 2503.20783: a constant, so that no length is favoured.
  dr_grpo: { surrogate: clippedRatio, weight: (inputs, o) => div(1, mul(completions(inputs, o), o.max_completion_length)) },
  // DAPO, arXiv 2503.14476: every token of the step counts the same.
  dapo: { surrogate: clippedRatio, weight: globalTokens },
  // MiniMax-M1, arXiv 2506.13585: the ratio is bounded, but no token loses its gradient.
  cispo: { surrogate: boundedWeight, weight: globalTokens },
};

/**
 * The policy-gradient losses of group-relative reinforcement learning: Σ over tokens of weight · (surrogate + beta · KL), with
 * the metrics kl, entropy, clip_ratio/* (cispo: cispo_clip_ratio) and sampling/importance_sampling_ratio/*.
 * @throws LongjingError "bad_argument" where an option needs an input that is not there; "shape_mismatch"
 */
export function policyLoss(inputs: PolicyLossInputs, options: PolicyLossOptions): Objective {
  const { per_token_logps: logps, mask, advantages, entropies } = inputs;
  requireShape(logps.shape.length === 2 && sameShape(logps.shape, mask.shape), "policyLoss", [logps.shape, mask.shape], "per_token_logps and mask of one shape [time, batch]");
  const bySequence = options.importance_sampling_level === "sequence";
  const logRatio = mul(sub(logps, inputs.old_per_token_logps ?? stopGradient(logps)), mask);
  const ratio = exp(bySequence ? div(sum(logRatio, [0]), maximum(sum(mask, [0]), 1)) : logRatio);
  const { surrogate, weight } = formulas[options.loss_type];
  const { cost, low, high } = surrogate({ logps, ratio, advantages, options });
  const kl = options.beta === 0 ? null : perTokenKl(inputs, ratio, options);
  const trained = options.top_entropy_quantile < 1 ? mul(cost, highEntropy(inputs, options.top_entropy_quantile)) : cost;
  const penalised = kl ? add(trained, mul(kl, options.beta)) : trained;

  // Where there is one ratio a completion, every completion counts once.
  const counted = bySequence ? constant(new Float32Array(batchSize(inputs)).fill(1), [1, batchSize(inputs)]) : mask;
  return {
    loss: sumAll(mul(penalised, mul(mask, weight(inputs, options)))),
    metrics: {
      ...(kl && { kl: maskedMean(kl, mask) }),
      ...(entropies && { entropy: maskedMean(entropies, mask) }),
      ...clipMetrics(low, high, counted),
      ...ratioMetrics(ratio, counted),
    },
  };
}

/** −min(r A, clip(r) A): PPO's pessimistic bound. */
function clippedRatio({ ratio, advantages, options: { epsilon, epsilon_high, delta } }: Terms): Surrogate {
  const [low, high] = [1 - epsilon, 1 + (epsilon_high ?? epsilon)];
  const bounded = delta === null ? ratio : minimum(ratio, delta);
  const cost = neg(minimum(mul(bounded, advantages), mul(minimum(maximum(ratio, low), high), advantages)));
  return { cost, low: both(less(bounded, low), less(advantages, 0)), high: both(less(high, bounded), less(0, advantages)) };
}

/** −sg(min(r, bound)) A log π: REINFORCE with a bounded importance weight. */
function boundedWeight({ logps, ratio, advantages, options: { epsilon, epsilon_high } }: Terms): Surrogate {
  const bound = epsilon_high ?? epsilon;
  const cost = neg(mul(mul(stopGradient(minimum(ratio, bound)), advantages), logps));
  return { cost, low: null, high: both(less(bound, ratio), less(0, advantages)) };
}

const both = (a: Value, b: Value): Value => mul(cast(a, "float32"), cast(b, "float32"));

/** Estimators of KL(π‖reference) from one sample, with d = log reference − log π (Schulman, "Approximating KL divergence"). */
const klEstimators: Readonly<Record<KlEstimator, (d: Value) => Value>> = {
  k1: neg,
  k2: (d) => mul(mul(d, d), 0.5),
  k3: (d) => sub(sub(exp(d), d), 1),
};

function perTokenKl({ per_token_logps, ref_per_token_logps, mask }: PolicyLossInputs, ratio: Value, { kl_estimator, use_bias_correction_kl, beta }: PolicyLossOptions): Value {
  if (!ref_per_token_logps) throw new LongjingError("bad_argument", "a KL term needs the reference policy's log-probabilities", { where: "policyLoss", got: { beta }, expected: "ref_per_token_logps, or beta 0" });
  const kl = klEstimators[kl_estimator](mul(sub(ref_per_token_logps, per_token_logps), mask));
  return use_bias_correction_kl ? mul(kl, ratio) : kl;
}

// A quantile that falls on a token keeps it, whatever the rounding of its place.
const roundingSlack = 1 + 1e-6;

/**
 * 1 for the tokens whose entropy reaches the (1 − share) quantile over all unmasked tokens, 0 for the others. The quantile that
 * interpolates between two tokens parts them just as the upper of the two does, so that one is the threshold.
 */
function highEntropy({ entropies, mask }: PolicyLossInputs, share: number): Value {
  if (!entropies) throw new LongjingError("bad_argument", "choosing tokens by entropy needs their entropies", { where: "policyLoss", got: { top_entropy_quantile: share }, expected: "entropies, or top_entropy_quantile 1" });
  const count = mask.shape.reduce<number>((n, d) => n * sizeOf(d, "policyLoss"), 1);
  const real = where(less(mask, 0.5), -1, entropies);
  const descending = topK(reshape(real, [1, count]), count).values;
  const places = constant(Float32Array.from({ length: count }, (_, i) => i), [1, count]);
  const kept = lessOrEqual(places, mul(sub(tokens(mask), 1), share * roundingSlack));
  const threshold = neg(reduceMax(where(kept, neg(descending), -1e30)));
  return cast(lessOrEqual(threshold, real), "float32");
}

const maskedMean = (x: Value, mask: Value): Value => div(sumAll(mul(x, mask)), tokens(mask));

/** The largest of the values that `mask` counts. The others read as the mean, which is never beyond an extreme. */
const maskedMax = (x: Value, mask: Value): Value => reduceMax(where(less(mask, 0.5), maskedMean(x, mask), x), undefined, { keepdims: false });
const maskedMin = (x: Value, mask: Value): Value => neg(maskedMax(neg(x), mask));

const ratioMetrics = (ratio: Value, counted: Value): Record<string, Value> => ({
  "sampling/importance_sampling_ratio/min": maskedMin(ratio, counted),
  "sampling/importance_sampling_ratio/mean": maskedMean(ratio, counted),
  "sampling/importance_sampling_ratio/max": maskedMax(ratio, counted),
});

/** Shares of clipped ratios; low_min and high_max are those of single completions. */
function clipMetrics(low: Value | null, high: Value, counted: Value): Record<string, Value> {
  if (low === null) return { cispo_clip_ratio: maskedMean(high, counted) };
  const lengths = sum(counted, [0]);
  const share = (x: Value): Value => div(sum(mul(x, counted), [0]), maximum(lengths, 1));
  return {
    "clip_ratio/low_mean": maskedMean(low, counted),
    "clip_ratio/low_min": maskedMin(share(low), minimum(lengths, 1)),
    "clip_ratio/high_mean": maskedMean(high, counted),
    "clip_ratio/high_max": maskedMax(share(high), minimum(lengths, 1)),
    "clip_ratio/region_mean": maskedMean(add(low, high), counted),
  };
}

/** A batch of supervised fine-tuning; rows are places, in any order. */
export interface SftInputs {
  /** What the head reads, [rows, dim]. */
  readonly hidden: Value;
  /** The head, [vocabulary, dim]. */
  readonly table: Value;
  /** int64 [rows]: the token that follows the row's, or a negative number (-100) where none is trained on. */
  readonly labels: Value;
  /** Scalar: trained tokens of all micro-batches of the step. Default: those of this batch. */
  readonly num_items_in_batch?: Value | undefined;
}

/**
 * Cross-entropy on the labelled tokens only, in nats: their sum over `num_items_in_batch`, so that the losses of micro-batches
 * add up to that of the batch. Metrics are means over the same tokens: mean_token_accuracy and entropy.
 */
export function sftLoss({ hidden, table, labels, num_items_in_batch }: SftInputs): Objective {
  const ignored = less(labels, constantInt64([0], []));
  const targets = where(ignored, constantInt64([0], []), labels);
  const column = [sizeOf(labels.shape[0], "sftLoss"), 1];
  const mask = reshape(where(ignored, 0, 1), column);
  const { logprobs, probabilities } = tokenLogprobs(hidden, table, targets);
  const right = reshape(cast(equal(argmax(probabilities), targets), "float32"), column);
  return {
    loss: div(neg(sumAll(mul(logprobs, mask))), num_items_in_batch ? maximum(num_items_in_batch, 1) : tokens(mask)),
    metrics: { mean_token_accuracy: maskedMean(right, mask), entropy: maskedMean(entropy(probabilities), mask) },
  };
}

export type Divergence =
  /** KL(teacher‖student): the student covers what the teacher does. */
  | { readonly kind: "forward_kl" }
  /** KL(student‖teacher): the student avoids what the teacher does not (MiniLLM, arXiv 2306.08543). */
  | { readonly kind: "reverse_kl" }
  /** β KL(teacher‖m) + (1 − β) KL(student‖m) with m = β teacher + (1 − β) student (GKD, arXiv 2306.13649). */
  | { readonly kind: "jsd"; readonly beta: number };

export interface DistillInputs {
  /** [rows, vocabulary] */
  readonly teacher_logits: Value;
  readonly student_logits: Value;
  /** [rows, 1]: 1 where the row counts; null where all do. */
  readonly mask: Value | null;
}

// Keeps the mixture's logarithm finite where both distributions underflow.
const smallest = 1.1754944e-38;

/**
 * Divergence of the student's distribution from the teacher's, in nats: mean over the rows that count, and every row [rows, 1].
 * Both are softened by `temperature`; multiply the loss by its square to keep the size of the gradient (Hinton et al.,
 * arXiv 1503.02531).
 */
export function distillLoss({ teacher_logits, student_logits, mask }: DistillInputs, divergence: Divergence, temperature: number): { loss: Value; per_token: Value } {
  const [p, q] = [teacher_logits, student_logits].map((logits) => logSoftmax(mul(logits, 1 / temperature))) as [Value, Value];
  const per_token = divergenceOf(p, q, divergence);
  return { loss: mask === null ? mean(per_token, undefined, { keepdims: false }) : maskedMean(per_token, mask), per_token };
}

/** From log-probabilities [rows, vocabulary]. */
function divergenceOf(p: Value, q: Value, divergence: Divergence): Value {
  const kl = (from: Value, to: Value): Value => sum(mul(exp(from), sub(from, to)), [-1]);
  if (divergence.kind === "forward_kl") return kl(p, q);
  if (divergence.kind === "reverse_kl") return kl(q, p);
  const { beta } = divergence;
  const mixture = log(maximum(add(mul(exp(p), beta), mul(exp(q), 1 - beta)), smallest));
  return add(mul(kl(p, mixture), beta), mul(kl(q, mixture), 1 - beta));
}

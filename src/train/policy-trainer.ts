import { LongjingError } from "../errors/index.ts";
import type { ModelConfig } from "../model/index.ts";
import type { AdamWOptions } from "../optim/adamw.ts";
import type { Random } from "../random/index.ts";
import type { Backend, DeviceTensor } from "../runtime/index.ts";
import type { PolicyLossOptions } from "./objectives.ts";
import { fillBatch, layOut, leastMemory, microBatches, policyBatchTypes, tokensOf, type PolicyBatchTypes, type PolicyLayout, type PolicyTensors, type TrainSample } from "./policy-layout.ts";
import { createScorer, policyObjective, type Scorer } from "./policy-step.ts";
import type { TrainState } from "./train-state.ts";
import { GradientStep, OptimizerStep, TrainStep } from "./train-step.ts";


export interface PolicyTrainerOptions {
  readonly minibatch: number;
  /** Completions that are computed at once: a minibatch is divided into as many. Default: see `fittingBatch`. */
  readonly micro_batch?: number | undefined;
  readonly loss: PolicyLossOptions;
  readonly optimizer: AdamWOptions;
  readonly max_grad_norm: number;
  /** Run steps on this thread. Default true. */
  readonly blocking?: boolean;
  /** Bytes that the process may have. Default: no limit. */
  readonly memory?: number;
}

/** Means over the optimiser steps of one rollout, weighed by their tokens, under TRL's names. */
export interface PolicyMetrics {
  readonly trained_tokens: number;
  readonly [metric: string]: number;
}

// The engine's kernels and the train step's differ in the order of their sums, by some 1e-5 in a log-probability.
const onPolicyTolerance = 0.01;

/**
 * How far the importance ratios of a rollout's first minibatch are from 1: nothing has been learnt since it was sampled.
 * @throws LongjingError "runtime" beyond `onPolicyTolerance`: the sampler and the trainer are not the same policy
 */
function onPolicyDeviation(metrics: Readonly<Record<string, number>>): number {
  const [low, high] = [metrics["sampling/importance_sampling_ratio/min"]!, metrics["sampling/importance_sampling_ratio/max"]!];
  const deviation = Math.max(1 - low, high - 1);
  if (deviation <= onPolicyTolerance) return deviation;
  throw new LongjingError("runtime", "The policy that is trained is not the one that sampled", { where: "importance ratio before the first step", got: [low, high], expected: `1 ± ${onPolicyTolerance}` });
}

/** Optimiser steps on sampled completions; one compiled step for each layout. */
export class PolicyTrainer {
  readonly #backend: Backend;
  readonly #config: ModelConfig;
  readonly #state: TrainState;
  readonly #pad: number;
  readonly #options: PolicyTrainerOptions;
  readonly #steps = new Map<string, Promise<TrainStep<PolicyBatchTypes>>>();
  readonly #gradientSteps = new Map<string, Promise<GradientStep<PolicyBatchTypes>>>();
  #optimizerStep: Promise<OptimizerStep> | null = null;
  readonly #scorers = new Map<string, Promise<Scorer>>();
  #reference: Record<string, DeviceTensor> | null = null;

  constructor(backend: Backend, config: ModelConfig, state: TrainState, pad: number, options: PolicyTrainerOptions) {
    const { minibatch, micro_batch = minibatch } = options;
    if (!(Number.isInteger(micro_batch) && micro_batch > 0 && minibatch % micro_batch === 0)) throw new LongjingError("bad_argument", "Micro-batches must divide the minibatch", { where: "micro_batch", got: micro_batch, expected: `a divisor of ${minibatch}` });
    this.#backend = backend;
    this.#config = config;
    this.#state = state;
    this.#pad = pad;
    this.#options = options;
  }

  /** The parameters of the reference policy, if there is one: of an adapter on a frozen base, that is the adapter; the base is shared. */
  get reference(): Readonly<Record<string, DeviceTensor>> | null {
    return this.#reference;
  }

  /** Makes the reference policy equal to the policy as it is now, or to given parameters. */
  replaceReference(parameters: Readonly<Record<string, { readonly data: DeviceTensor["data"] }>> = this.#state.parameters): void {
    const current = this.#state.parameters;
    this.#reference ??= Object.fromEntries(Object.entries(current).map(([name, t]) => [name, this.#backend.tensor(t.dtype, t.shape)]));
    for (const [name, tensor] of Object.entries(this.#reference)) (tensor.data as Float32Array).set(parameters[name]!.data as Float32Array);
  }

  /** One pass over the samples in random order, a step for each minibatch that has any to learn from. */
  async train(samples: readonly TrainSample[], learningRate: number, stream: Random): Promise<PolicyMetrics> {
    const order = stream.shuffle(samples);
    const sums = new Map<string, number>();
    let tokens = 0;
    let deviation: number | null = null;
    for (let at = 0; at < order.length; at += this.#options.minibatch) {
      const batch = order.slice(at, at + this.#options.minibatch);
      if (tokensOf(batch) === 0) continue;
      const { metrics, count } = await this.#minibatch(batch, learningRate);
      deviation ??= onPolicyDeviation(metrics);
      tokens += count;
      for (const [name, value] of Object.entries(metrics)) sums.set(name, (sums.get(name) ?? 0) + value * count);
    }
    return { ...Object.fromEntries([...sums].map(([name, sum]) => [name, sum / Math.max(tokens, 1)])), trained_tokens: tokens, "sampling/on_policy_deviation": deviation ?? 0 };
  }

  #minibatch(samples: readonly TrainSample[], learningRate: number): Promise<Measured> {
    const { minibatch, loss, micro_batch = fittingBatch(samples, minibatch, loss) } = this.#options;
    return micro_batch < minibatch ? this.#accumulated(samples, micro_batch, learningRate) : this.#whole(samples, learningRate);
  }

  async #whole(samples: readonly TrainSample[], learningRate: number): Promise<Measured> {
    const { minibatch, loss, optimizer, max_grad_norm, blocking = true } = this.#options;
    const { layout, placed } = layOut(samples, minibatch);
    this.#requireMemory(layout);
    const step = await cached(this.#steps, JSON.stringify(layout), () => TrainStep.create(this.#backend, this.#state, policyBatchTypes(layout), policyObjective(this.#config, layout, loss), { optimizer, max_grad_norm }));
    const count = fillBatch(step.batch, layout, placed, this.#pad);
    await this.#scoreReference(layout, step.batch);
    return { metrics: await step.run(learningRate, { blocking }), count };
  }

  /** The same step, with the gradients of parts added up: what is held at once is a part's. */
  async #accumulated(samples: readonly TrainSample[], size: number, learningRate: number): Promise<Measured> {
    const { loss, optimizer, max_grad_norm, blocking = true } = this.#options;
    const update = await (this.#optimizerStep ??= OptimizerStep.create(this.#backend, this.#state, { optimizer, max_grad_norm }));
    const count = tokensOf(samples);
    const all = microBatches(samples, size);
    const totals = { items: count, completions: samples.length, micro_batches: all.length };
    const parts: Measured[] = [];
    for (const part of all) {
      if (tokensOf(part) === 0) continue;
      const { layout, placed } = layOut(part, size);
      this.#requireMemory(layout);
      const step = await cached(this.#gradientSteps, JSON.stringify(layout), () => GradientStep.create(this.#backend, this.#state, policyBatchTypes(layout), policyObjective(this.#config, layout, loss), update));
      const own = fillBatch(step.batch, layout, placed, this.#pad, totals);
      await this.#scoreReference(layout, step.batch);
      parts.push({ metrics: await step.run({ blocking }), count: own });
      update.add();
    }
    return { metrics: { ...joined(parts), grad_norm: await update.run(learningRate, { blocking }) }, count };
  }

  /** A system ends a process that takes too much, and says nothing. */
  #requireMemory(layout: PolicyLayout): void {
    const { memory = Number.POSITIVE_INFINITY } = this.#options;
    const least = leastMemory(this.#config, layout);
    if (least <= memory) return;
    const { batch, time, shared } = layout;
    const gigabytes = (bytes: number): string => `${(bytes / 1e9).toFixed(1)} GB`;
    throw new LongjingError("too_large", "A policy step does not fit the memory", { where: `${batch} completions of ${time} tokens${shared ? ` behind prompts of ${shared.time}` : ""}`, got: `at least ${gigabytes(least)}`, expected: `at most ${gigabytes(memory)}`, hint: "Compute fewer completions at once: micro_batch, or shorter ones: max_completion_length" });
  }

  async #scoreReference(layout: PolicyLayout, inputs: PolicyTensors): Promise<void> {
    const reference = this.#reference;
    if (reference) await (await cached(this.#scorers, JSON.stringify(layout), () => createScorer(this.#backend, this.#config, this.#state.base, reference, layout, inputs))).run();
  }

  dispose(): void {
    const made: readonly Promise<{ dispose(): void }>[] = [...this.#steps.values(), ...this.#gradientSteps.values(), ...this.#scorers.values(), ...(this.#optimizerStep ? [this.#optimizerStep] : [])];
    for (const each of made) void each.then((it) => it.dispose());
  }
}

// Memory grows with what is computed at once; parts of a fifth of this were 8 % slower on rows of 88 tokens.
const tokensAtOnce = 8192;

/**
 * The largest part of a minibatch whose rows are of no more than `tokensAtOnce` tokens. All of it where a loss is a mean over what is
 * computed at once: another part would be another loss.
 */
function fittingBatch(samples: readonly TrainSample[], minibatch: number, { loss_type, top_entropy_quantile }: PolicyLossOptions): number {
  if (loss_type === "bnpo" || top_entropy_quantile < 1) return minibatch;
  const longest = samples.reduce((most, { prompt_ids, completion_ids }) => Math.max(most, prompt_ids.length + completion_ids.length), 1);
  let size = minibatch;
  while (size > 1 && (minibatch % size !== 0 || size * longest > tokensAtOnce)) size--;
  return size;
}

/** Metrics of completions, and how many of their tokens take part. */
interface Measured {
  readonly metrics: Readonly<Record<string, number>>;
  readonly count: number;
}

/** Metrics of a minibatch from those of its parts: the loss is their sum, extremes stay extremes, all else is a mean over tokens. */
function joined(parts: readonly Measured[]): Record<string, number> {
  const tokens = parts.reduce((n, { count }) => n + count, 0);
  return Object.fromEntries(
    Object.keys(parts[0]?.metrics ?? {}).map((name) => {
      const values = parts.map(({ metrics }) => metrics[name]!);
      if (/[/_]min$/.test(name)) return [name, Math.min(...values)];
      if (/[/_]max$/.test(name)) return [name, Math.max(...values)];
      return [name, values.reduce((sum, value, i) => sum + value * (name === "loss" ? 1 : parts[i]!.count / tokens), 0)];
    }),
  );
}

function cached<T>(known: Map<string, Promise<T>>, key: string, make: () => Promise<T>): Promise<T> {
  let found = known.get(key);
  if (!found) known.set(key, (found = make()));
  return found;
}

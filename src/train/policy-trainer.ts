import { LongjingError } from "../errors/index.ts";
import type { ModelConfig } from "../model/index.ts";
import type { AdamWOptions } from "../optim/adamw.ts";
import type { Random } from "../random/index.ts";
import type { Backend, DeviceTensor } from "../runtime/index.ts";
import type { PolicyLossOptions } from "./objectives.ts";
import { createScorer, policyBatchTypes, policyObjective, type PolicyBatchTypes, type Scorer } from "./policy-step.ts";
import { TrainStep, type TrainState } from "./train-state.ts";

/** A completion to learn from. */
export interface TrainSample {
  readonly prompt_ids: readonly number[];
  readonly completion_ids: readonly number[];
  /** Of each completion token when it was sampled. */
  readonly old_logprobs: readonly number[];
  /** 1 where the model said the completion's token, 0 where an environment did: no part of loss, KL or entropy. Absent: it said all. */
  readonly tool_mask?: readonly (0 | 1)[];
  readonly advantage: number;
  /** Takes no part in the loss. */
  readonly masked: boolean;
}

export interface PolicyTrainerOptions {
  readonly minibatch: number;
  readonly loss: PolicyLossOptions;
  readonly optimizer: AdamWOptions;
  readonly max_grad_norm: number;
  /** Run steps on this thread. Default true. */
  readonly blocking?: boolean;
}

/** Means over the optimiser steps of one rollout, weighed by their tokens, under TRL's names. */
export interface PolicyMetrics {
  readonly trained_tokens: number;
  readonly [metric: string]: number;
}

/** Minibatches are padded to one of eight lengths an octave: a handful of compiled steps, and at most an eighth of padding. */
function paddedTime(longest: number): number {
  const grain = Math.max(8, 2 ** (Math.floor(Math.log2(longest)) - 3));
  return Math.ceil(longest / grain) * grain;
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

/** Optimiser steps on sampled completions; one compiled step for each padded length. */
export class PolicyTrainer {
  readonly #backend: Backend;
  readonly #config: ModelConfig;
  readonly #state: TrainState;
  readonly #pad: number;
  readonly #options: PolicyTrainerOptions;
  readonly #steps = new Map<number, Promise<TrainStep<PolicyBatchTypes>>>();
  readonly #scorers = new Map<number, Promise<Scorer>>();
  #reference: Record<string, DeviceTensor> | null = null;

  constructor(backend: Backend, config: ModelConfig, state: TrainState, pad: number, options: PolicyTrainerOptions) {
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
      if (batch.every((sample) => sample.masked)) continue;
      const { metrics, count } = await this.#minibatch(batch, learningRate);
      deviation ??= onPolicyDeviation(metrics);
      tokens += count;
      for (const [name, value] of Object.entries(metrics)) sums.set(name, (sums.get(name) ?? 0) + value * count);
    }
    return { ...Object.fromEntries([...sums].map(([name, sum]) => [name, sum / Math.max(tokens, 1)])), trained_tokens: tokens, "sampling/on_policy_deviation": deviation ?? 0 };
  }

  async #minibatch(samples: readonly TrainSample[], learningRate: number): Promise<{ metrics: Readonly<Record<string, number>>; count: number }> {
    const longest = Math.max(...samples.map((s) => s.prompt_ids.length + s.completion_ids.length - 1));
    const time = paddedTime(longest);
    const step = await this.#step(time);
    const count = this.#fill(step, samples);
    if (this.#reference) {
      const scorer = await this.#scorer(time, this.#reference);
      const logprobs = await scorer.score(step.batch.ids.data as BigInt64Array, step.batch.targets.data as BigInt64Array);
      (step.batch.ref_logprobs.data as Float32Array).set(logprobs);
    }
    return { metrics: await step.run(learningRate, { blocking: this.#options.blocking ?? true }), count };
  }

  /** Lays samples out in time; returns how many tokens take part. */
  #fill(step: TrainStep<PolicyBatchTypes>, samples: readonly TrainSample[]): number {
    const batch = this.#options.minibatch;
    const ids = (step.batch.ids.data as BigInt64Array).fill(BigInt(this.#pad));
    const targets = (step.batch.targets.data as BigInt64Array).fill(BigInt(this.#pad));
    const mask = (step.batch.mask.data as Float32Array).fill(0);
    const old = (step.batch.old_logprobs.data as Float32Array).fill(0);
    const advantages = (step.batch.advantages.data as Float32Array).fill(0);
    let count = 0;
    for (const [b, { prompt_ids, completion_ids, old_logprobs, tool_mask, advantage, masked }] of samples.entries()) {
      const tokens = [...prompt_ids, ...completion_ids];
      advantages[b] = advantage;
      for (let t = 0; t < tokens.length - 1; t++) {
        const row = t * batch + b;
        ids[row] = BigInt(tokens[t]!);
        targets[row] = BigInt(tokens[t + 1]!);
        const place = t + 1 - prompt_ids.length;
        const sampled = old_logprobs[place];
        if (sampled === undefined || masked || tool_mask?.[place] === 0) continue;
        mask[row] = 1;
        old[row] = sampled;
        count++;
      }
    }
    (step.batch.num_items.data as Float32Array)[0] = count;
    return count;
  }

  #step(time: number): Promise<TrainStep<PolicyBatchTypes>> {
    let found = this.#steps.get(time);
    const { minibatch, loss, optimizer, max_grad_norm } = this.#options;
    if (!found) this.#steps.set(time, (found = TrainStep.create(this.#backend, this.#state, policyBatchTypes(minibatch, time), policyObjective(this.#config, minibatch, time, loss), { optimizer, max_grad_norm })));
    return found;
  }

  #scorer(time: number, reference: Readonly<Record<string, DeviceTensor>>): Promise<Scorer> {
    let found = this.#scorers.get(time);
    if (!found) this.#scorers.set(time, (found = createScorer(this.#backend, this.#config, this.#state.base, reference, this.#options.minibatch, time)));
    return found;
  }

  dispose(): void {
    for (const step of this.#steps.values()) void step.then((s) => s.dispose());
    for (const scorer of this.#scorers.values()) void scorer.then((s) => s.dispose());
  }
}

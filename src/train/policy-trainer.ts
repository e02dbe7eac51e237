import { LongjingError } from "../errors/index.ts";
import type { ModelConfig } from "../model/index.ts";
import type { AdamWOptions } from "../optim/adamw.ts";
import type { Random } from "../random/index.ts";
import type { Backend, DeviceTensor } from "../runtime/index.ts";
import type { PolicyLossOptions } from "./objectives.ts";
import { fillBatch, layOut, policyBatchTypes, type PolicyBatchTypes, type PolicyLayout, type TrainSample } from "./policy-layout.ts";
import { createScorer, policyObjective, type Scorer } from "./policy-step.ts";
import { TrainStep, type TrainState } from "./train-state.ts";


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
  readonly #scorers = new Map<string, Promise<Scorer>>();
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
    const { layout, placed } = layOut(samples, this.#options.minibatch);
    const key = JSON.stringify(layout);
    const step = await cached(this.#steps, key, () => this.#compile(layout));
    const count = fillBatch(step.batch, layout, placed, this.#pad);
    const reference = this.#reference;
    if (reference) await (await cached(this.#scorers, key, () => createScorer(this.#backend, this.#config, this.#state.base, reference, layout, step.batch))).run();
    return { metrics: await step.run(learningRate, { blocking: this.#options.blocking ?? true }), count };
  }

  #compile(layout: PolicyLayout): Promise<TrainStep<PolicyBatchTypes>> {
    const { loss, optimizer, max_grad_norm } = this.#options;
    return TrainStep.create(this.#backend, this.#state, policyBatchTypes(layout), policyObjective(this.#config, layout, loss), { optimizer, max_grad_norm });
  }

  dispose(): void {
    for (const step of this.#steps.values()) void step.then((s) => s.dispose());
    for (const scorer of this.#scorers.values()) void scorer.then((s) => s.dispose());
  }
}

function cached<T>(known: Map<string, Promise<T>>, key: string, make: () => Promise<T>): Promise<T> {
  let found = known.get(key);
  if (!found) known.set(key, (found = make()));
  return found;
}

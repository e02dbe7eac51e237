import type { ModelConfig } from "../model/index.ts";
import type { DeviceTensor } from "../runtime/index.ts";
import type { TensorType } from "../tensor/index.ts";

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

/** How a minibatch of completions lies in a step's rows. */
export interface PolicyLayout {
  /** Completions. */
  readonly batch: number;
  /** Tokens that the loss may weigh, in time: those of a completion, after those of its prompt unless prompts are shared. */
  readonly time: number;
  /** Each `group` completions go on from one prompt, which is computed once, at the end of `time` places. */
  readonly shared?: { readonly group: number; readonly time: number } | undefined;
}

/**
 * Inputs of a step. `ids` are tokens ordered by time (row = t · batch + b), after those of shared prompts (row = t · prompts + p); what
 * the loss weighs is [time, batch], each target one token later than what predicts it.
 */
export function policyBatchTypes({ batch, time, shared }: PolicyLayout): PolicyBatchTypes {
  const float = (...shape: number[]): TensorType => ({ shape, dtype: "float32" });
  const ids = (rows: number): TensorType => ({ shape: [rows], dtype: "int64" });
  const weighed = { targets: ids(batch * time), mask: float(time, batch), old_logprobs: float(time, batch), ref_logprobs: float(time, batch), advantages: float(1, batch), num_items: float(), num_completions: float(), num_micro_batches: float() };
  if (!shared) return { ...weighed, ids: ids(batch * time) };
  const prompts = batch / shared.group;
  return { ...weighed, ids: ids(prompts * shared.time + batch * (time - 1)), prompt_mask: float(prompts, shared.time) };
}

export type PolicyBatchTypes = Readonly<Record<"ids" | "targets" | "mask" | "old_logprobs" | "ref_logprobs" | "advantages" | "num_items" | "num_completions" | "num_micro_batches", TensorType>> & {
  /** [prompts, time]: 1 for a token of a shared prompt, 0 for the padding before it. */
  readonly prompt_mask?: TensorType;
};

/** A step's inputs as they are bound. */
export type PolicyTensors = { readonly [K in keyof PolicyBatchTypes]: DeviceTensor };

/**
 * Bytes that a step holds at once, whatever else: until the backward pass has used them, the attention's weights of all layers below
 * the diagonal, and the logits of the tokens that are weighed.
 */
export function leastMemory({ num_hidden_layers, num_attention_heads, vocab_size }: ModelConfig, { batch, time, shared }: PolicyLayout): number {
  const attended = num_hidden_layers * num_attention_heads * batch * time * ((shared?.time ?? 0) + time / 2);
  return Float32Array.BYTES_PER_ELEMENT * (attended + batch * time * vocab_size);
}

/** One of `lengths` lengths an octave, 8 tokens apart at least: a handful of compiled steps, and little padding. */
function paddedTime(longest: number, lengths: number): number {
  const grain = Math.max(8, 2 ** Math.floor(Math.log2(longest)) / lengths);
  return Math.ceil(longest / grain) * grain;
}

const longestOf = (samples: readonly TrainSample[], length: (sample: TrainSample) => number): number => samples.reduce((longest, s) => Math.max(longest, length(s)), 1);
const greatestCommonDivisor = (a: number, b: number): number => (b === 0 ? a : greatestCommonDivisor(b, a % b));

/** The completions of each prompt. */
function byPrompt(samples: readonly TrainSample[]): readonly (readonly TrainSample[])[] {
  const groups = new Map<string, TrainSample[]>();
  for (const sample of samples) {
    const key = sample.prompt_ids.join();
    const group = groups.get(key);
    if (group) group.push(sample);
    else groups.set(key, [sample]);
  }
  return [...groups.values()];
}

/** A minibatch in parts of at most `size` completions: those of a prompt lie together, and so do prompts of like length. */
export function microBatches(samples: readonly TrainSample[], size: number): readonly (readonly TrainSample[])[] {
  const ordered = byPrompt(samples).toSorted(([a], [b]) => b!.prompt_ids.length - a!.prompt_ids.length).flat();
  return Array.from({ length: Math.ceil(ordered.length / size) }, (_, i) => ordered.slice(i * size, (i + 1) * size));
}

/** Whether the loss weighs a completion's token. */
const counts = ({ masked, tool_mask }: TrainSample, token: number): boolean => !masked && tool_mask?.[token] !== 0;

/** How many tokens of the samples take part. */
export const tokensOf = (samples: readonly TrainSample[]): number => samples.reduce((n, sample) => n + sample.completion_ids.filter((_, i) => counts(sample, i)).length, 0);

/**
 * Where every prompt of a minibatch has several completions, as many as the others or multiples of that, prompts are shared; the
 * samples come back in the order of their places.
 * @param batch places for completions
 */
export function layOut(samples: readonly TrainSample[], batch: number): { readonly layout: PolicyLayout; readonly placed: readonly TrainSample[] } {
  const groups = byPrompt(samples);
  const group = groups.map((g) => g.length).reduce(greatestCommonDivisor);
  if (group === 1 || batch % group !== 0) return { layout: { batch, time: paddedTime(longestOf(samples, (s) => s.prompt_ids.length + s.completion_ids.length - 1), 8) }, placed: samples };
  const shared = { group, time: paddedTime(longestOf(samples, (s) => s.prompt_ids.length), 2) };
  return { layout: { batch, time: paddedTime(longestOf(samples, (s) => s.completion_ids.length), 8), shared }, placed: groups.flat() };
}

/** What the micro-batches of a step hold together, and what losses are divided by. */
export interface StepTotals {
  /** Tokens that take part. */
  readonly items: number;
  readonly completions: number;
  readonly micro_batches: number;
}

/**
 * Writes samples into a step's inputs; returns how many tokens take part.
 * @param totals default: these samples are the whole step
 */
export function fillBatch(inputs: PolicyTensors, { batch, shared }: PolicyLayout, placed: readonly TrainSample[], pad: number, totals?: StepTotals): number {
  const [ids, targets] = [inputs.ids, inputs.targets].map((t) => (t.data as BigInt64Array).fill(BigInt(pad))) as [BigInt64Array, BigInt64Array];
  const [mask, old, advantages] = [inputs.mask, inputs.old_logprobs, inputs.advantages].map((t) => (t.data as Float32Array).fill(0)) as [Float32Array, Float32Array, Float32Array];
  const own = shared ? fillPrompts(inputs, batch, shared, placed) : 0;
  let count = 0;
  for (const [b, sample] of placed.entries()) {
    const { prompt_ids, completion_ids, old_logprobs, advantage } = sample;
    advantages[b] = advantage;
    // Nothing follows the last token.
    const read = shared ? completion_ids.slice(0, -1) : [...prompt_ids, ...completion_ids].slice(0, -1);
    for (const [t, id] of read.entries()) ids[own + t * batch + b] = BigInt(id);
    const first = shared ? 0 : prompt_ids.length - 1;
    for (const [i, id] of completion_ids.entries()) {
      const row = (first + i) * batch + b;
      targets[row] = BigInt(id);
      if (!counts(sample, i)) continue;
      mask[row] = 1;
      old[row] = old_logprobs[i]!;
      count++;
    }
  }
  const { items, completions, micro_batches } = totals ?? { items: count, completions: placed.length, micro_batches: 1 };
  for (const [tensor, value] of [[inputs.num_items, items], [inputs.num_completions, completions], [inputs.num_micro_batches, micro_batches]] as const) (tensor.data as Float32Array)[0] = value;
  return count;
}

/** Writes each group's prompt, up to the last of its places; returns how many rows prompts take. */
function fillPrompts(inputs: PolicyTensors, batch: number, { group, time }: NonNullable<PolicyLayout["shared"]>, placed: readonly TrainSample[]): number {
  const prompts = batch / group;
  const mask = (inputs.prompt_mask!.data as Float32Array).fill(0);
  for (let p = 0; p * group < placed.length; p++) {
    const { prompt_ids } = placed[p * group]!;
    for (const [i, id] of prompt_ids.entries()) {
      const t = time - prompt_ids.length + i;
      (inputs.ids.data as BigInt64Array)[t * prompts + p] = BigInt(id);
      mask[p * time + t] = 1;
    }
  }
  return prompts * time;
}

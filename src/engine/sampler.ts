import { LongjingError } from "../errors/index.ts";
import type { Random } from "../random/index.ts";
import type { RowMath } from "../runtime/index.ts";
import { plainRowMath } from "./row-math.ts";
import type { SamplingParams, TokenLogprob } from "./types.ts";

/** Tokens of one sequence so far, as the penalties need them. */
export interface TokenHistory {
  /** Distinct tokens of the prompt: only the repetition penalty sees them. */
  readonly prompt: ReadonlySet<number>;
  /** Tokens generated so far with their counts: all three penalties see them. */
  readonly completion: ReadonlyMap<number, number>;
}

export interface SampledToken extends TokenLogprob {
  /** Most likely alternatives, best first; absent unless `top_logprobs` asks for some. */
  readonly top_logprobs?: readonly TokenLogprob[];
}

/** Memory that `sample` and `processLogits` reuse. One serves any number of sequences of one vocabulary, one at a time. */
export interface SamplerScratch {
  readonly processed: Float64Array;
  readonly weights: Float64Array;
  readonly likely: Float64Array;
  readonly math: RowMath;
}

export function samplerScratch(vocabSize: number, math: RowMath = plainRowMath): SamplerScratch {
  return { processed: new Float64Array(vocabSize), weights: new Float64Array(vocabSize), likely: new Float64Array(vocabSize), math };
}

/**
 * Draws the next token from `logits` [vocab]. Greedy (temperature 0) takes the lowest id among equals and draws nothing from
 * `random`; otherwise exactly one number is drawn. Only tokens of `mask` (as `TokenConstraint` writes it) are drawn, if there is
 * one. Throws `runtime` where logits and mask leave no token to draw (NaN, all -inf).
 */
export function sample(
  logits: Float32Array,
  params: SamplingParams,
  history: TokenHistory,
  random: Random,
  scratch: SamplerScratch,
  mask?: Uint32Array,
): SampledToken {
  const temperature = params.temperature ?? 1;
  const { math } = scratch;
  // Without penalties and filters the distribution is drawn from as it stands: two passes and no copy.
  const shaped = mask !== undefined || isAdjusted(params) || (temperature > 0 && isFiltered(params, logits.length));
  const scores = shaped ? processLogits(logits, params, history, scratch, mask) : logits;
  const greedy = temperature === 0;
  const drawn = greedy ? null : math.draw(scores, shaped ? 1 : temperature, random.next(), scratch.weights);
  if (drawn && !(drawn.total > 0 && drawn.total < Infinity)) throw noDistribution(drawn.total);
  const token = drawn?.id ?? math.argmax(scores);
  if (greedy && scores[token] === -Infinity) throw noDistribution(-Infinity);
  const rawTop = drawn && !shaped ? drawn.top : (logits[shaped ? math.argmax(logits) : token] as number);
  const rawTotal = shaped || temperature !== 1 ? undefined : drawn?.total;
  if (params.logprobs === false) {
    if (!Number.isFinite(rawTop)) throw noDistribution(rawTop);
    return { token_id: token, logprob: NaN };
  }
  return reported(logits, token, rawTop + Math.log(rawTotal ?? math.weights(logits, rawTop, 1)), params.top_logprobs ?? 0);
}

/** How likely `token_id` is under `logits` [vocab], with the `count` most likely. Throws `runtime` where there is no distribution. */
export function logprobOf(logits: Float32Array, token_id: number, count: number, { math }: SamplerScratch): SampledToken {
  const top = logits[math.argmax(logits)] as number;
  return reported(logits, token_id, top + Math.log(math.weights(logits, top, 1)), count);
}

function reported(logits: Float32Array, token_id: number, logTotal: number, count: number): SampledToken {
  const logprob = (logits[token_id] as number) - logTotal;
  if (Number.isNaN(logprob)) throw noDistribution(logTotal);
  if (count === 0) return { token_id, logprob };
  return { token_id, logprob, top_logprobs: largest(logits, count).map((id) => ({ token_id: id, logprob: (logits[id] as number) - logTotal })) };
}

/**
 * The logits [vocab] that a token is drawn from, removed tokens at -inf, in `scratch.processed`. The order is the mask; logit bias;
 * repetition, frequency and presence penalty (vLLM); temperature, top-k, top-p, min-p (transformers' `generate`, whose rules
 * hold for ties: all tokens equal to the k-th stay, and where the nucleus divides equal tokens the higher ids stay). At
 * temperature 0 only bias and penalties apply: the rest cannot change the most likely token.
 */
export function processLogits(
  logits: Float32Array,
  params: SamplingParams,
  history: TokenHistory,
  scratch: SamplerScratch,
  mask?: Uint32Array,
): Float64Array {
  const scores = scratch.processed;
  scores.set(logits);
  if (mask !== undefined) forbid(scores, mask);
  for (const [id, bias] of params.logit_bias ?? []) scores[id] = (scores[id] as number) + bias;
  penalise(scores, params, history);
  const temperature = params.temperature ?? 1;
  if (temperature === 0) return scores;
  if (temperature !== 1) divide(scores, temperature, scratch);
  const { top_k = 0, top_p = 1, min_p = 0 } = params;
  if (top_k > 0 && top_k < scores.length) keepTopK(scores, top_k, scratch.weights);
  if (top_p < 1) keepTopP(scores, top_p, scratch);
  if (min_p > 0) drop(scores, (scores[scratch.math.argmax(scores)] as number) + Math.log(min_p));
  return scores;
}

/** Below it a score could become infinite: they come from float32, and penalties make them at most a hundred times as large. */
const tinyTemperature = 1e-260;

/** Only differences count, so that under a tiny temperature the largest becomes 0. */
function divide(scores: Float64Array, temperature: number, { math }: SamplerScratch): void {
  const top = temperature < tinyTemperature ? (scores[math.argmax(scores)] as number) : 0;
  const shift = Number.isFinite(top) ? top : 0;
  for (let i = 0; i < scores.length; i++) scores[i] = ((scores[i] as number) - shift) / temperature;
}

function isAdjusted(params: SamplingParams): boolean {
  const { repetition_penalty = 1, presence_penalty = 0, frequency_penalty = 0, logit_bias } = params;
  return repetition_penalty !== 1 || presence_penalty !== 0 || frequency_penalty !== 0 || (logit_bias?.size ?? 0) > 0;
}

function isFiltered({ top_k = 0, top_p = 1, min_p = 0 }: SamplingParams, vocabSize: number): boolean {
  return (top_k > 0 && top_k < vocabSize) || top_p < 1 || min_p > 0;
}

/** Removes the tokens whose bit is not set. */
function forbid(scores: Float64Array, mask: Uint32Array): void {
  for (let i = 0; i < scores.length; i++) if ((((mask[i >> 5] ?? 0) >>> (i & 31)) & 1) === 0) scores[i] = -Infinity;
}

function penalise(scores: Float64Array, params: SamplingParams, { prompt, completion }: TokenHistory): void {
  const { repetition_penalty: repetition = 1, presence_penalty = 0, frequency_penalty = 0 } = params;
  if (repetition !== 1) {
    const repeat = (id: number): void => {
      const score = scores[id] as number;
      scores[id] = score > 0 ? score / repetition : score * repetition;
    };
    for (const id of prompt) repeat(id);
    for (const id of completion.keys()) if (!prompt.has(id)) repeat(id);
  }
  if (presence_penalty === 0 && frequency_penalty === 0) return;
  for (const [id, count] of completion) scores[id] = (scores[id] as number) - frequency_penalty * count - presence_penalty;
}

/** Up to here a heap is faster than a selection. */
const fewToKeep = 1024;

function keepTopK(scores: Float64Array, k: number, work: Float64Array): void {
  if (k <= fewToKeep) return drop(scores, kthLargest(scores, k, work));
  work.set(scores);
  drop(scores, reach(work, k, () => 1).value);
}

/** The k largest so far are a heap in `heap`, the smallest of them first: most scores are no larger than that, and one look is all. */
function kthLargest(scores: Float64Array, k: number, heap: Float64Array): number {
  heap.fill(-Infinity, 0, k);
  for (let i = 0; i < scores.length; i++) {
    const score = scores[i] as number;
    if (!(score > (heap[0] as number))) continue;
    let at = 0;
    for (let child = 1; child < k; child = 2 * at + 1) {
      if (child + 1 < k && (heap[child + 1] as number) < (heap[child] as number)) child++;
      if ((heap[child] as number) >= score) break;
      heap[at] = heap[child] as number;
      at = child;
    }
    heap[at] = score;
  }
  return heap[0] as number;
}

function keepTopP(scores: Float64Array, topP: number, { weights, likely, math }: SamplerScratch): void {
  const total = math.weights(scores, scores[math.argmax(scores)] as number, 1, weights);
  if (!(total > 0 && total < Infinity)) throw noDistribution(total);
  // All that weigh less than an even share of what may be left out can be left out, and seldom are many more than a few left.
  const least = ((1 - topP) * total) / (2 * scores.length);
  let count = 0;
  for (let i = 0; i < scores.length; i++) if ((weights[i] as number) >= least) likely[count++] = weights[i] as number;
  // The most likely token weighs 1, so any positive need keeps it.
  const { value, need } = reach(likely.subarray(0, count), Math.max(topP * total, Number.MIN_VALUE), (weight) => weight);
  let equalsLeft = Math.ceil(need / value);
  for (let i = scores.length - 1; i >= 0; i--) {
    const weight = weights[i] as number;
    if (weight > value || (weight === value && equalsLeft-- > 0)) continue;
    scores[i] = -Infinity;
  }
}

/** Removes every score below `threshold`. */
function drop(scores: Float64Array, threshold: number): void {
  for (let i = 0; i < scores.length; i++) if ((scores[i] as number) < threshold) scores[i] = -Infinity;
}

/**
 * Walking `values` from the largest down and adding up `mass`, the value at which the sum first reaches `needed`, and how
 * much was still needed before the values equal to it. Quickselect: linear on average, no sort. Reorders `values`.
 */
function reach(values: Float64Array, needed: number, mass: (value: number) => number): { value: number; need: number } {
  let low = 0;
  let high = values.length;
  for (;;) {
    const pivot = medianOfThree(values[low] as number, values[(low + high) >> 1] as number, values[high - 1] as number);
    // [low, greater) > pivot, [greater, i) = pivot, [less, high) < pivot
    let greater = low;
    let less = high;
    let massGreater = 0;
    for (let i = low; i < less; ) {
      const value = values[i] as number;
      if (value > pivot) {
        massGreater += mass(value);
        values[i++] = values[greater] as number;
        values[greater++] = value;
      } else if (value < pivot) {
        values[i] = values[--less] as number;
        values[less] = value;
      } else if (value === pivot) {
        i++;
      } else {
        throw noDistribution(value);
      }
    }
    const massEqual = (less - greater) * mass(pivot);
    if (massGreater >= needed) high = greater;
    // Rounding may leave the whole range short of `needed`: then its last value is the answer.
    else if (massGreater + massEqual >= needed || less === high) return { value: pivot, need: needed - massGreater };
    else {
      needed -= massGreater + massEqual;
      low = less;
    }
  }
}

function medianOfThree(a: number, b: number, c: number): number {
  return Math.max(Math.min(a, b), Math.min(Math.max(a, b), c));
}

/** Ids of the `count` largest, best first, lower id first among equals. `count` is small: insertion beats a selection. */
function largest(scores: Float32Array, count: number): number[] {
  const ids: number[] = [];
  for (let i = 0; i < scores.length; i++) {
    const score = scores[i] as number;
    if (ids.length === count && score <= (scores[ids[count - 1] as number] as number)) continue;
    let at = ids.length;
    while (at > 0 && score > (scores[ids[at - 1] as number] as number)) at--;
    ids.splice(at, 0, i);
    if (ids.length > count) ids.pop();
  }
  return ids;
}

function noDistribution(got: number): LongjingError {
  return new LongjingError("runtime", "The logits give no distribution to sample from", {
    got: String(got),
    expected: "no NaN or +inf, and at least one finite logit",
    hint: "Diverged weights or a mask that forbids every token are the usual causes",
  });
}

import type { Random } from "../random/index.ts";
import type { Occupant } from "./rows.ts";
import { logprobOf, sample, type SampledToken, type SamplerScratch } from "./sampler.ts";
import type { Continuation, EngineEvent, EngineRequest, FinishReason, Turn } from "./types.ts";

/** Where the events of a sequence go. */
export interface Listener {
  emit(event: EngineEvent): void;
  fail(error: unknown): void;
}

/** One request on its way: its tokens, how many of them the cache holds, and how the next is drawn. */
export class Sequence implements Occupant {
  readonly request: EngineRequest;
  readonly user: string;
  readonly adapter: string;
  /** Sequences share cached prefixes within one namespace only. */
  readonly namespace: string;
  /** Prompt and completion. */
  readonly tokens: number[];
  row = -1;
  computed = 0;
  /** Tokens that the guesser's cache holds. */
  drafted = 0;
  /** Tokens of the prompt that were not computed for this sequence. */
  cached = 0;
  /** Its turn has ended, and what follows is not known yet: it takes part in no step. */
  paused = false;
  /** Tokens before the turn that it is at, those among them that follow earlier turns, and the most that it may say in this one. */
  #start: number;
  #given = 0;
  #limit: number;
  #abandoned = false;
  readonly #listener: Listener;
  readonly #random: Random;
  readonly #stops: ReadonlySet<number>;
  readonly #usesHistory: boolean;
  readonly #promptLogprobs: (SampledToken | null)[] = [null];
  readonly #history: { readonly prompt: Set<number>; readonly completion: Map<number, number> };

  /** @param adapter names the weights that the request asks for, unlike any others that had the name before */
  constructor(request: EngineRequest, adapter: string, random: Random, listener: Listener) {
    const { prompt_ids, sampling, cache_salt = "", user = "" } = request;
    const { repetition_penalty = 1, presence_penalty = 0, frequency_penalty = 0, stop_token_ids = [] } = sampling;
    this.request = request;
    this.user = user;
    this.adapter = adapter;
    this.namespace = JSON.stringify([adapter, cache_salt]);
    this.tokens = [...prompt_ids];
    this.#start = prompt_ids.length;
    this.#limit = sampling.max_tokens;
    this.#listener = listener;
    this.#random = random;
    this.#stops = new Set(stop_token_ids);
    this.#usesHistory = repetition_penalty !== 1 || presence_penalty !== 0 || frequency_penalty !== 0;
    this.#history = { prompt: new Set(this.#usesHistory ? prompt_ids : []), completion: new Map() };
  }

  get prompt(): number {
    return this.request.prompt_ids.length;
  }

  /** Tokens that are not in the cache yet. With one left, its logits are those of the next token. */
  get pending(): number {
    return this.paused ? 0 : this.tokens.length - this.computed;
  }

  /** Tokens that it may still say in this turn. */
  get remaining(): number {
    return this.#limit - (this.tokens.length - this.#start);
  }

  /** Whether all logits of its prompt are wanted. */
  get scored(): boolean {
    return this.request.sampling.prompt_logprobs !== undefined;
  }

  get aborted(): boolean {
    return this.#abandoned || (this.request.signal?.aborted ?? false);
  }

  /** Nobody listens any more. */
  abandon(): void {
    this.#abandoned = true;
  }

  /** Takes the logits [tokens, vocabulary] after the tokens of its prompt that follow those that were read so far. */
  read(logits: Float32Array, vocabulary: number, scratch: SamplerScratch): void {
    const { prompt_ids, sampling } = this.request;
    for (let at = 0; at < logits.length && this.#promptLogprobs.length < this.prompt; at += vocabulary)
      this.#promptLogprobs.push(logprobOf(logits.subarray(at, at + vocabulary), prompt_ids[this.#promptLogprobs.length]!, sampling.prompt_logprobs!, scratch));
  }

  /** Says what was read of the prompt. */
  endPrompt(): void {
    this.#listener.emit({ type: "prompt", logprobs: this.#promptLogprobs });
  }

  /** Draws the next token from its logits [vocabulary] and tells the listener. `mask` is memory for the constraint's. */
  accept(logits: Float32Array, scratch: SamplerScratch, mask: Uint32Array): number {
    const { sampling, constraint } = this.request;
    constraint?.mask(mask);
    const token = sample(logits, sampling, this.#history, this.#random, scratch, constraint && mask);
    const { token_id, logprob } = token;
    constraint?.accept(token_id);
    this.tokens.push(token_id);
    if (this.#usesHistory) this.#history.completion.set(token_id, (this.#history.completion.get(token_id) ?? 0) + 1);
    // Without a spread, which takes longer than all else here, where there is nothing to spread.
    this.#listener.emit(token.top_logprobs ? { type: "token", ...token } : { type: "token", token_id, logprob });
    return token_id;
  }

  /** Why the turn is over, once it is. */
  get finished(): FinishReason | null {
    const generated = this.tokens.length - this.#start;
    if (generated > 0 && this.#stops.has(this.tokens.at(-1)!)) return "stop";
    return generated >= this.#limit ? "length" : null;
  }

  /** What was said in the turn that has ended so. */
  turn(finish_reason: FinishReason): Turn {
    return { token_ids: this.tokens.slice(this.#start), finish_reason };
  }

  /** Begins the next turn, behind tokens that the model has not said. */
  resume({ token_ids, max_tokens }: Continuation): void {
    this.tokens.push(...token_ids);
    if (this.#usesHistory) for (const id of token_ids) this.#history.prompt.add(id);
    this.#given += token_ids.length;
    this.#start = this.tokens.length;
    this.#limit = max_tokens;
    this.paused = false;
  }

  finish(reason: FinishReason): void {
    this.#listener.emit({ type: "finish", reason, prompt_tokens: this.prompt, cached_tokens: this.cached, completion_tokens: this.tokens.length - this.prompt - this.#given });
  }

  fail(error: unknown): void {
    this.#listener.fail(error);
  }
}

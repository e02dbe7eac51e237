import { LongjingError } from "../errors/index.ts";
import { random, type Random } from "../random/index.ts";
import { eventLoopTurn } from "../runtime/event-loop.ts";
import type { ModelRunner, ParameterTensors } from "./model-runner.ts";
import { sample, samplerScratch, type SamplerScratch } from "./sampler.ts";
import { checkSamplingParams } from "./sampling-params.ts";
import type { Engine, EngineEvent, EngineRequest, FinishReason } from "./types.ts";

/** A finished sequence. */
export interface Completion {
  readonly token_ids: readonly number[];
  /** Log-probability of each token under the unprocessed logits at temperature 1. */
  readonly logprobs: readonly number[];
  readonly finish_reason: FinishReason;
}

interface Sequence {
  readonly request: EngineRequest;
  readonly random: Random;
  readonly stops: ReadonlySet<number>;
  readonly history: { readonly prompt: ReadonlySet<number>; readonly completion: Map<number, number> };
  readonly usesHistory: boolean;
  readonly emit: (event: EngineEvent) => void;
  readonly fail: (error: unknown) => void;
  last: number;
  /** Tokens in the cache. */
  length: number;
  generated: number;
}

export interface GeneratorOptions {
  /** Run each step on this thread: fastest, for training loops that have nothing else to serve. Default false. */
  readonly blocking?: boolean;
  /** Seed of requests that bring none; each is given its own stream. */
  readonly seed?: number;
}

/**
 * Continuous batching over a ModelRunner: sequences wait, run and finish; each step decodes one token for all that run, then
 * finished rows leave and waiting ones are prefilled into their places. Rollout, evaluation, chat and the server all call this.
 */
export class Generator implements Engine {
  readonly max_model_len: number;
  readonly #runner: ModelRunner;
  readonly #blocking: boolean;
  readonly #seed: number;
  readonly #scratch: SamplerScratch;
  readonly #mask: Uint32Array;
  #parameters: ParameterTensors;
  #waiting: Sequence[] = [];
  /** Row b of the cache belongs to running[b]. */
  readonly #running: Sequence[] = [];
  #pumping: Promise<void> | null = null;
  #count = 0;
  #disposed = false;

  constructor(runner: ModelRunner, parameters: ParameterTensors, { blocking = false, seed = 0 }: GeneratorOptions = {}) {
    this.max_model_len = runner.options.max_model_len;
    this.#runner = runner;
    this.#parameters = parameters;
    this.#blocking = blocking;
    this.#seed = seed;
    this.#scratch = samplerScratch(runner.config.vocab_size);
    this.#mask = new Uint32Array(Math.ceil(runner.config.vocab_size / 32));
  }

  /** Reads other buffers from the next step on: what a trainer calls after its step. Nothing may be running. */
  useParameters(parameters: ParameterTensors): void {
    if (this.#running.length > 0) throw new LongjingError("conflict", "parameters change only while nothing runs", { got: `${this.#running.length} running sequences` });
    this.#parameters = parameters;
  }

  submit(request: EngineRequest): AsyncIterable<EngineEvent> {
    const queue = new EventQueue<EngineEvent>();
    const abort = new AbortController();
    const signal = request.signal ? AbortSignal.any([request.signal, abort.signal]) : abort.signal;
    this.#enqueue({ ...request, signal }, (event) => queue.push(event), (error) => queue.fail(error));
    return queue.iterate(() => abort.abort());
  }

  /** Runs many requests to their ends; results keep the order of the requests. */
  generate(requests: readonly EngineRequest[], onFinish?: (index: number) => void): Promise<Completion[]> {
    return Promise.all(
      requests.map(
        (request, index) =>
          new Promise<Completion>((resolve, reject) => {
            const token_ids: number[] = [];
            const logprobs: number[] = [];
            const emit = (event: EngineEvent): void => {
              if (event.type === "token") {
                token_ids.push(event.token_id);
                logprobs.push(event.logprob);
              } else {
                resolve({ token_ids, logprobs, finish_reason: event.reason });
                onFinish?.(index);
              }
            };
            this.#enqueue(request, emit, reject);
          }),
      ),
    );
  }

  dispose(): void {
    this.#disposed = true;
    void (this.#pumping ?? Promise.resolve()).then(() => this.#runner.dispose());
  }

  #enqueue(request: EngineRequest, emit: Sequence["emit"], fail: Sequence["fail"]): void {
    const { prompt_ids, sampling } = request;
    const { vocab_size } = this.#runner.config;
    checkSamplingParams(sampling, vocab_size);
    const stray = prompt_ids.find((id) => !Number.isInteger(id) || id < 0 || id >= vocab_size);
    if (stray !== undefined) throw new LongjingError("bad_argument", "a prompt token is not in the vocabulary", { got: stray, expected: `0 to ${vocab_size - 1}` });
    if (prompt_ids.length === 0) throw new LongjingError("bad_argument", "a prompt needs at least one token");
    if (prompt_ids.length + sampling.max_tokens > this.max_model_len)
      throw new LongjingError("too_large", "prompt and completion do not fit the context", { got: `${prompt_ids.length} + ${sampling.max_tokens} tokens`, expected: `at most ${this.max_model_len}` });
    const index = this.#count++;
    const { repetition_penalty = 1, presence_penalty = 0, frequency_penalty = 0 } = sampling;
    this.#waiting.push({
      request,
      emit,
      fail,
      random: sampling.seed === undefined ? random("generator", this.#seed, index) : random("request", sampling.seed),
      stops: new Set(sampling.stop_token_ids ?? []),
      history: { prompt: new Set(prompt_ids), completion: new Map() },
      usesHistory: repetition_penalty !== 1 || presence_penalty !== 0 || frequency_penalty !== 0,
      last: 0,
      length: prompt_ids.length,
      generated: 0,
    });
    // Requests that are made together start together.
    this.#pumping ??= Promise.resolve().then(() => this.#pump());
  }

  async #pump(): Promise<void> {
    try {
      while ((this.#waiting.length > 0 || this.#running.length > 0) && !this.#disposed) {
        this.#dropAborted();
        await this.#admit();
        if (this.#running.length > 0) await this.#decode();
        if (this.#blocking) await eventLoopTurn();
      }
    } catch (error) {
      // The step failed for all that took part: each learns of it, and the engine is ready for others.
      for (const sequence of [...this.#running.splice(0), ...this.#waiting.splice(0)]) sequence.fail(error);
    } finally {
      this.#pumping = null;
    }
  }

  #dropAborted(): void {
    const aborted = (s: Sequence): boolean => s.request.signal?.aborted ?? false;
    for (const sequence of this.#waiting.filter(aborted)) finish(sequence, "abort");
    this.#waiting = this.#waiting.filter((s) => !aborted(s));
    for (let b = this.#running.length - 1; b >= 0; b--) if (aborted(this.#running[b]!)) this.#leave(b, "abort");
  }

  /** Prefills waiting sequences into free rows. Equal prompts are computed once and copied. */
  async #admit(): Promise<void> {
    const start = this.#running.length;
    const admitted = this.#waiting.splice(0, this.#runner.options.max_num_seqs - start);
    if (admitted.length === 0) return;
    const byPrompt = new Map<string, Sequence[]>();
    for (const sequence of admitted) {
      const key = sequence.request.prompt_ids.join();
      const group = byPrompt.get(key);
      if (group) group.push(sequence);
      else byPrompt.set(key, [sequence]);
    }
    const groups = [...byPrompt.values()];
    // The first of each group takes a row of its own, in order; then come the copies.
    const ordered = [...groups.map((g) => g[0]!), ...groups.flatMap((g) => g.slice(1))];
    this.#running.push(...ordered);
    const logits = await this.#runner.prefill(this.#parameters, start, groups.map((g) => g[0]!.request.prompt_ids), this.#blocking);
    const groupOf = new Map(groups.flatMap((g, i) => g.map((s) => [s, i] as const)));
    for (const [i, sequence] of ordered.entries()) {
      const group = groupOf.get(sequence)!;
      if (i >= groups.length) this.#runner.copyRow(start + group, start + i, sequence.length);
      this.#accept(sequence, this.#row(logits, group));
    }
    this.#removeFinished();
  }

  async #decode(): Promise<void> {
    const logits = await this.#runner.decode(this.#parameters, this.#running.map((s) => s.last), this.#running.map((s) => s.length), this.#blocking);
    for (const [b, sequence] of this.#running.entries()) {
      sequence.length++;
      this.#accept(sequence, this.#row(logits, b));
    }
    this.#removeFinished();
  }

  #row(logits: Float32Array, b: number): Float32Array {
    const width = this.#runner.config.vocab_size;
    return logits.subarray(b * width, (b + 1) * width);
  }

  #accept(sequence: Sequence, logits: Float32Array): void {
    const { history, request } = sequence;
    const { constraint } = request;
    constraint?.mask(this.#mask);
    const token = sample(logits, request.sampling, history, sequence.random, this.#scratch, constraint && this.#mask);
    constraint?.accept(token.token_id);
    sequence.last = token.token_id;
    sequence.generated++;
    if (sequence.usesHistory) history.completion.set(token.token_id, (history.completion.get(token.token_id) ?? 0) + 1);
    sequence.emit({ type: "token", ...token });
  }

  #removeFinished(): void {
    for (let b = this.#running.length - 1; b >= 0; b--) {
      const { stops, last, generated, request } = this.#running[b]!;
      if (stops.has(last)) this.#leave(b, "stop");
      else if (generated >= request.sampling.max_tokens) this.#leave(b, "length");
    }
  }

  /** Ends row b; the last row moves into its place, so that running rows stay together. */
  #leave(b: number, reason: FinishReason): void {
    const leaving = this.#running[b]!;
    const mover = this.#running.pop()!;
    if (mover !== leaving) {
      this.#runner.copyRow(this.#running.length, b, mover.length);
      this.#running[b] = mover;
    }
    finish(leaving, reason);
  }
}

function finish(sequence: Sequence, reason: FinishReason): void {
  sequence.emit({ type: "finish", reason, prompt_tokens: sequence.request.prompt_ids.length, cached_tokens: 0, completion_tokens: sequence.generated });
}

/** Events from a producer that does not wait to a consumer that does. */
class EventQueue<T extends { readonly type: string }> {
  #events: T[] = [];
  #error: { readonly cause: unknown } | null = null;
  #wake: (() => void) | null = null;

  push(event: T): void {
    this.#events.push(event);
    this.#wake?.();
  }

  fail(cause: unknown): void {
    this.#error = { cause };
    this.#wake?.();
  }

  /** Ends after an event of type "finish". `onAbandon` runs when the consumer stops early. */
  async *iterate(onAbandon: () => void): AsyncGenerator<T> {
    let finished = false;
    try {
      while (!finished) {
        const ready = this.#events;
        this.#events = [];
        for (const event of ready) {
          finished ||= event.type === "finish";
          yield event;
        }
        if (finished || this.#events.length > 0) continue;
        if (this.#error) throw this.#error.cause;
        await new Promise<void>((resolve) => (this.#wake = resolve));
      }
    } finally {
      if (!finished) onAbandon();
    }
  }
}

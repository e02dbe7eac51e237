import type { Engine, EngineEvent, EngineRequest } from "../engine/types.ts";
import type { Accounts } from "./accounts.ts";
import type { Admission } from "./admission.ts";
import { costOf, freeTerms } from "./keys.ts";
import type { RequestScope } from "./request-scope.ts";
import type { FinishedReason, ModelMetrics, ServingMetrics } from "./serving-metrics.ts";

export interface MeterOptions {
  readonly metrics: ServingMetrics;
  readonly admission: Admission;
  readonly accounts?: Accounts | undefined;
  /** Hears what goes wrong when nobody is left to be told. */
  readonly report: (error: unknown) => void;
}

interface Sequence {
  readonly prompt_ids: readonly number[];
  tokens: number;
  firstAt: number;
  lastAt: number;
  settled: boolean;
}

/**
 * Stands between the routes and an engine for one request: whose it is goes with every sequence, and what it reads and says is
 * counted as the client is told it. A prompt counts once however many sequences continue it, which they show by sharing the
 * array; a token counts when it is handed on, unless the requester has given up by then. When the last sequence that runs has
 * ended, and before anyone hears of that, the usage is in the ledger.
 */
export class Meter {
  readonly #options: MeterOptions;

  constructor(options: MeterOptions) {
    this.#options = options;
  }

  engine(engine: Engine, scope: RequestScope, model: string): Engine {
    const tally = new Tally(this.#options, scope, model);
    scope.onEnd(() => tally.close());
    const owner = scope.key?.id ?? "";
    return {
      max_model_len: engine.max_model_len,
      submit: (request) => {
        const own = { ...request, user: `${owner}/${request.user ?? ""}`, cache_salt: `${owner}/${request.cache_salt ?? ""}` };
        return tally.count(request, engine.submit(own));
      },
      ...(engine.embed && { embed: (prompt_ids, signal) => tally.embed(prompt_ids, engine.embed!(prompt_ids, signal)) }),
      stats: () => engine.stats(),
      dispose: () => engine.dispose(),
    };
  }
}

/** The sequences of one request. */
class Tally {
  readonly #options: MeterOptions;
  readonly #scope: RequestScope;
  readonly #model: string;
  readonly #metrics: ModelMetrics;
  readonly #running = new Set<Sequence>();
  /** Prompts that have not been charged, with the least that one of their sequences found in the cache. */
  readonly #prompts = new Map<readonly number[], number | null>();
  /** Prompts that have. */
  readonly #charged = new WeakSet<readonly number[]>();
  #completion = 0;

  constructor(options: MeterOptions, scope: RequestScope, model: string) {
    this.#options = options;
    this.#scope = scope;
    this.#model = model;
    this.#metrics = options.metrics.model(model);
  }

  count(request: EngineRequest, events: AsyncIterable<EngineEvent>): AsyncIterable<EngineEvent> {
    const { prompt_ids } = request;
    const sequence: Sequence = { prompt_ids, tokens: 0, firstAt: 0, lastAt: 0, settled: false };
    this.#running.add(sequence);
    if (!this.#prompts.has(prompt_ids) && !this.#charged.has(prompt_ids)) this.#prompts.set(prompt_ids, null);
    return this.#counted(sequence, request.signal, events);
  }

  /** A text that is only read: its tokens count as a prompt's. */
  async embed(prompt_ids: readonly number[], vector: Promise<Float32Array>): Promise<Float32Array> {
    const read = async function* (): AsyncGenerator<EngineEvent, void> {
      await vector;
      yield { type: "finish", reason: "stop", prompt_tokens: prompt_ids.length, cached_tokens: 0, completion_tokens: 0 };
    };
    for await (const _ of this.count({ prompt_ids, sampling: { max_tokens: 1 } }, read()));
    return await vector;
  }

  /** Settles what has been left running. */
  close(): void {
    try {
      for (const sequence of this.#running) this.#settle(sequence, "abort");
    } catch (error) {
      this.#options.report(error);
    }
  }

  async *#counted(sequence: Sequence, signal: AbortSignal | undefined, events: AsyncIterable<EngineEvent>): AsyncGenerator<EngineEvent, void> {
    // A sequence that its reader has had enough of has ended as the reader wished.
    const left = (): FinishedReason => (this.#scope.gone ? "abort" : "stop");
    let failed = true;
    try {
      for await (const event of events) {
        if (event.type === "finish") {
          this.#found(sequence.prompt_ids, event.cached_tokens);
          this.#settle(sequence, event.reason === "abort" ? left() : event.reason);
        } else if (event.type === "token" && signal?.aborted !== true) {
          this.#token(sequence);
        }
        failed = false;
        yield event;
        failed = true;
      }
    } finally {
      this.#settle(sequence, failed ? "error" : left());
    }
  }

  #token(sequence: Sequence): void {
    const now = performance.now();
    if (sequence.tokens === 0) {
      sequence.firstAt = now;
      this.#scope.firstToken(now);
      this.#metrics.time_to_first_token.observe((now - this.#scope.startedAt) / 1000);
    } else {
      this.#metrics.inter_token_latency.observe((now - sequence.lastAt) / 1000);
    }
    sequence.lastAt = now;
    sequence.tokens++;
    this.#completion++;
    this.#metrics.generation_tokens.add(1);
  }

  #found(prompt: readonly number[], cached: number): void {
    const before = this.#prompts.get(prompt);
    if (before !== undefined) this.#prompts.set(prompt, before === null ? cached : Math.min(before, cached));
  }

  /** Once: a sequence whose requester has gone ends with that, whatever the engine says of it later. */
  #settle(sequence: Sequence, reason: FinishedReason): void {
    if (sequence.settled) return;
    const { metrics } = this.#options;
    sequence.settled = true;
    this.#running.delete(sequence);
    const { tokens, firstAt, lastAt, prompt_ids } = sequence;
    const of = this.#metrics;
    if (tokens > 1) of.time_per_output_token.observe((lastAt - firstAt) / 1000 / (tokens - 1));
    of.e2e_request_latency.observe((performance.now() - this.#scope.startedAt) / 1000);
    of.request_prompt_tokens.observe(prompt_ids.length);
    of.request_generation_tokens.observe(tokens);
    metrics.finished(this.#model, reason);
    this.#scope.finish_reasons.push(reason);
    if (this.#running.size === 0) this.#charge();
  }

  #charge(): void {
    const { metrics, admission, accounts } = this.#options;
    const { key, id } = this.#scope;
    const prompts = [...this.#prompts];
    const usage = {
      prompt_tokens: prompts.reduce((sum, [prompt]) => sum + prompt.length, 0),
      cached_tokens: prompts.reduce((sum, [, cached]) => sum + (cached ?? 0), 0),
      completion_tokens: this.#completion,
    };
    for (const [prompt] of prompts) this.#charged.add(prompt);
    this.#prompts.clear();
    this.#completion = 0;
    this.#metrics.prompt_tokens.add(usage.prompt_tokens);
    metrics.used(key, usage.prompt_tokens, usage.completion_tokens);
    admission.spend(key, usage.prompt_tokens + usage.completion_tokens);
    this.#scope.add(usage);
    accounts?.record({ time: Date.now(), request: id, key: key?.id ?? null, model: this.#model, ...usage, cost: costOf(key ?? freeTerms, usage) });
  }
}

import { LongjingError } from "../errors/index.ts";
import { random } from "../random/index.ts";
import type { LoraAdapter } from "../weights/index.ts";
import { Adapters } from "./adapters.ts";
import { eventLoopTurn, pause } from "../runtime/event-loop.ts";
import { EventQueue } from "./event-queue.ts";
import type { ModelParameters } from "./model-parameters.ts";
import type { ModelRunner } from "./model-runner.ts";
import { checkSamplingParams } from "./sampling-params.ts";
import { Scheduler, type Runner, type SchedulerOptions } from "./scheduler.ts";
import { Sequence, type Listener } from "./sequence.ts";
import type { Engine, EngineEvent, EngineRequest, EngineStats, FinishReason, Turn } from "./types.ts";

/** A finished sequence. */
export interface Completion {
  readonly token_ids: readonly number[];
  /** Log-probability of each token under the unprocessed logits at temperature 1. */
  readonly logprobs: readonly number[];
  readonly finish_reason: FinishReason;
  /** 1 where the model said the token, 0 where its request did, after a turn; their log-probability is 0. Only of requests with `next`. */
  readonly tool_mask?: readonly (0 | 1)[];
}

export interface GeneratorOptions extends SchedulerOptions {
  /** Seed of requests that bring none; each is given its own stream. */
  readonly seed?: number;
  /** LoRA adapters that it may hold at once. Default 8. */
  readonly max_loras?: number;
}

type GeneratorRunner = Runner & Pick<ModelRunner, "loadAdapter" | "unloadAdapter" | "dispose">;

/** The engine over a ModelRunner: requests in, events out. Rollout, evaluation, chat and the server all call this. */
export class Generator implements Engine {
  readonly max_model_len: number;
  readonly #runner: GeneratorRunner;
  readonly #scheduler: Scheduler;
  readonly #adapters: Adapters;
  readonly #blocking: boolean;
  readonly #seed: number;
  #parameters: ModelParameters;
  #pumping: Promise<void> | null = null;
  #count = 0;
  #disposed = false;

  constructor(runner: GeneratorRunner, parameters: ModelParameters, { seed = 0, max_loras = 8, ...options }: GeneratorOptions = {}) {
    this.max_model_len = runner.options.max_model_len;
    this.#runner = runner;
    this.#scheduler = new Scheduler(runner, options);
    this.#adapters = new Adapters(max_loras);
    this.#parameters = parameters;
    this.#blocking = options.blocking ?? false;
    this.#seed = seed;
  }

  /** Reads other buffers from the next step on: what a trainer calls after its step. Nothing may be running. */
  useParameters(parameters: ModelParameters): void {
    const { running } = this.#scheduler;
    if (running > 0) throw new LongjingError("conflict", "parameters change only while nothing runs", { got: `${running} running sequences` });
    this.#scheduler.clearCache();
    this.#parameters = parameters;
  }

  /** Holds a LoRA adapter, which requests ask for by this name. @throws LongjingError "conflict" for a name that is taken, or too many */
  addAdapter(name: string, adapter: LoraAdapter): void {
    this.#adapters.add(name, () => this.#runner.loadAdapter(this.#parameters, adapter));
  }

  /** @throws LongjingError "not_found"; "conflict" while requests use it */
  removeAdapter(name: string): void {
    const key = this.#adapters.key(name);
    if (this.#scheduler.uses(key)) throw new LongjingError("conflict", "An adapter is removed only while no request uses it", { got: name });
    this.#runner.unloadAdapter(this.#adapters.remove(name));
  }

  submit(request: EngineRequest): AsyncIterable<EngineEvent> {
    const queue = new EventQueue<EngineEvent>();
    const sequence = this.#enqueue(request, { emit: (event) => queue.push(event), fail: (error) => queue.fail(error) });
    return queue.iterate(() => {
      sequence.abandon();
      this.#scheduler.wake();
    });
  }

  /** Runs many requests to their ends; results keep the order of the requests. */
  generate(requests: readonly EngineRequest[], onFinish?: (index: number) => void): Promise<Completion[]> {
    return Promise.all(
      requests.map(
        (request, index) =>
          new Promise<Completion>((resolve, reject) => {
            const token_ids: number[] = [];
            const logprobs: number[] = [];
            const tool_mask: (0 | 1)[] = [];
            const { next } = request;
            const followed = next && {
              next: async (turn: Turn) => {
                const more = await next(turn);
                for (const id of more?.token_ids ?? []) {
                  token_ids.push(id);
                  logprobs.push(0);
                  tool_mask.push(0);
                }
                return more;
              },
            };
            const emit = (event: EngineEvent): void => {
              if (event.type === "token") {
                token_ids.push(event.token_id);
                logprobs.push(event.logprob);
                tool_mask.push(1);
              } else if (event.type === "finish") {
                resolve({ token_ids, logprobs, finish_reason: event.reason, ...(next && { tool_mask }) });
                onFinish?.(index);
              }
            };
            this.#enqueue({ ...request, ...followed }, { emit, fail: reject });
          }),
      ),
    );
  }

  stats(): EngineStats {
    return this.#scheduler.stats();
  }

  dispose(): void {
    this.#disposed = true;
    this.#scheduler.wake();
    void (this.#pumping ?? Promise.resolve()).then(() => this.#runner.dispose());
  }

  #enqueue(request: EngineRequest, listener: Listener): Sequence {
    const { prompt_ids, sampling } = request;
    const { vocab_size } = this.#runner.config;
    checkSamplingParams(sampling, vocab_size);
    const stray = prompt_ids.find((id) => !Number.isInteger(id) || id < 0 || id >= vocab_size);
    if (stray !== undefined) throw new LongjingError("bad_argument", "a prompt token is not in the vocabulary", { where: "prompt", got: stray, expected: `0 to ${vocab_size - 1}` });
    if (prompt_ids.length === 0) throw new LongjingError("bad_argument", "a prompt needs at least one token");
    if (prompt_ids.length + sampling.max_tokens > this.max_model_len)
      throw new LongjingError("too_large", "prompt and completion do not fit the context", { got: `${prompt_ids.length} + ${sampling.max_tokens} tokens`, expected: `at most ${this.max_model_len}` });
    if (request.next && request.constraint) throw new LongjingError("bad_argument", "A constraint is for one turn", { got: "a constraint, and what follows the turn", expected: "one of the two" });
    const adapter = this.#adapters.key(request.adapter);
    const index = this.#count++;
    const stream = sampling.seed === undefined ? random("generator", this.#seed, index) : random("request", sampling.seed);
    const sequence = new Sequence(request, adapter, stream, listener);
    this.#scheduler.waiting.push(sequence);
    this.#scheduler.wake();
    // Requests that are made together start together.
    this.#pumping ??= Promise.resolve().then(() => this.#pump());
    return sequence;
  }

  /** Requests that come together start together: while nothing runs and every two milliseconds bring another, the engine waits for more. */
  async #arrival(): Promise<void> {
    for (let known = 0; known < this.#scheduler.waiting.size; await pause(2)) known = this.#scheduler.waiting.size;
  }

  async #pump(): Promise<void> {
    const scheduler = this.#scheduler;
    try {
      while ((scheduler.waiting.size > 0 || scheduler.running > 0) && !this.#disposed) {
        if (scheduler.idle) {
          await scheduler.change();
          continue;
        }
        if (scheduler.running === 0 && !this.#blocking) await this.#arrival();
        await scheduler.step((adapter) => this.#adapters.parameters(this.#parameters, adapter));
        if (this.#blocking) await eventLoopTurn();
      }
    } catch (error) {
      // Whatever failed the step, the engine is ready for others.
      scheduler.fail(error);
    } finally {
      this.#pumping = null;
    }
  }
}

import type { EngineEvent, FinishReason } from "../engine/types.ts";
import { LongjingError } from "../errors/index.ts";
import type { TranscriptDelta } from "../text/splitter.ts";
import type { ChatRequest } from "./chat-request.ts";
import { merge } from "./merge.ts";
import type { ServedModel } from "./model.ts";
import { stopStrings, type StopStrings } from "./stop-strings.ts";

export interface TokenLogprob {
  readonly token: string;
  readonly logprob: number;
  /** UTF-8 of `token`. */
  readonly bytes: readonly number[];
  readonly top_logprobs: readonly Omit<TokenLogprob, "top_logprobs">[];
}

/** The one stream inside: every wire format is a fold over it. `index` tells the choices of one request apart. */
export type ChatEvent =
  | {
      readonly type: "reasoning-delta" | "text-delta";
      readonly index: number;
      readonly text: string;
      /** The tokens since the delta before, when the request asked for them. */
      readonly logprobs?: readonly TokenLogprob[];
    }
  | {
      readonly type: "end";
      readonly index: number;
      readonly finish_reason: "stop" | "length";
      readonly prompt_tokens: number;
      readonly completion_tokens: number;
      readonly reasoning_tokens: number;
    };

type TokenEvent = Extract<EngineEvent, { type: "token" }>;

/**
 * Answers `request`. The prompt is checked before the first event: too long throws `bad_argument`, and nothing is ever cut
 * to fit.
 */
export function chatEvents(model: ServedModel, request: ChatRequest, signal: AbortSignal): AsyncIterable<ChatEvent> {
  const prompt_ids = model.tokenizer.encode(model.renderChat(request.messages));
  const max_tokens = completionBudget(model, prompt_ids.length, request.max_tokens);
  const choices = Array.from({ length: request.n }, (_, index) => {
    const { seed } = request.sampling;
    const sampling = {
      ...model.sampling,
      ...request.sampling,
      ...(seed === undefined ? {} : { seed: seed + index }),
      max_tokens,
      stop_token_ids: model.stop_token_ids,
    };
    return choice(model, request, index, model.engine.submit({ prompt_ids, sampling, signal }), prompt_ids.length);
  });
  return merge(choices);
}

function completionBudget(model: ServedModel, prompt: number, asked: number | undefined): number {
  const { max_model_len } = model.engine;
  const wanted = prompt + (asked ?? 1);
  if (wanted <= max_model_len) return asked ?? max_model_len - prompt;
  throw new LongjingError(
    "bad_argument",
    `This model's maximum context length is ${max_model_len} tokens. However, you requested ${wanted} tokens ` +
      `(${prompt} in the messages, ${wanted - prompt} in the completion). Please reduce the length of the messages or completion.`,
  );
}

/** One completion: tokens → text → thinking and answer, ended by the engine or by a stop string in the answer. */
async function* choice(
  model: ServedModel,
  request: ChatRequest,
  index: number,
  tokens: AsyncIterable<EngineEvent>,
  prompt_tokens: number,
): AsyncGenerator<ChatEvent, void> {
  const text = model.tokenizer.stream();
  const transcript = model.splitter();
  const deltas = new Deltas(model, request, index);
  const end = (finish_reason: "stop" | "length"): ChatEvent => ({
    type: "end",
    index,
    finish_reason,
    prompt_tokens,
    completion_tokens: deltas.tokens,
    reasoning_tokens: deltas.reasoningTokens,
  });
  for await (const event of tokens) {
    if (event.type === "finish") {
      const rest = [...transcript.push(text.end()), ...transcript.end()];
      yield* deltas.of(rest);
      yield* deltas.end();
      yield end(finishReason(event.reason));
      return;
    }
    deltas.count(event);
    if (model.stop_token_ids.includes(event.token_id)) continue;
    yield* deltas.of(transcript.push(text.push(event.token_id)));
    if (deltas.stopped) return yield end("stop");
  }
  throw new LongjingError("runtime", "The engine ended a sequence without saying why");
}

function finishReason(reason: FinishReason): "stop" | "length" {
  if (reason === "abort") throw new LongjingError("runtime", "The generation was aborted");
  return reason;
}

/**
 * Makes deltas of transcript parts and books each token under the part that its text came out with. A token whose text is
 * held back (half a tag, half a character) waits for the next part.
 */
class Deltas {
  tokens = 0;
  reasoningTokens = 0;
  stopped = false;
  readonly #model: ServedModel;
  readonly #index: number;
  readonly #logprobs: boolean;
  readonly #stop: StopStrings;
  #pending: TokenEvent[] = [];
  #last: TranscriptDelta["type"] = "text";

  constructor(model: ServedModel, request: ChatRequest, index: number) {
    this.#model = model;
    this.#index = index;
    this.#logprobs = request.logprobs;
    this.#stop = stopStrings(request.stop);
  }

  count(event: TokenEvent): void {
    this.tokens++;
    this.#pending.push(event);
  }

  *of(parts: readonly TranscriptDelta[]): Generator<ChatEvent, void> {
    for (const part of parts) {
      if (part.type === "reasoning") {
        yield* this.#delta("reasoning", part.delta);
        continue;
      }
      const { text, hit } = this.#stop.push(part.delta);
      yield* this.#delta("text", text);
      if (hit) {
        this.stopped = true;
        return;
      }
    }
  }

  *end(): Generator<ChatEvent, void> {
    if (!this.stopped) yield* this.#delta("text", this.#stop.end());
    this.#book(this.#last);
  }

  *#delta(type: TranscriptDelta["type"], text: string): Generator<ChatEvent, void> {
    if (text === "") return;
    const logprobs = this.#book(type);
    yield { type: `${type}-delta`, index: this.#index, text, ...(this.#logprobs ? { logprobs: logprobs.map((token) => this.#logprob(token)) } : {}) };
  }

  #book(type: TranscriptDelta["type"]): readonly TokenEvent[] {
    const pending = this.#pending;
    this.#pending = [];
    this.#last = type;
    if (type === "reasoning") this.reasoningTokens += pending.length;
    return pending;
  }

  #logprob({ token_id, logprob, top_logprobs = [] }: TokenEvent): TokenLogprob {
    const one = (id: number, value: number) => {
      const token = this.#model.tokenizer.decode([id]);
      return { token, logprob: value, bytes: [...new TextEncoder().encode(token)] };
    };
    return { ...one(token_id, logprob), top_logprobs: top_logprobs.map((top) => one(top.token_id, top.logprob)) };
  }
}

import type { EngineEvent, FinishReason, TokenConstraint } from "../engine/types.ts";
import { LongjingError } from "../errors/index.ts";
import { answerConstraint } from "./answer-constraint.ts";
import { answerReader, type AnswerDelta, type AnswerReader } from "./answer-reader.ts";
import { chatPrompt } from "./chat-prompt.ts";
import type { ChatRequest } from "./chat-request.ts";
import { merge } from "./merge.ts";
import type { ServedModel } from "./model.ts";
import { encodePrompt } from "./prompt-tokens.ts";
import type { CompletionSettings } from "./request-fields.ts";
import { TokenTrail } from "./token-trail.ts";

export interface TokenLogprob {
  readonly token: string;
  /** Null of a prompt's first token, which nothing predicts. */
  readonly logprob: number | null;
  /** What the token stands for, which may be part of a character; `token` then has U+FFFD. Null of special tokens, which are no text. */
  readonly bytes: readonly number[] | null;
  readonly top_logprobs: readonly Omit<TokenLogprob, "top_logprobs">[];
}

/** The one stream inside: every wire format is a fold over it. `index` tells the choices of one request apart. */
export type ChatEvent =
  | {
      readonly type: "reasoning-delta" | "text-delta";
      readonly index: number;
      readonly text: string;
      /** The tokens that have their text, or the start of it, here, when the request asked for them. */
      readonly logprobs?: readonly TokenLogprob[];
    }
  /** A call begins; `call` counts the calls of its choice. */
  | { readonly type: "tool-call"; readonly index: number; readonly call: number; readonly id: string; readonly name: string }
  /** More of the JSON text of that call's arguments. */
  | { readonly type: "tool-arguments-delta"; readonly index: number; readonly call: number; readonly text: string }
  | EndEvent;

export interface EndEvent {
  readonly type: "end";
  readonly index: number;
  readonly finish_reason: "stop" | "length" | "tool_calls";
  /** The stop string that ended it. */
  readonly stop_sequence: string | null;
  readonly prompt_tokens: number;
  /** Tokens of the prompt that were in the prefix cache. */
  readonly cached_tokens: number;
  readonly completion_tokens: number;
  readonly reasoning_tokens: number;
}

export type TokenEvent = Extract<EngineEvent, { type: "token" }>;

export interface ChatAnswer {
  readonly prompt_tokens: number;
  readonly events: AsyncIterable<ChatEvent>;
}

/**
 * Answers `request`. Whatever is wrong with it throws before this returns: a prompt that is too long is "bad_argument", and
 * nothing is ever cut to fit.
 */
export async function chatEvents(model: ServedModel, request: ChatRequest, signal: AbortSignal): Promise<ChatAnswer> {
  const prompt = chatPrompt(model, request);
  const prompt_ids = encodePrompt(model, prompt.text);
  const max_tokens = completionBudget(model, prompt_ids.length, request.max_tokens);
  const constraint = await answerConstraint(model, request, prompt, max_tokens);
  const events = completionEvents(model, request, { prompt_ids, max_tokens, signal, constraint }, () => answerReader(model, request, prompt));
  return { prompt_tokens: prompt_ids.length, events };
}

export interface CompletionInput {
  readonly prompt_ids: readonly number[];
  readonly max_tokens: number;
  readonly signal: AbortSignal;
  /** A new one for each choice. */
  readonly constraint: (() => TokenConstraint) | undefined;
  /** Text that each choice begins with: the prompt, where it is echoed. */
  readonly echo?: string;
  /** The index of the first choice, where a request has several prompts. Default 0. */
  readonly first?: number;
}

/** Submits the choices of a request and reads each as `reader` has it. */
export function completionEvents(
  model: ServedModel,
  { n, sampling, ignore_eos, user, cache_salt, ...request }: CompletionSettings & { readonly logprobs: boolean },
  { prompt_ids, max_tokens, signal, constraint, echo = "", first = 0 }: CompletionInput,
  reader: () => AnswerReader,
): AsyncIterable<ChatEvent> {
  const choices = Array.from({ length: n }, (_, index) => {
    const { seed } = sampling;
    const done = new AbortController();
    const tokens = model.engine.submit({
      prompt_ids,
      sampling: {
        ...model.sampling,
        ...sampling,
        ...(seed === undefined ? {} : { seed: seed + index }),
        max_tokens,
        logprobs: request.logprobs,
        stop_token_ids: ignore_eos ? [] : model.stop_token_ids,
      },
      signal: AbortSignal.any([signal, done.signal]),
      ...(user === "" ? {} : { user }),
      ...(cache_salt === "" ? {} : { cache_salt }),
      ...(constraint === undefined ? {} : { constraint: constraint() }),
    });
    return new Choice(model, first + index, request.logprobs, reader()).events(tokens, done, { prompt_ids, echo });
  });
  return merge(choices);
}

/** Tokens that a completion may have. @throws LongjingError "bad_argument" when prompt and completion do not fit */
export function completionBudget({ engine: { max_model_len } }: ServedModel, prompt: number, asked: number | undefined): number {
  const wanted = prompt + (asked ?? 1);
  if (wanted <= max_model_len) return asked ?? max_model_len - prompt;
  throw new LongjingError(
    "bad_argument",
    `This model's maximum context length is ${max_model_len} tokens. However, you requested ${wanted} tokens ` +
      `(${prompt} in the messages, ${wanted - prompt} in the completion). Please reduce the length of the messages or completion.`,
  );
}

/**
 * One completion: tokens → text → parts, ended by the engine, by a stop string, or by the one call that was allowed. Each token
 * counts to the part that came out with it; where its text is held back (half a tag, half a character), to the next.
 */
class Choice {
  readonly #model: ServedModel;
  readonly #index: number;
  readonly #logprobs: boolean;
  readonly #reader: AnswerReader;
  #tokens = 0;
  #reasoningTokens = 0;
  #calls = 0;
  #uncounted = 0;
  readonly #trail: TokenTrail<TokenEvent> | undefined;
  #last: AnswerDelta["type"] = "text";

  constructor(model: ServedModel, index: number, logprobs: boolean, reader: AnswerReader) {
    this.#model = model;
    this.#index = index;
    this.#logprobs = logprobs;
    this.#reader = reader;
    this.#trail = logprobs ? new TokenTrail(reader.tags) : undefined;
  }

  async *events(tokens: AsyncIterable<EngineEvent>, done: AbortController, { prompt_ids, echo }: Required<Pick<CompletionInput, "prompt_ids" | "echo">>): AsyncGenerator<ChatEvent, void> {
    const text = this.#model.tokenizer.stream();
    let ended = false;
    if (echo !== "" && !this.#logprobs) yield { type: "text-delta", index: this.#index, text: echo };
    for await (const event of tokens) {
      if (event.type === "prompt") {
        const logprobs = prompt_ids.map((token_id, at) => tokenLogprob(this.#model, event.logprobs[at] ?? { token_id, logprob: null }));
        yield { type: "text-delta", index: this.#index, text: echo, logprobs };
        continue;
      }
      if (event.type === "finish") {
        if (!ended) for (const delta of this.#rest(text.end())) yield delta;
        this.#count(this.#last);
        return yield this.#end(event, ended ? "stop" : event.reason);
      }
      if (ended) continue;
      this.#tokens++;
      this.#uncounted++;
      if (this.#model.stop_token_ids.includes(event.token_id)) continue;
      const piece = text.push(event.token_id);
      this.#trail?.push(event, piece);
      // Each by itself: a generator that another hands on costs a token several turns.
      for (const delta of this.#deltas(this.#reader.push(piece))) yield delta;
      ended = this.#reader.ended;
      if (ended) done.abort();
    }
    throw new LongjingError("runtime", "The engine ended a sequence without saying why");
  }

  #end({ prompt_tokens, cached_tokens }: Extract<EngineEvent, { type: "finish" }>, reason: FinishReason): ChatEvent {
    if (reason === "abort") throw new LongjingError("runtime", "The generation was aborted");
    return {
      type: "end",
      index: this.#index,
      finish_reason: reason === "stop" && this.#calls > 0 ? "tool_calls" : reason,
      stop_sequence: this.#reader.stopSequence,
      prompt_tokens,
      cached_tokens,
      completion_tokens: this.#tokens,
      reasoning_tokens: this.#reasoningTokens,
    };
  }

  #rest(text: string): Generator<ChatEvent, void> {
    this.#trail?.end(text);
    return this.#deltas([...this.#reader.push(text), ...this.#reader.end()]);
  }

  *#deltas(parts: readonly AnswerDelta[]): Generator<ChatEvent, void> {
    const index = this.#index;
    for (const part of parts) {
      this.#count(part.type);
      if (part.type === "call" || part.type === "arguments") this.#trail?.pass();
      if (part.type === "call") {
        yield { type: "tool-call", index, call: this.#calls++, id: callId(), name: part.name };
      } else if (part.type === "arguments") {
        yield { type: "tool-arguments-delta", index, call: this.#calls - 1, text: part.delta };
      } else {
        const type = part.type === "text" ? "text-delta" : "reasoning-delta";
        const logprobs = this.#trail?.take(part.delta).map((token) => tokenLogprob(this.#model, token));
        yield logprobs ? { type, index, text: part.delta, logprobs } : { type, index, text: part.delta };
      }
    }
  }

  #count(type: AnswerDelta["type"]): void {
    if (type === "reasoning") this.#reasoningTokens += this.#uncounted;
    this.#uncounted = 0;
    this.#last = type;
  }
}

function callId(): string {
  return `call_${crypto.randomUUID().replaceAll("-", "")}`;
}

type ReportedToken = Pick<TokenEvent, "token_id" | "top_logprobs"> & { readonly logprob: number | null };

export function tokenLogprob({ tokenizer }: ServedModel, { token_id, logprob, top_logprobs = [] }: ReportedToken): TokenLogprob {
  const one = (id: number, value: number | null) => {
    const token = tokenizer.decode([id]);
    const bytes = tokenizer.tokenBytes[id];
    return { token, logprob: value, bytes: bytes === null ? null : [...(bytes ?? new TextEncoder().encode(token))] };
  };
  return { ...one(token_id, logprob), top_logprobs: top_logprobs.map((top) => one(top.token_id, top.logprob)) };
}

import { LongjingError } from "../src/errors/index.ts";
import { createConstrainer } from "../src/constrain/index.ts";
import type { Engine, EngineRequest, FinishReason, TokenConstraint } from "../src/engine/types.ts";
import type { ServedModel } from "../src/serve/index.ts";

export interface FakeOptions {
  readonly id?: string;
  /** What the model says to the last user message; the default thinks about it and repeats it. */
  readonly say?: (message: string) => string;
  readonly max_model_len?: number;
  /** Pause before each token. */
  readonly delayMs?: number;
  /** Says nothing more after this many tokens, until it is aborted. */
  readonly stallAfter?: number;
  /** Fails after this many tokens. */
  readonly failAfter?: number;
  /** Tokens of each prompt that are said to come from the prefix cache. */
  readonly cached?: number;
  /** What the template is taken for; it is not rendered. */
  readonly chatTemplate?: string;
  /** What a prompt ends with. */
  readonly opening?: string;
  /** Added tokens, by id. */
  readonly added?: ReadonlyMap<string, number>;
}

export interface FakeModel extends ServedModel {
  /** Sequences that have been submitted and have not ended. */
  running(): number;
  readonly requests: EngineRequest[];
}

const eos = 0;
/** Token ids below this are known to constraints. */
const vocabulary = 0x250;

const tokenBytes = Array.from({ length: vocabulary }, (_, id) => (id === eos ? null : new TextEncoder().encode(String.fromCodePoint(id))));

/** The tokens that bring a constrained answer to its end soonest. */
const closers = [eos, ...'"}],:0123456789abcdefghijklmnopqrstuvwxyz{['].map((token) => (typeof token === "string" ? (token.codePointAt(0) as number) : token));

/** What the constraint lets the model say instead of what it wanted. */
function allowed(constraint: TokenConstraint, wanted: number, mask: Uint32Array): number {
  constraint.mask(mask);
  const may = (id: number): boolean => (((mask[id >> 5] ?? 0) >>> (id & 31)) & 1) === 1;
  const choice = [wanted, ...closers, ...Array(vocabulary).keys()].find(may);
  if (choice === undefined) throw new Error("The constraint allows no token");
  constraint.accept(choice);
  return choice;
}

/** How often each letter stands in a text, at unit length. */
function letterCounts(ids: readonly number[]): Float32Array {
  const counts = Float32Array.from({ length: 16 }, (_, bin) => ids.filter((id) => id % 16 === bin).length);
  if (ids.length === 0) throw new LongjingError("bad_argument", "There is nothing to embed");
  return counts.map((count) => count / Math.hypot(...counts));
}

/**
 * A served model without weights: a token is one code point, and what it says is given. A constraint is honoured: where it forbids
 * the next token, another stands in.
 */
export function fakeModel(options: FakeOptions = {}): FakeModel {
  const { id = "fake", say = (message) => `<think>They said ${message}.</think>\n<answer>${message}</answer>`, max_model_len = 4096, cached = 0 } = options;
  const requests: EngineRequest[] = [];
  let running = 0;
  const engine: Engine = {
    max_model_len,
    async *submit(request) {
      requests.push(request);
      running++;
      try {
        const { prompt_ids, constraint, sampling: { max_tokens, prompt_logprobs } } = request;
        const prompt = String.fromCodePoint(...prompt_ids);
        const finish = (reason: FinishReason, completion_tokens: number) => ({ type: "finish" as const, reason, prompt_tokens: prompt_ids.length, cached_tokens: cached, completion_tokens });
        const ids = [...say(prompt.slice(prompt.lastIndexOf("user:") + 5, prompt.lastIndexOf("\n")))].map((point) => point.codePointAt(0) as number);
        const mask = new Uint32Array(Math.ceil(vocabulary / 32));
        if (prompt_logprobs !== undefined) yield { type: "prompt", logprobs: prompt_ids.map((token_id, at) => (at === 0 ? null : { token_id, logprob: -at, ...(prompt_logprobs > 0 && { top_logprobs: [{ token_id: 0x61, logprob: -at / 2 }] }) })) };
        for (let at = 0; at < max_tokens; at++) {
          if (at === options.failAfter) throw new Error("secret detail of the engine");
          if (at === options.stallAfter) await new Promise((resolve) => request.signal?.addEventListener("abort", resolve));
          if (options.delayMs !== undefined) await new Promise((resolve) => setTimeout(resolve, options.delayMs));
          if (request.signal?.aborted) return yield finish("abort", at);
          const wanted = ids[at] ?? eos;
          const token_id = constraint === undefined ? wanted : allowed(constraint, wanted, mask);
          yield { type: "token", token_id, logprob: -at / 100, top_logprobs: [{ token_id, logprob: -at / 100 }] };
          if (token_id === eos && request.sampling.stop_token_ids?.includes(eos)) return yield finish("stop", at + 1);
        }
        yield finish("length", max_tokens);
      } finally {
        running--;
      }
    },
    stats: () => ({ num_requests_running: running, num_requests_waiting: 0, kv_cache_usage_perc: 0, prompt_tokens: 0, generation_tokens: 0, prefix_cache_queries: 0, prefix_cache_hits: 0, spec_decode_num_drafts: 0, spec_decode_num_draft_tokens: 0, spec_decode_num_accepted_tokens: 0 }),
    embed: async (ids) => letterCounts(ids),
    dispose() {},
  };
  const tokenizer: ServedModel["tokenizer"] = {
    encode: (text) => [...text].map((point) => point.codePointAt(0) as number),
    decode: (ids) => String.fromCodePoint(...ids.filter((id) => id <= 0x10ffff)),
    stream: () => ({ push: (token) => String.fromCodePoint(token), end: () => "" }),
    idOf: (token) => options.added?.get(token) ?? null,
    tokenBytes,
  };
  return {
    id,
    created: 1_764_000_000,
    system_fingerprint: "fp_fake",
    engine,
    tokenizer,
    constrainer: createConstrainer(tokenizer, [eos]),
    stop_token_ids: [eos],
    examples: ["What is 2 + 2?", "用 3, 5, 7 得到 22"],
    chatTemplate: options.chatTemplate ?? "",
    renderChat: (messages) => messages.map(({ role, content }) => `${role}:${String(content)}\n`).join("") + (options.opening ?? ""),
    requests,
    running: () => running,
  };
}

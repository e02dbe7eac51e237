import type { Engine, EngineRequest } from "../src/engine/types.ts";
import type { ServedModel } from "../src/serve/index.ts";
import { TranscriptSplitter } from "../src/text/splitter.ts";

export interface FakeOptions {
  readonly id?: string;
  /** What the model says to the last user message; the default thinks about it and repeats it. */
  readonly say?: (message: string) => string;
  readonly max_model_len?: number;
  /** Pause before each token. */
  readonly delayMs?: number;
  /** Fails after this many tokens. */
  readonly failAfter?: number;
}

export interface FakeModel extends ServedModel {
  /** Sequences that have been submitted and have not ended. */
  running(): number;
  readonly requests: EngineRequest[];
}

const eos = 0;

/** A served model without weights: a token is one code point, and what it says is given. */
export function fakeModel(options: FakeOptions = {}): FakeModel {
  const { id = "fake", say = (message) => `<think>They said ${message}.</think>\n<answer>${message}</answer>`, max_model_len = 4096 } = options;
  const requests: EngineRequest[] = [];
  let running = 0;
  const engine: Engine = {
    max_model_len,
    async *submit(request) {
      requests.push(request);
      running++;
      try {
        const { max_tokens } = request.sampling;
        const prompt = String.fromCodePoint(...request.prompt_ids);
        const ids = [...say(prompt.slice(prompt.lastIndexOf("user:") + 5, prompt.lastIndexOf("\n")))].map((point) => point.codePointAt(0) as number);
        ids.push(eos);
        for (const [at, token_id] of ids.slice(0, max_tokens).entries()) {
          if (at === options.failAfter) throw new Error("secret detail of the engine");
          await new Promise((resolve) => setTimeout(resolve, options.delayMs ?? 0));
          if (request.signal?.aborted) return yield { type: "finish", reason: "abort", prompt_tokens: request.prompt_ids.length, cached_tokens: 0, completion_tokens: at };
          yield { type: "token", token_id, logprob: -at / 100, top_logprobs: [{ token_id, logprob: -at / 100 }] };
        }
        const reason = ids.length <= max_tokens ? "stop" : "length";
        yield { type: "finish", reason, prompt_tokens: request.prompt_ids.length, cached_tokens: 0, completion_tokens: Math.min(ids.length, max_tokens) };
      } finally {
        running--;
      }
    },
    dispose() {},
  };
  return {
    id,
    created: 1_764_000_000,
    system_fingerprint: "fp_fake",
    engine,
    tokenizer: {
      encode: (text) => [...text].map((point) => point.codePointAt(0) as number),
      decode: (ids) => String.fromCodePoint(...ids),
      stream: () => ({ push: (token) => String.fromCodePoint(token), end: () => "" }),
    },
    stop_token_ids: [eos],
    examples: ["What is 2 + 2?", "用 3, 5, 7 得到 22"],
    renderChat: (messages) => `${messages.map(({ role, content }) => `${role}:${content}\n`).join("")}`,
    splitter: () => new TranscriptSplitter(),
    requests,
    running: () => running,
  };
}

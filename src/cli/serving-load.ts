import { Agent, request } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import type { Engine } from "../engine/index.ts";
import { LongjingError } from "../errors/index.ts";
import { random } from "../random/index.ts";

/** One request of a load: greedy, and exactly so many tokens. */
export interface LoadRequest {
  readonly prompt_ids: readonly number[];
  readonly max_tokens: number;
}

/** What was seen of one request. Times are milliseconds from when it was made. */
export interface Answered {
  readonly output_tokens: number;
  /** To the first token; of an answer that is not streamed, to its end. */
  readonly ttft: number;
  /** Between one piece of a stream and the next. */
  readonly itl: readonly number[];
  readonly e2el: number;
}

/** Answers one request, or throws. */
export type Answerer = (request: LoadRequest) => Promise<Answered>;

export interface LoadShape {
  /** Requests that are open at once, at most. */
  readonly max_concurrency: number;
  /** Requests a second, at times of a Poisson process; Infinity makes all at once. */
  readonly request_rate: number;
  readonly seed: number;
}

export interface LoadResult {
  /** Seconds from the first request to the last answer. */
  readonly duration: number;
  readonly answered: readonly Answered[];
  readonly errors: readonly string[];
}

/** Prompts of tokens drawn from `vocabulary`: with equal seeds the same ones, and no two with a beginning in common but by chance. */
export function randomRequests(vocabulary: readonly number[], { count, input, output, seed }: { readonly count: number; readonly input: number; readonly output: number; readonly seed: number }): LoadRequest[] {
  return Array.from({ length: count }, (_, index) => {
    const draw = random("bench", "serve", seed, index);
    return { prompt_ids: Array.from({ length: input }, () => draw.pick(vocabulary)), max_tokens: output };
  });
}

/** Makes the requests and waits for all. A request that fails is counted, and ends nothing. */
export async function runLoad(requests: readonly LoadRequest[], answer: Answerer, { max_concurrency, request_rate, seed }: LoadShape): Promise<LoadResult> {
  const gaps = random("bench", "arrivals", seed);
  const answered: Answered[] = [];
  const errors: string[] = [];
  const start = performance.now();
  let at = 0;
  let due = start;
  const client = async (): Promise<void> => {
    for (let next = requests[at++]; next !== undefined; next = requests[at++]) {
      if (Number.isFinite(request_rate)) {
        due += (-Math.log(1 - gaps.next()) * 1000) / request_rate;
        await sleep(Math.max(0, due - performance.now()));
      }
      await answer(next).then((one) => answered.push(one), (error: unknown) => errors.push(error instanceof Error ? error.message : String(error)));
    }
  };
  await Promise.all(Array.from({ length: Math.min(max_concurrency, requests.length) }, client));
  return { duration: (performance.now() - start) / 1000, answered, errors };
}

/** Asks an engine in this process. */
export function engineAnswerer(engine: Engine): Answerer {
  return async ({ prompt_ids, max_tokens }) => {
    const clock = new PieceClock();
    let output_tokens = 0;
    for await (const event of engine.submit({ prompt_ids, sampling: { temperature: 0, max_tokens, logprobs: false } })) {
      if (event.type !== "token") continue;
      output_tokens++;
      clock.piece();
    }
    return clock.answered(output_tokens);
  };
}

/** As vLLM names them: text completions, or chat. */
export type LoadBackend = "openai" | "openai-chat";

export interface HttpTarget {
  /** Without a path. */
  readonly url: string;
  readonly model: string;
  readonly backend: LoadBackend;
  readonly stream: boolean;
  readonly apiKey?: string | undefined;
}

interface Chunk {
  readonly choices: readonly { readonly text?: string; readonly delta?: { readonly content?: string | null; readonly reasoning_content?: string | null } }[];
  readonly usage?: { readonly completion_tokens: number } | null;
  readonly error?: { readonly message: string };
}

/** Asks over HTTP by connections that are kept. Chats send the text of the prompt, whose length in tokens is then near, not exact. */
export function httpAnswerer({ url, model, backend, stream, apiKey }: HttpTarget, textOf: (ids: readonly number[]) => string): Answerer & { close(): void } {
  const agent = new Agent({ keepAlive: true });
  const path = backend === "openai" ? "/v1/completions" : "/v1/chat/completions";
  const headers = { "content-type": "application/json", ...(apiKey !== undefined && { authorization: `Bearer ${apiKey}` }) };
  const answer: Answerer = ({ prompt_ids, max_tokens }) => {
    const asked = backend === "openai" ? { prompt: prompt_ids } : { messages: [{ role: "user", content: textOf(prompt_ids) }] };
    const body = JSON.stringify({ model, ...asked, max_tokens, temperature: 0, ignore_eos: true, stream, ...(stream && { stream_options: { include_usage: true } }) });
    const clock = new PieceClock();
    return new Promise((resolve, reject) => {
      const sent = request(`${url}${path}`, { method: "POST", agent, headers }, (response) => {
        let text = "";
        let usage: Chunk["usage"];
        const read = (json: string): void => {
          const { error, usage: counted, choices = [] } = JSON.parse(json) as Chunk;
          if (error !== undefined) throw new LongjingError("runtime", error.message);
          usage = counted ?? usage;
          if (choices.some(({ text: said, delta }) => said || delta?.content || delta?.reasoning_content)) clock.piece();
        };
        const events = stream && response.statusCode === 200;
        response.setEncoding("utf8").on("error", reject);
        response.on("data", (more: string) => {
          text += more;
          if (!events) return;
          const whole = text.split("\n\n");
          text = whole.pop() ?? "";
          try {
            for (const event of whole) if (event.startsWith("data: {")) read(event.slice("data: ".length));
          } catch (error) {
            reject(error as Error);
          }
        });
        response.on("end", () => {
          try {
            if (response.statusCode !== 200) throw new LongjingError("runtime", `${response.statusCode} ${text}`);
            if (!stream) read(text);
            if (!usage) throw new LongjingError("runtime", "The answer ended without its usage");
            resolve(clock.answered(usage.completion_tokens));
          } catch (error) {
            reject(error as Error);
          }
        });
      });
      sent.on("error", reject).end(body);
    });
  };
  return Object.assign(answer, { close: () => agent.destroy() });
}

/** When the pieces of one answer came. */
class PieceClock {
  readonly #start = performance.now();
  readonly #pieces: number[] = [];

  piece(): void {
    this.#pieces.push(performance.now() - this.#start);
  }

  answered(output_tokens: number): Answered {
    const e2el = performance.now() - this.#start;
    return { output_tokens, ttft: this.#pieces[0] ?? e2el, itl: this.#pieces.slice(1).map((time, at) => time - this.#pieces[at]!), e2el };
  }
}

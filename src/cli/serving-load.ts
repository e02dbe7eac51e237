import { Agent, request, type RequestOptions } from "node:http";
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

/**
 * Answers one request. Resolves when the answer is all there, with how to read it, which waits until the load is over: a server has the
 * same cores, and is what is measured. Both may throw.
 */
export type Answerer = (request: LoadRequest) => Promise<() => Answered>;

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
  const answers: (() => Answered)[] = [];
  const errors: string[] = [];
  const fail = (error: unknown): unknown => errors.push(error instanceof Error ? error.message : String(error));
  const start = performance.now();
  let at = 0;
  let due = start;
  const client = async (): Promise<void> => {
    for (let next = requests[at++]; next !== undefined; next = requests[at++]) {
      if (Number.isFinite(request_rate)) {
        due += (-Math.log(1 - gaps.next()) * 1000) / request_rate;
        await sleep(Math.max(0, due - performance.now()));
      }
      await answer(next).then((read) => answers.push(read), fail);
    }
  };
  await Promise.all(Array.from({ length: Math.min(max_concurrency, requests.length) }, client));
  const duration = (performance.now() - start) / 1000;
  const answered = answers.flatMap((read) => {
    try {
      return [read()];
    } catch (error) {
      fail(error);
      return [];
    }
  });
  return { duration, answered, errors };
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
    clock.end();
    return () => clock.answered(output_tokens);
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
  readonly choices?: readonly { readonly text?: string; readonly delta?: { readonly content?: string | null; readonly reasoning_content?: string | null } }[];
  readonly usage?: { readonly completion_tokens: number } | null;
  readonly error?: { readonly message: string };
}

/** Asks over HTTP by connections that are kept. Chats send the text of the prompt, whose length in tokens is then near, not exact. */
export function httpAnswerer({ url, model, backend, stream, apiKey }: HttpTarget, textOf: (ids: readonly number[]) => string): Answerer & { close(): void } {
  const agent = new Agent({ keepAlive: true });
  const path = backend === "openai" ? "/v1/completions" : "/v1/chat/completions";
  const headers = { "content-type": "application/json", ...(apiKey !== undefined && { authorization: `Bearer ${apiKey}` }) };
  const answer: Answerer = async ({ prompt_ids, max_tokens }) => {
    const asked = backend === "openai" ? { prompt: prompt_ids } : { messages: [{ role: "user", content: textOf(prompt_ids) }] };
    const body = JSON.stringify({ model, ...asked, max_tokens, temperature: 0, ignore_eos: true, stream, ...(stream && { stream_options: { include_usage: true } }) });
    const clock = new PieceClock();
    const { status, parts } = await exchange(`${url}${path}`, { method: "POST", agent, headers }, body);
    clock.end();
    return () => {
      const text = parts.map((part) => part.text).join("");
      if (status !== 200) throw new LongjingError("runtime", `${status} ${text}`);
      return clock.answered(stream ? readEvents(parts, clock) : counted(readChunk(text).usage));
    };
  };
  return Object.assign(answer, { close: () => agent.destroy() });
}

/** Part of a body, and when it came. */
interface Part {
  readonly text: string;
  readonly at: number;
}

function exchange(url: string, options: RequestOptions, body: string): Promise<{ readonly status: number | undefined; readonly parts: readonly Part[] }> {
  return new Promise((resolve, reject) => {
    const sent = request(url, options, (response) => {
      const parts: Part[] = [];
      response.setEncoding("utf8").on("error", reject);
      response.on("data", (text: string) => parts.push({ text, at: performance.now() }));
      response.on("end", () => resolve({ status: response.statusCode, parts }));
    });
    sent.on("error", reject).end(body);
  });
}

/** Tells the clock when each event with text came whole. @returns the tokens of the answer */
function readEvents(parts: readonly Part[], clock: PieceClock): number {
  let rest = "";
  let usage: Chunk["usage"];
  for (const { text, at } of parts) {
    const whole = (rest + text).split("\n\n");
    rest = whole.pop() ?? "";
    for (const event of whole) {
      if (!event.startsWith("data: {")) continue;
      const chunk = readChunk(event.slice("data: ".length));
      usage = chunk.usage ?? usage;
      if (chunk.choices?.some(({ text: said, delta }) => said || delta?.content || delta?.reasoning_content)) clock.piece(at);
    }
  }
  return counted(usage);
}

/** An error may come after the status: as an event, or as the body of an answer that was long in coming. */
function readChunk(json: string): Chunk {
  const chunk = JSON.parse(json) as Chunk;
  if (chunk.error !== undefined) throw new LongjingError("runtime", chunk.error.message);
  return chunk;
}

function counted(usage: Chunk["usage"]): number {
  if (!usage) throw new LongjingError("runtime", "The answer ended without its usage");
  return usage.completion_tokens;
}

/** When an answer, and each piece of it, came. */
class PieceClock {
  readonly #start = performance.now();
  readonly #pieces: number[] = [];
  #end = this.#start;

  piece(at = performance.now()): void {
    this.#pieces.push(at - this.#start);
  }

  end(): void {
    this.#end = performance.now();
  }

  answered(output_tokens: number): Answered {
    const e2el = this.#end - this.#start;
    return { output_tokens, ttft: this.#pieces[0] ?? e2el, itl: this.#pieces.slice(1).map((time, at) => time - this.#pieces[at]!), e2el };
  }
}

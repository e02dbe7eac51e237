import { setTimeout as sleep } from "node:timers/promises";
import { LongjingError } from "../../errors/index.ts";

/** How long and how often a server is asked, and how many questions at a time. */
export interface PostOptions {
  readonly headers?: Readonly<Record<string, string>>;
  /** Seconds that one try may take. Default 180. */
  readonly timeout?: number;
  /** Tries after the first. Default 5. */
  readonly retries?: number;
  /** Seconds before each of them. Default 1. */
  readonly retryDelay?: number;
  /** Requests in flight at once. Default 16. */
  readonly concurrency?: number;
}

/** Longest answer read, in bytes. */
const longestAnswer = 2 ** 24;

/** Sends JSON, gets JSON. @throws LongjingError "network" when no try succeeds, "bad_argument" when the server refuses the request */
export type Post = (url: string, body: unknown) => Promise<unknown>;

/** A client with a limit on its requests in flight. What may pass by itself (no connection, 408, 429, 5xx, no JSON) is tried again. */
export function createPost({ headers = {}, timeout = 180, retries = 5, retryDelay = 1, concurrency = 16 }: PostOptions = {}): Post {
  let free = concurrency;
  const waiting: (() => void)[] = [];
  return async (url, body) => {
    if (free > 0) free--;
    else await new Promise<void>((resolve) => waiting.push(resolve));
    try {
      for (let attempt = 0; ; attempt++) {
        const outcome = await once(url, JSON.stringify(body), headers, timeout);
        if (!LongjingError.is(outcome)) return outcome.json;
        if (outcome.code !== "network" || attempt === retries) throw outcome;
        await sleep(retryDelay * 1000);
      }
    } finally {
      const next = waiting.shift();
      if (next) next();
      else free++;
    }
  };
}

/** A failure is a value here, since it may be tried again. */
async function once(url: string, body: string, headers: Readonly<Record<string, string>>, timeout: number): Promise<{ readonly json: unknown } | LongjingError> {
  try {
    const response = await fetch(url, { method: "POST", headers: { "content-type": "application/json", ...headers }, body, redirect: "error", signal: AbortSignal.timeout(timeout * 1000) });
    const text = await limitedText(response);
    if (text === null) return new LongjingError("bad_argument", "The server's answer is too long", { where: url, expected: `${longestAnswer} bytes at most` });
    const passing = response.status === 408 || response.status === 429 || response.status >= 500;
    if (!response.ok) return new LongjingError(passing ? "network" : "bad_argument", passing ? "The server fails" : "The server refuses the request", { where: url, got: `${response.status}: ${text}` });
    return { json: JSON.parse(text) };
  } catch (cause) {
    return new LongjingError("network", "The server gives no answer", { where: url, got: cause instanceof Error ? cause.message : cause }, { cause });
  }
}

async function limitedText(response: Response): Promise<string | null> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of response.body ?? []) {
    size += chunk.length;
    if (size > longestAnswer) return null;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}

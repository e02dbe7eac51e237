import { setTimeout as sleep } from "node:timers/promises";
import { LongjingError } from "../../errors/index.ts";

/** How long and how often a server is asked, and how many questions at a time. */
export interface PostOptions {
  readonly headers?: Readonly<Record<string, string>>;
  /** Seconds that one try may take. Default 180. */
  readonly timeout?: number;
  /** Tries after the first. Default 5. */
  readonly retries?: number;
  /** Seconds before the first of them; each further wait is twice as long. A server's `retry-after` counts instead. Default 1. */
  readonly retryDelay?: number;
  /** The longest wait, in seconds, that a server may ask for: past it there is no retry. Default 120. */
  readonly mostWait?: number;
  /**
   * Sent as a bearer token, to the address that is asked and nowhere else: redirects are refused. Where an error repeats it, or an answer
   * one of 12 characters at least, it is taken out: a shorter one may be a word of an answer.
   */
  readonly apiKey?: string | undefined;
  /** Requests in flight at once. Default 16. */
  readonly concurrency?: number;
}

/** Longest answer read, in bytes. */
const longestAnswer = 2 ** 24;

/**
 * Sends JSON, gets JSON. `read` takes it in, and may say by a LongjingError of "network" that it is no answer and another try is worth it.
 * @throws LongjingError "network" when no try succeeds, "bad_argument" when the server refuses the request or redirects; what `read` throws
 */
export type Post = <T = unknown>(url: string, body: unknown, read?: (json: unknown) => T) => Promise<T>;

/** A client with a limit on its requests in flight. What may pass by itself (no connection, 408, 429, 5xx, no JSON) is tried again. */
export function createPost({ timeout = 180, retries = 5, retryDelay = 1, mostWait = 120, concurrency = 16, apiKey, ...options }: PostOptions = {}): Post {
  const headers = { "content-type": "application/json", ...options.headers, ...(apiKey !== undefined && { authorization: `Bearer ${apiKey}` }) };
  const hide: Hide = {
    error: (text) => (apiKey ? text.replaceAll(apiKey, "[key]") : text),
    answer: (text) => (apiKey !== undefined && apiKey.length >= 12 ? text.replaceAll(apiKey, "[key]") : text),
  };
  let free = concurrency;
  const waiting: (() => void)[] = [];
  return async <T>(url: string, body: unknown, read: (json: unknown) => T = (json) => json as T) => {
    if (free > 0) free--;
    else await new Promise<void>((resolve) => waiting.push(resolve));
    try {
      for (let attempt = 0; ; attempt++) {
        const outcome = await once(url, { method: "POST", headers, body: JSON.stringify(body), redirect: "manual", signal: AbortSignal.timeout(timeout * 1000) }, hide, read);
        if ("read" in outcome) return outcome.read;
        const wait = outcome.wait ?? retryDelay * 2 ** attempt;
        if (outcome.error.code !== "network" || attempt === retries || wait > mostWait) throw outcome.error;
        await sleep(wait * 1000);
      }
    } finally {
      const next = waiting.shift();
      if (next) next();
      else free++;
    }
  };
}

/** Texts without the key. */
interface Hide {
  error(text: string): string;
  answer(text: string): string;
}

/** A failure is a value here, since it may be tried again. */
type Outcome<T> = { readonly read: T } | { readonly error: LongjingError; /** Seconds that the server asks to wait. */ readonly wait?: number | undefined };

async function once<T>(url: string, request: RequestInit, hide: Hide, read: (json: unknown) => T): Promise<Outcome<T>> {
  try {
    const response = await fetch(url, request);
    if (response.status >= 300 && response.status < 400) {
      await response.body?.cancel();
      return { error: new LongjingError("bad_argument", "The server redirects, which is not followed", { where: url, got: hide.error(response.headers.get("location") ?? `${response.status}`), hint: "Give the address that it leads to, if you trust it" }) };
    }
    const text = await limitedText(response);
    if (text === null) return { error: new LongjingError("bad_argument", "The server's answer is too long", { where: url, expected: `${longestAnswer} bytes at most` }) };
    const passing = response.status === 408 || response.status === 429 || response.status >= 500;
    const wait = retryAfter(response.headers);
    const hint = wait === undefined ? {} : { hint: `The server asks to wait ${wait} s.` };
    if (!response.ok) return { error: new LongjingError(passing ? "network" : "bad_argument", passing ? "The server fails" : "The server refuses the request", { where: url, got: hide.error(`${response.status}: ${text}`), ...hint }), wait };
    return { read: read(JSON.parse(text, (_, value: unknown) => (typeof value === "string" ? hide.answer(value) : value))) };
  } catch (cause) {
    if (LongjingError.is(cause)) return { error: cause };
    return { error: new LongjingError("network", "The server gives no answer", { where: url, got: hide.error(reason(cause)) }) };
  }
}

/** What fetch says is that it failed; why is in its cause. */
function reason(error: unknown): string {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  return cause instanceof Error ? cause.message : String(cause);
}

/** Seconds, from a number or a date (RFC 9110, 10.2.3). */
function retryAfter(headers: Headers): number | undefined {
  const text = headers.get("retry-after")?.trim();
  if (!text) return undefined;
  if (/^\d+(?:\.\d+)?$/.test(text)) return Number(text);
  const date = Date.parse(text);
  return Number.isNaN(date) ? undefined : Math.max(0, (date - Date.now()) / 1000);
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

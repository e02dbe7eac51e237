import type { Context, MiddlewareHandler } from "hono";
import type { Accounts } from "./accounts.ts";
import { errorResponse } from "./errors.ts";
import type { ApiKey } from "./keys.ts";
import type { RequestScope } from "./request-scope.ts";
import { TokenBucket } from "./token-bucket.ts";

export interface AdmissionOptions {
  /** Requests that may wait for their first token at once. */
  readonly maxWaiting: number;
  readonly accounts?: Accounts | undefined;
  /** Milliseconds of a clock that never jumps. */
  readonly now?: () => number;
}

interface KeyState {
  readonly requests: TokenBucket | null;
  readonly tokens: TokenBucket | null;
  running: number;
}

interface Refusal {
  readonly status: 402 | 429;
  readonly message: string;
  readonly code: string;
  /** When to come again; never for what time does not mend. */
  readonly waitMs?: number;
}

/**
 * Who may begin now: the queue is bounded, each key has its limits and quotas, and nothing begins while the server
 * cannot write down what is used. What a request has generated counts against its key's tokens when it is known, so requests
 * that run at once may together pass a limit or a quota by what they generate.
 */
export class Admission {
  readonly #options: AdmissionOptions;
  readonly #now: () => number;
  readonly #keys = new Map<string, KeyState>();
  #waiting = 0;

  constructor(options: AdmissionOptions) {
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
  }

  /** Requests that have been let in and wait for their first token. */
  get waiting(): number {
    return this.#waiting;
  }

  /** Counts tokens against the key's limit. */
  spend(key: ApiKey | null, tokens: number): void {
    if (key !== null) this.#stateOf(key).tokens?.take(tokens);
  }

  readonly middleware: MiddlewareHandler = async (c, next) => {
    const scope = c.get("scope");
    const refusal = this.#refusal(scope.key);
    if (refusal !== null) return refuse(c, refusal);
    this.#options.accounts?.flush();
    this.#enter(scope);
    if (scope.key !== null) this.#tell(c, scope.key);
    await next();
  };

  #refusal(key: ApiKey | null): Refusal | null {
    if (this.#waiting >= this.#options.maxWaiting) return { status: 429, message: "Too many requests are waiting", code: "queue_full", waitMs: 1_000 };
    if (key === null) return null;
    return this.#quota(key) ?? this.#limits(key, this.#stateOf(key), this.#now());
  }

  #quota(key: ApiKey): Refusal | null {
    if (key.quota_tokens === null && key.quota_usd === null) return null;
    const used = this.#options.accounts?.used(key.id);
    if (used === undefined) return null;
    const tokens = used.prompt_tokens + used.completion_tokens;
    if (key.quota_tokens !== null && tokens >= key.quota_tokens) return { status: 402, message: `Insufficient Balance: ${tokens} of ${key.quota_tokens} tokens are used`, code: "insufficient_quota" };
    const usd = used.cost / 1e12;
    if (key.quota_usd !== null && usd >= key.quota_usd) return { status: 402, message: `Insufficient Balance: ${usd.toFixed(6)} of ${key.quota_usd} USD are used`, code: "insufficient_quota" };
    return null;
  }

  #limits(key: ApiKey, state: KeyState, now: number): Refusal | null {
    const { requests_per_minute: requests, tokens_per_minute: tokens, max_concurrency } = key;
    if (max_concurrency !== null && state.running >= max_concurrency) return { status: 429, message: `This key may make ${max_concurrency} requests at once`, code: "concurrency_limit_exceeded", waitMs: 1_000 };
    const forTokens = tokens === null || state.tokens === null ? 0 : state.tokens.wait(1, tokens, now);
    if (forTokens > 0) return { status: 429, message: `This key may use ${tokens} tokens a minute`, code: "rate_limit_exceeded", waitMs: forTokens };
    const forRequests = requests === null || state.requests === null ? 0 : state.requests.wait(1, requests, now);
    if (forRequests > 0) return { status: 429, message: `This key may make ${requests} requests a minute`, code: "rate_limit_exceeded", waitMs: forRequests };
    return null;
  }

  #enter(scope: RequestScope): void {
    const state = scope.key === null ? null : this.#stateOf(scope.key);
    state?.requests?.take(1);
    if (state !== null) state.running++;
    this.#waiting++;
    scope.onFirstToken(() => this.#waiting--);
    scope.onEnd(() => {
      if (scope.firstTokenAt === null) this.#waiting--;
      if (state !== null) state.running--;
    });
  }

  #stateOf(key: ApiKey): KeyState {
    let state = this.#keys.get(key.id);
    if (state === undefined) {
      const bucket = (perMinute: number | null): TokenBucket | null => (perMinute === null ? null : new TokenBucket(perMinute, this.#now()));
      state = { requests: bucket(key.requests_per_minute), tokens: bucket(key.tokens_per_minute), running: 0 };
      this.#keys.set(key.id, state);
    }
    return state;
  }

  /** OpenAI's headers. */
  #tell(c: Context, key: ApiKey): void {
    const { requests, tokens } = this.#stateOf(key);
    const tell = (name: string, limit: number | null, bucket: TokenBucket | null): void => {
      if (limit === null || bucket === null) return;
      c.header(`x-ratelimit-limit-${name}`, String(limit));
      c.header(`x-ratelimit-remaining-${name}`, String(Math.max(0, Math.floor(bucket.level(limit, this.#now())))));
    };
    tell("requests", key.requests_per_minute, requests);
    tell("tokens", key.tokens_per_minute, tokens);
  }
}

function refuse(c: Context, { status, message, code, waitMs }: Refusal): Response {
  if (waitMs !== undefined) {
    c.header("retry-after", String(Math.ceil(waitMs / 1000)));
    c.header("retry-after-ms", String(Math.ceil(waitMs)));
  }
  return errorResponse(c, status, message, code);
}

import { randomUUID } from "node:crypto";
import type { ServerResponse } from "node:http";
import { RESPONSE_ALREADY_SENT } from "@hono/node-server/utils/response";
import type { Context, MiddlewareHandler } from "hono";
import { errorBody, errorForm } from "./errors.ts";
import { EventSender } from "./event-sender.ts";
import type { ApiKey } from "./keys.ts";
import { eventsOf, sseText } from "./sse.ts";

declare module "hono" {
  interface ContextVariableMap {
    scope: RequestScope;
  }
}

/** What becomes known of one request between its first byte and its last. */
export class RequestScope {
  /** The client's own, where it has sent one that can stand in a log. */
  readonly id: string;
  /** In milliseconds of the clock that never jumps. */
  readonly startedAt: number = performance.now();
  readonly method: string;
  readonly path: string;
  /** Whose request it is; null where the server asks for no key. */
  key: ApiKey | null = null;
  model: string | null = null;
  status = 0;
  /** The client left before the answer was whole, or was cut off. */
  aborted = false;
  firstTokenAt: number | null = null;
  prompt_tokens = 0;
  cached_tokens = 0;
  completion_tokens = 0;
  readonly finish_reasons: string[] = [];
  readonly #signal: AbortSignal;
  #firsts: (() => void)[] = [];
  #ends: (() => void)[] | null = [];

  /** `signal` is aborted when the connection breaks. */
  constructor(method: string, path: string, signal: AbortSignal, id?: string) {
    this.id = id !== undefined && /^[\w.:-]{1,128}$/.test(id) ? id : `req_${randomUUID()}`;
    this.method = method;
    this.path = path;
    this.#signal = signal;
  }

  /** Nobody waits for the answer any more. */
  get gone(): boolean {
    return this.aborted || this.#signal.aborted;
  }

  onFirstToken(callback: () => void): void {
    this.#firsts.push(callback);
  }

  firstToken(now: number): void {
    if (this.firstTokenAt !== null) return;
    this.firstTokenAt = now;
    for (const first of this.#firsts) first();
  }

  add(usage: { readonly prompt_tokens: number; readonly cached_tokens: number; readonly completion_tokens: number }): void {
    this.prompt_tokens += usage.prompt_tokens;
    this.cached_tokens += usage.cached_tokens;
    this.completion_tokens += usage.completion_tokens;
  }

  /** Runs `callback` once the last byte has been sent or the client has gone; at once if that has been. */
  onEnd(callback: () => void): void {
    if (this.#ends === null) callback();
    else this.#ends.push(callback);
  }

  end(): void {
    const ends = this.#ends ?? [];
    this.#ends = null;
    for (const end of ends) end();
  }
}

export interface TrackOptions {
  /** A client that reads nothing for so long, while there is something to read, is cut off. */
  readonly stallMs: number;
  /** Ends the streams that are still open with an error, when the server can wait no longer. */
  readonly cut?: AbortSignal | undefined;
  readonly onEnd: (scope: RequestScope) => void;
  /** Hears what goes wrong when nobody is left to be told. */
  readonly report: (error: unknown) => void;
}

/** Gives every request its scope, and ends it with the last byte of the answer. */
export function trackRequests(options: TrackOptions): MiddlewareHandler {
  const open = new Set<() => void>();
  options.cut?.addEventListener("abort", () => {
    for (const end of open) end();
  });
  return async (c, next) => {
    const scope = new RequestScope(c.req.method, c.req.path, c.req.raw.signal, c.req.header("x-request-id"));
    c.set("scope", scope);
    c.header("x-request-id", scope.id);
    scope.onEnd(() => options.onEnd(scope));
    await next();
    scope.status = c.res.status;
    const isEvents = c.res.headers.get("content-type")?.startsWith("text/event-stream") === true;
    if (scope.model !== null || isEvents) {
      const { body } = c.res;
      if (body !== null) return send(c, body, { scope, open, lastWords: isEvents ? goodbye(scope.path) : null, ...options });
    }
    scope.aborted = scope.gone;
    scope.end();
  };
}

/** Sends a body and ends the scope: events by the connection itself, where there is one; all else by a stream around it. */
function send(c: Context, body: ReadableStream<Uint8Array>, connection: Connection): void {
  // None is under a request that was made without a socket.
  const { outgoing } = (c.env ?? {}) as { outgoing?: ServerResponse };
  const events = eventsOf(body);
  const { lastWords } = connection;
  if (events === undefined || outgoing === undefined || lastWords === null) {
    c.res = new Response(watched(body, outgoing && (() => outgoing.destroy()), connection), c.res);
    return;
  }
  new EventSender(c.res, events, { ...connection, outgoing, lastWords });
  c.res = undefined; // or its headers would join those of the next
  c.res = RESPONSE_ALREADY_SENT;
  void c.res.body; // node-server sends a response whose body nobody has looked at before it reads its headers
}

function goodbye(path: string): string {
  const body = errorBody("The server is shutting down", "server_error", "shutting_down");
  return sseText(errorForm(path).event({ status: 503, body }));
}

export interface Connection extends TrackOptions {
  readonly scope: RequestScope;
  /** What ends a body that is cut; null where nothing can be said. */
  readonly lastWords: string | null;
  /** How to cut each body that is being sent. */
  readonly open: Set<() => void>;
}

/** The same bytes. It holds one chunk at most, and is pulled: while the client does not read, nothing is taken from `body`. */
function watched(body: ReadableStream<Uint8Array>, destroy: (() => void) | undefined, { scope, stallMs, report, lastWords, open }: Connection): ReadableStream<Uint8Array> {
  const reader = body.getReader();
  let over = false;
  let cut = (): void => {};
  let unreadSince: number | null = null;
  let timer: NodeJS.Timeout | undefined;
  const end = (): void => {
    over = true;
    open.delete(cut);
    clearTimeout(timer);
    scope.end();
  };
  const leave = async (): Promise<void> => {
    if (over || scope.aborted) return;
    scope.aborted = true;
    await reader.cancel().catch(report);
    end();
  };
  return new ReadableStream(
    {
      start(controller) {
        const check = (): void => {
          const unread = unreadSince === null ? 0 : performance.now() - unreadSince;
          if (unread < stallMs) return arm(stallMs - unread);
          drop("The client does not read");
        };
        const arm = (ms: number): void => void (timer = setTimeout(check, ms).unref());
        const drop = (why: string): void => {
          if (destroy === undefined) controller.error(new Error(why));
          else destroy();
          void leave();
        };
        cut = (): void => {
          if (lastWords === null) return drop("The server is shutting down");
          controller.enqueue(new TextEncoder().encode(lastWords));
          controller.close();
          void leave();
        };
        arm(stallMs);
        open.add(cut);
      },
      async pull(controller) {
        unreadSince = null;
        const { done, value } = await reader.read();
        if (scope.aborted) return;
        if (!done) {
          controller.enqueue(value);
          unreadSince = performance.now();
          return;
        }
        controller.close();
        end();
      },
      cancel: leave,
    },
    { highWaterMark: 0 },
  );
}

import { randomUUID } from "node:crypto";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { MiddlewareHandler } from "hono";
import type { RequestScope } from "./request-scope.ts";

/** One line of the request log. Nothing in it tells what was asked or answered. */
export interface RequestLogEntry {
  /** ISO 8601, UTC: when the request ended. */
  readonly time: string;
  readonly id: string;
  readonly method: string;
  readonly path: string;
  readonly status: number;
  /** Of the key, or null for a request without one. */
  readonly key: string | null;
  readonly model: string | null;
  readonly prompt_tokens: number;
  readonly cached_tokens: number;
  readonly completion_tokens: number;
  readonly finish_reasons: readonly string[];
  /** Seconds to the first token; null without one. */
  readonly time_to_first_token: number | null;
  readonly seconds: number;
  /** The client left before the answer was whole, or was cut off. */
  readonly aborted: boolean;
}

export function logEntry(scope: RequestScope): RequestLogEntry {
  const { id, method, path, status, key, model, prompt_tokens, cached_tokens, completion_tokens, finish_reasons, firstTokenAt, startedAt, aborted } = scope;
  const seconds = (until: number): number => Math.round(until - startedAt) / 1000;
  return {
    time: new Date().toISOString(),
    id,
    method,
    path,
    status,
    key: key?.id ?? null,
    model,
    prompt_tokens,
    cached_tokens,
    completion_tokens,
    finish_reasons,
    time_to_first_token: firstTokenAt === null ? null : seconds(firstTokenAt),
    seconds: seconds(performance.now()),
    aborted,
  };
}

/**
 * Writes what was asked of a model and what it answered to `folder`, for its owner's eyes only: a file a request, whose name begins
 * with the request's id, which a client may use twice.
 */
export function logPrompts(folder: string, report: (error: unknown) => void): MiddlewareHandler {
  return async (c, next) => {
    const scope = c.get("scope");
    await next();
    if (scope.model === null) return;
    const request = await c.req.text();
    const answer = new Answer();
    if (c.res.body !== null) c.res = new Response(c.res.body.pipeThrough(answer.stream()), c.res);
    scope.onEnd(() => {
      const file = { id: scope.id, path: scope.path, model: scope.model, request, response: answer.text };
      void mkdir(folder, { recursive: true, mode: 0o700 })
        .then(() => writeFile(join(folder, `${scope.id}_${randomUUID()}.json`), JSON.stringify(file), { mode: 0o600 }))
        .catch(report);
    });
  };
}

/** What passes through it is in `text`. */
class Answer {
  text = "";

  stream(): TransformStream<Uint8Array, Uint8Array> {
    const decoder = new TextDecoder();
    return new TransformStream({
      transform: (chunk, controller) => {
        this.text += decoder.decode(chunk, { stream: true });
        controller.enqueue(chunk);
      },
    });
  }
}

import type { Context } from "hono";
import { LongjingError } from "../errors/index.ts";
import { describeError, errorForm } from "./errors.ts";
import { isTooDeep, mostJsonDepth } from "./json-depth.ts";
import type { Models } from "./models.ts";
import type { Pace } from "./pace.ts";
import { defaultKeepAliveMs, orSilence, sseBody, sseHeaders, type SseMessage } from "./sse.ts";

/** What every route of the API needs. */
export interface Api {
  readonly models: Models;
  /** Of the answers that are streamed. */
  readonly pace: Pace;
  /** Hears of every error that was answered inside a stream while the client was there. */
  readonly report: (error: unknown) => void;
  /** Silent milliseconds after which a sign of life is sent. Default 10000. */
  readonly keepAliveMs?: number | undefined;
}

/** Parsed body, or `bad_argument`. */
export async function readJson(c: Context): Promise<unknown> {
  const text = await c.req.text();
  if (isTooDeep(text)) throw new LongjingError("bad_argument", "The request body is nested too deeply", { where: "request body", expected: `at most ${mostJsonDepth} levels` });
  try {
    return JSON.parse(text) as unknown;
  } catch (cause) {
    throw new LongjingError("bad_argument", "The request body is not JSON", { where: "request body", got: text }, { cause });
  }
}

/** Aborted when the client goes away, and by whoever holds it. */
export function abortOf(c: Context): AbortController {
  const abort = new AbortController();
  c.req.raw.signal.addEventListener("abort", () => abort.abort(), { once: true });
  return abort;
}

/** Says which fields of a request had no effect. */
export function nameIgnored(c: Context, ignored: readonly string[]): void {
  if (ignored.length > 0) c.header("x-ignored-fields", ignored.slice(0, 64).map((field) => encodeURIComponent(field.slice(0, 64))).join(", "));
}

/**
 * Sends one JSON value. A body that is long in coming is announced with 200 and newlines, which JSON allows before it, since
 * clients give up on silence; from then on an error can only be told in the body, as DeepSeek does.
 */
export async function respondJson(c: Context, { report, keepAliveMs = defaultKeepAliveMs }: Api, abort: AbortController, body: Promise<object>): Promise<Response> {
  const first = await orSilence(body, keepAliveMs);
  if (first !== "silence") return c.json(first);
  const told = body.catch((error: unknown): object => {
    if (!abort.signal.aborted) report(error);
    return errorForm(c.req.path).body(describeError(error));
  });
  const encoder = new TextEncoder();
  let begun = false;
  const stream = new ReadableStream<Uint8Array<ArrayBuffer>>({
    async pull(controller) {
      const next = begun ? await orSilence(told, keepAliveMs) : "silence";
      begun = true;
      controller.enqueue(encoder.encode(next === "silence" ? "\n" : JSON.stringify(next)));
      if (next !== "silence") controller.close();
    },
    cancel: () => abort.abort(),
  });
  return c.body(stream, 200, { "content-type": "application/json" });
}

/**
 * Sends server-sent events. The status has been sent by the time something fails, so an error becomes the last event.
 */
export function respondStream(c: Context, { report, keepAliveMs = defaultKeepAliveMs }: Pick<Api, "report" | "keepAliveMs">, abort: AbortController, messages: AsyncIterable<SseMessage>): Response {
  const safe = async function* (): AsyncGenerator<SseMessage, void> {
    try {
      yield* messages;
    } catch (error) {
      if (!abort.signal.aborted) report(error);
      yield errorForm(c.req.path).event(describeError(error));
    }
  };
  return c.body(sseBody({ messages: safe(), onCancel: () => abort.abort(), keepAliveMs }), 200, sseHeaders);
}

/** Values as the events of OpenAI's streams; `[DONE]` tells that all were sent. */
export async function* dataMessages(values: AsyncIterable<object>): AsyncGenerator<SseMessage, void> {
  for await (const value of values) yield { data: JSON.stringify(value) };
  yield { data: "[DONE]" };
}

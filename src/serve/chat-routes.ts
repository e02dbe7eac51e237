import { randomUUID } from "node:crypto";
import { Hono, type Context } from "hono";
import { LongjingError } from "../errors/index.ts";
import { chatEvents } from "./chat-events.ts";
import { parseChatRequest } from "./chat-request.ts";
import { toChunks, toCompletion, type ChatChunk, type ChatHead } from "./chat-wire.ts";
import { describeError } from "./errors.ts";
import { unknownModel, type ModelCard, type Models } from "./models.ts";
import { sseBody, sseHeaders, type SseMessage } from "./sse.ts";

/** `/chat/completions` and `/models`, as OpenAI and DeepSeek have them. */
export function chatRoutes(models: Models, report: (error: unknown) => void): Hono {
  const app = new Hono();
  app.get("/models", (c) => c.json({ object: "list", data: models.list().map(toWire) }));
  app.get("/models/:id", (c) => {
    const id = c.req.param("id");
    const card = models.list().find((known) => known.id === id);
    if (card === undefined) throw unknownModel(id, models.list().map((known) => known.id));
    return c.json(toWire(card));
  });
  app.post("/chat/completions", async (c) => {
    const request = parseChatRequest(await readJson(c));
    const model = await models.find(request.model, c);
    const abort = abortOf(c);
    const events = chatEvents(model, request, abort.signal);
    const head: ChatHead = {
      id: `chatcmpl-${randomUUID()}`,
      created: Math.floor(Date.now() / 1000),
      model: model.id,
      system_fingerprint: model.system_fingerprint,
    };
    if (request.ignored.length > 0) c.header("x-ignored-fields", request.ignored.map(encodeURIComponent).join(", "));
    if (!request.stream) return c.json(await toCompletion(head, events));
    const messages = toSse(toChunks(head, request.n, events), (error) => abort.signal.aborted || report(error));
    return c.body(sseBody(messages, { onCancel: () => abort.abort() }), 200, sseHeaders);
  });
  return app;
}

function toWire({ id, created, max_model_len }: ModelCard) {
  return { id, object: "model" as const, created, owned_by: "longjing", max_model_len };
}

/** Parsed body, or `bad_argument`. */
export async function readJson(c: Context): Promise<unknown> {
  const text = await c.req.text();
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

/** The status has been sent by now, so an error becomes the last event, and `[DONE]` does not follow it. */
async function* toSse(chunks: AsyncIterable<ChatChunk>, report: (error: unknown) => unknown): AsyncGenerator<SseMessage, void> {
  try {
    for await (const chunk of chunks) yield { data: JSON.stringify(chunk) };
    yield { data: "[DONE]" };
  } catch (error) {
    report(error);
    yield { data: JSON.stringify(describeError(error).body) };
  }
}

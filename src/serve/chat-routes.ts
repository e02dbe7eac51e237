import { randomUUID } from "node:crypto";
import type { Hono } from "hono";
import { chatEvents } from "./chat-events.ts";
import { parseChatRequest } from "./chat-request.ts";
import { toChunks, toCompletion, type ChatHead } from "./chat-wire.ts";
import type { ServedModel } from "./model.ts";
import { unknownModel, type ModelCard } from "./models.ts";
import { abortOf, dataMessages, nameIgnored, readJson, respondJson, respondStream, type Api } from "./respond.ts";

/** `/chat/completions` and `/models`, as OpenAI and DeepSeek have them. */
export function addChatRoutes(app: Hono, api: Api): void {
  const { models } = api;
  app.get("/models", (c) => c.json({ object: "list", data: models.list().map(toWire) }));
  app.get("/models/:id{.+}", (c) => {
    const id = c.req.param("id");
    const card = models.list().find((known) => known.id === id);
    if (card === undefined) throw unknownModel(id, models.list().map((known) => known.id));
    return c.json(toWire(card));
  });
  app.post("/chat/completions", async (c) => {
    const request = parseChatRequest(await readJson(c));
    const model = await models.find(request.model, c);
    const abort = abortOf(c);
    const { events } = await chatEvents(model, request, abort.signal);
    const head = headOf(`chatcmpl-${randomUUID()}`, model);
    nameIgnored(c, request.ignored);
    if (!request.stream) return await respondJson(c, api, abort, toCompletion(head, events));
    return respondStream(c, api, abort, dataMessages(toChunks(head, request.n, api.pace.events(events), request.include_usage)));
  });
}

export function headOf(id: string, model: ServedModel): ChatHead {
  return { id, created: Math.floor(Date.now() / 1000), model: model.id, system_fingerprint: model.system_fingerprint };
}

function toWire({ id, created, max_model_len }: ModelCard) {
  return { id, object: "model" as const, created, owned_by: "longjing", max_model_len };
}

import { randomUUID } from "node:crypto";
import { Hono } from "hono";
import { chatEvents } from "./chat-events.ts";
import { abortOf, nameIgnored, readJson, respondJson, respondStream, type Api } from "./respond.ts";
import { parseResponsesRequest } from "./responses-request.ts";
import { toResponseEvents, toWholeResponse } from "./responses-wire.ts";

/** `/responses`, as OpenAI has it, without state: nothing is kept, and what refers to something kept is refused. */
export function responsesRoutes(api: Api): Hono {
  const app = new Hono();
  app.post("/responses", async (c) => {
    const { request, fields } = parseResponsesRequest(await readJson(c));
    const model = await api.models.find(request.model, c);
    const abort = abortOf(c);
    const { events } = await chatEvents(model, request, abort.signal);
    const head = { id: `resp_${randomUUID().replaceAll("-", "")}`, created_at: Math.floor(Date.now() / 1000), model: model.id, fields, sampling: model.sampling ?? {} };
    nameIgnored(c, request.ignored);
    if (!request.stream) return await respondJson(c, api, abort, toWholeResponse(head, events));
    return respondStream(c, api, abort, toResponseEvents(head, api.pace.events(events)));
  });
  return app;
}

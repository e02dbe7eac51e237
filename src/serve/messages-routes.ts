import { randomUUID } from "node:crypto";
import { Hono } from "hono";
import { chatEvents } from "./chat-events.ts";
import { chatPrompt } from "./chat-prompt.ts";
import { parseCountRequest, parseMessagesRequest } from "./messages-request.ts";
import { toMessage, toMessageEvents } from "./messages-wire.ts";
import { encodePrompt } from "./prompt-tokens.ts";
import { abortOf, nameIgnored, readJson, respondJson, respondStream, type Api } from "./respond.ts";

/** `/messages`, as Anthropic has it. */
export function messagesRoutes(api: Api): Hono {
  const app = new Hono();
  app.post("/messages", async (c) => {
    const request = parseMessagesRequest(await readJson(c));
    const model = await api.models.find(request.model, c);
    const abort = abortOf(c);
    const { prompt_tokens, events } = await chatEvents(model, request, abort.signal);
    const head = { id: `msg_${randomUUID().replaceAll("-", "")}`, model: model.id };
    nameIgnored(c, request.ignored);
    if (!request.stream) return await respondJson(c, api, abort, toMessage(head, events));
    return respondStream(c, api, abort, toMessageEvents(head, prompt_tokens, api.pace.events(events)));
  });
  app.post("/messages/count_tokens", async (c) => {
    const request = parseCountRequest(await readJson(c));
    const model = await api.models.find(request.model, c);
    return c.json({ input_tokens: encodePrompt(model, chatPrompt(model, request).text).length });
  });
  return app;
}

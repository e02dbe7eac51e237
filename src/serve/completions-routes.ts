import { randomUUID } from "node:crypto";
import type { Hono } from "hono";
import { plainReader } from "./answer-reader.ts";
import { completionBudget, completionEvents } from "./chat-events.ts";
import { headOf } from "./chat-routes.ts";
import { parseCompletionRequest, promptIds } from "./completions-request.ts";
import { toTextChunks, toTextCompletion } from "./completions-wire.ts";
import { merge } from "./merge.ts";
import { abortOf, dataMessages, nameIgnored, readJson, respondJson, respondStream, type Api } from "./respond.ts";

/** `/completions`: text goes on, or its middle is filled in. */
export function addCompletionRoutes(app: Hono, api: Api): void {
  app.post("/completions", async (c) => {
    const request = parseCompletionRequest(await readJson(c));
    const model = await api.models.find(request.model, c);
    const abort = abortOf(c);
    const constraint = await model.constrainer.constraintFor({ thinking: "none", plain: true, ...(request.format.type === "text" ? {} : { spec: request.format }) });
    const inputs = request.prompts.map((prompt, at) => {
      const prompt_ids = promptIds(model, prompt, request.suffix);
      const echo = !request.echo ? "" : typeof prompt === "string" ? prompt : model.tokenizer.decode(prompt);
      return { prompt_ids, echo, first: at * request.n, max_tokens: completionBudget(model, prompt_ids.length, request.max_tokens), signal: abort.signal, constraint };
    });
    const prompts = inputs.map((input) => begun(abort, () => completionEvents(model, request, input, () => plainReader(request.stop))));
    const head = headOf(`cmpl-${randomUUID()}`, model);
    nameIgnored(c, request.ignored);
    if (!request.stream) return await respondJson(c, api, abort, toTextCompletion(head, prompts));
    return respondStream(c, api, abort, dataMessages(toTextChunks(head, { prompts: prompts.length, n: request.n }, api.pace.events(merge(prompts)), request.include_usage)));
  });
}

/** Where one prompt is refused, those before it go on no further. */
function begun<T>(abort: AbortController, begin: () => T): T {
  try {
    return begin();
  } catch (error) {
    abort.abort();
    throw error;
  }
}

import { Hono } from "hono";
import { addChatRoutes } from "./chat-routes.ts";
import { addCompletionRoutes } from "./completions-routes.ts";
import { addEmbeddingRoutes } from "./embeddings-routes.ts";
import { messagesRoutes } from "./messages-routes.ts";
import type { Api } from "./respond.ts";
import { responsesRoutes } from "./responses-routes.ts";
import { addTokenRoutes } from "./token-routes.ts";

/** The API that clients of OpenAI, DeepSeek and Anthropic know; its paths have no version. */
export function apiRoutes(api: Api): Hono {
  const app = new Hono();
  addChatRoutes(app, api);
  addCompletionRoutes(app, api);
  addEmbeddingRoutes(app, api);
  addTokenRoutes(app, api);
  app.route("/", messagesRoutes(api));
  app.route("/", responsesRoutes(api));
  return app;
}

import { Hono } from "hono";
import { bodyLimit } from "hono/body-limit";
import { secureHeaders } from "hono/secure-headers";
import { chatRoutes } from "./chat-routes.ts";
import { describeError, errorResponse } from "./errors.ts";
import { guard, loopbackHosts } from "./guard.ts";
import type { ServedModel } from "./model.ts";
import { fixedModels } from "./models.ts";
import { runRoutes } from "./run-routes.ts";
import type { Runs } from "./runs.ts";
import { studioRoutes } from "./studio-routes.ts";

export interface AppOptions {
  readonly models: readonly ServedModel[];
  /** Training from the page; without it `/api/runs` is empty and starts nothing. */
  readonly runs?: Runs;
  /** Folder of the built page. */
  readonly studio?: string;
  /** Host names that requests may be addressed to. Default: this machine's own, by loopback. */
  readonly hosts?: readonly string[];
  /** When set, requests must carry it as `Authorization: Bearer`. */
  readonly auth?: string;
  /** Largest request body in bytes. Default 4 MiB. */
  readonly maxBodyBytes?: number;
  /** Hears of every error that was answered with 500 or inside a stream while the client was there. */
  readonly report?: (error: unknown) => void;
}

/** The whole HTTP surface. Pure of sockets: `app.request()` drives it in a test, `listen` puts it on a port. */
export function createApp(options: AppOptions): Hono {
  const { models, runs, studio, hosts = loopbackHosts, auth, maxBodyBytes = 4 * 1024 * 1024, report = () => {} } = options;
  const app = new Hono();
  app.onError((error, c) => {
    const { status, body } = describeError(error);
    if (status >= 500 && !c.req.raw.signal.aborted) report(error);
    return c.json(body, status);
  });
  app.notFound((c) => errorResponse(c, 404, `No route ${c.req.method} ${c.req.path}`, "not_found"));
  app.use(secureHeaders({ contentSecurityPolicy: pagePolicy, referrerPolicy: "no-referrer", strictTransportSecurity: false }));
  app.use(guard({ hosts, ...(auth === undefined ? {} : { apiKey: auth }) }));
  app.use(bodyLimit({ maxSize: maxBodyBytes, onError: (c) => errorResponse(c, 413, `The request body is larger than ${maxBodyBytes} bytes`, "request_too_large") }));

  app.get("/health", (c) => c.json({ status: "ok", models: models.map((model) => model.id) }));
  const chat = chatRoutes(fixedModels(models), report);
  app.route("/v1", chat);
  app.route("/", chat); // DeepSeek's base URL has no version
  app.get("/api/models", (c) => c.json(models.map(({ id, examples = [], engine }) => ({ id, examples, max_model_len: engine.max_model_len }))));
  if (runs !== undefined) app.route("/api", runRoutes(runs));
  if (studio !== undefined) app.route("/", studioRoutes(studio));
  return app;
}

// The page loads nothing from elsewhere, so that an image in an answer cannot carry a conversation away. uPlot and the
// markdown renderer set style attributes.
const pagePolicy = {
  defaultSrc: ["'self'"],
  styleSrc: ["'self'", "'unsafe-inline'"],
  imgSrc: ["'self'", "data:"],
  objectSrc: ["'none'"],
  baseUri: ["'none'"],
  formAction: ["'none'"],
  frameAncestors: ["'none'"],
};

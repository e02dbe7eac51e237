import { Hono, type MiddlewareHandler } from "hono";
import { bodyLimit } from "hono/body-limit";
import { cors } from "hono/cors";
import { secureHeaders } from "hono/secure-headers";
import type { Accounts } from "./accounts.ts";
import { Admission } from "./admission.ts";
import { apiRoutes } from "./api-routes.ts";
import { describeError, errorResponse, failureResponse } from "./errors.ts";
import { guard, isPublic, loopbackHosts } from "./guard.ts";
import { meteredModels } from "./metered-models.ts";
import { Meter } from "./meter.ts";
import type { ServedModel } from "./model.ts";
import { Pace } from "./pace.ts";
import { loadedSources, ModelRegistry } from "./registry.ts";
import { logEntry, logPrompts, type RequestLogEntry } from "./request-log.ts";
import { trackRequests, type RequestScope } from "./request-scope.ts";
import { runRoutes } from "./run-routes.ts";
import type { Runs } from "./runs.ts";
import { ServingMetrics } from "./serving-metrics.ts";
import { studioRoutes } from "./studio-routes.ts";
import { version } from "./version.ts";

export interface AppOptions {
  readonly models: readonly ServedModel[] | ModelRegistry;
  /** Training from the page; without it `/api/runs` is empty and starts nothing. */
  readonly runs?: Runs;
  /** Folder of the built page. */
  readonly studio?: string;
  /** Host names that requests may be addressed to; `"ip"` for any address in figures, `"*"` for all. Default: this machine's own, by loopback. */
  readonly hosts?: readonly string[];
  /** Web origins whose pages may use the server, beside its own. */
  readonly origins?: readonly string[];
  /** When set, requests must carry it, or a key of `accounts`. */
  readonly auth?: string;
  /** Keys, and the ledger of what is used. */
  readonly accounts?: Accounts;
  /** Largest request body in bytes. Default 4 MiB. */
  readonly maxBodyBytes?: number;
  /** Requests that may wait for their first token at once. Default 512. */
  readonly maxWaiting?: number;
  /** A client that reads nothing for so long, while there is something to read, is cut off. Default one minute. */
  readonly stallMs?: number;
  /** Silent milliseconds after which an answer that is being worked on gives a sign of life. Default 10000. */
  readonly keepAliveMs?: number;
  /** Tokens of an answer that one chunk has at most. Default 1. */
  readonly streamInterval?: number;
  /** Once it is aborted nothing new begins. */
  readonly closing?: AbortSignal;
  /** Ends the streams that are still open with an error. */
  readonly cut?: AbortSignal;
  /** Hears of every request to the API when it has ended. */
  readonly log?: (entry: RequestLogEntry) => void;
  /** Folder that what is asked and answered is written to. Default: nowhere. */
  readonly promptsDir?: string;
  /** Hears of every error that was answered with 500 or inside a stream while the client was there. */
  readonly report?: (error: unknown) => void;
}

/** The whole HTTP surface. Pure of sockets: `app.request()` drives it in a test, `listen` puts it on a port. */
export function createApp(options: AppOptions): Hono {
  const { runs, studio, accounts, closing, cut, promptsDir, log = () => {}, report = () => {}, maxBodyBytes = 4 * 1024 * 1024 } = options;
  const registry = options.models instanceof ModelRegistry ? options.models : new ModelRegistry(loadedSources(options.models), { maxModels: Infinity });
  const admission = new Admission({ maxWaiting: options.maxWaiting ?? 512, accounts });
  const metrics = new ServingMetrics({ models: () => registry.loaded(), waiting: () => admission.waiting });
  registry.onUnload((model) => metrics.retire(model));
  const onEnd = (scope: RequestScope): void => {
    metrics.answered(scope);
    if (!isPage(scope.path)) log(logEntry(scope));
  };

  const app = new Hono();
  app.onError((error, c) => {
    const failure = describeError(error);
    // That there is no room is no defect.
    if (failure.status === 503) c.header("retry-after", "1");
    else if (failure.status >= 500 && !c.req.raw.signal.aborted) report(error);
    return failureResponse(c, failure);
  });
  app.notFound((c) => errorResponse(c, 404, `No route ${c.req.method} ${c.req.path}`, "not_found"));
  app.use(trackRequests({ stallMs: options.stallMs ?? 60_000, cut, onEnd, report }));
  app.use(secureHeaders({ contentSecurityPolicy: pagePolicy, referrerPolicy: "no-referrer", strictTransportSecurity: false }));
  if (options.origins !== undefined) app.use(cors({ origin: [...options.origins], exposeHeaders: ["x-request-id", "retry-after", "retry-after-ms"] }));
  app.use(guard({ hosts: options.hosts ?? loopbackHosts, origins: options.origins, apiKey: options.auth, accounts }));
  if (closing !== undefined) app.use(refuseOnce(closing));
  app.use(whereModelsAnswer(admission.middleware));
  app.use(limitBody(maxBodyBytes));
  if (promptsDir !== undefined) app.use(whereModelsAnswer(logPrompts(promptsDir, report)));

  app.get("/health", (c) => c.json({ status: closing?.aborted ? "closing" : "ok", models: registry.list().map(({ id }) => id) }, closing?.aborted ? 503 : 200));
  app.get("/metrics", (c) => c.text(metrics.text(c.get("scope").key), 200, { "content-type": "text/plain; version=0.0.4; charset=utf-8" }));
  const api = apiRoutes({ models: meteredModels(registry, new Meter({ metrics, admission, accounts, report })), pace: new Pace(options.streamInterval), report, keepAliveMs: options.keepAliveMs });
  // The base URLs of OpenAI's clients, and of DeepSeek's for its betas, for Anthropic's clients and for the rest.
  for (const base of ["/v1", "/beta", "/anthropic/v1", "/"]) app.route(base, api);
  app.get("/version", (c) => c.json({ version }));
  app.get("/api/models", (c) => c.json(registry.list().map(({ id, examples, max_model_len }) => ({ id, examples, max_model_len }))));
  if (runs !== undefined) app.route("/api", runRoutes(runs));
  if (studio !== undefined) app.route("/", studioRoutes(studio));
  return app;
}

/** A body that says how long it is, as all but few do, is not touched: looking at it makes a stream of it, which takes as long as reading it. */
function limitBody(maxSize: number): MiddlewareHandler {
  const limit = bodyLimit({ maxSize, onError: (c) => errorResponse(c, 413, `The request body is larger than ${maxSize} bytes`, "request_too_large") });
  return (c, next) => (c.req.header("transfer-encoding") === undefined && Number(c.req.header("content-length")) <= maxSize ? next() : limit(c, next));
}

/** Nothing begins once `closing` is aborted; whoever watches the server may go on. */
function refuseOnce(closing: AbortSignal): MiddlewareHandler {
  return async (c, next) => {
    if (!closing.aborted || c.req.path === "/health" || c.req.path === "/metrics") return await next();
    c.header("retry-after", "5");
    return errorResponse(c, 503, "The server is shutting down", "shutting_down");
  };
}

/** A model is asked by POST; the page's own routes start runs, and ask none. */
function whereModelsAnswer(middleware: MiddlewareHandler): MiddlewareHandler {
  return (c, next) => (c.req.method === "POST" && !c.req.path.startsWith("/api/") ? middleware(c, next) : next());
}

function isPage(path: string): boolean {
  return isPublic(path) && path !== "/health";
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

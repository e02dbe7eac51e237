import { Hono } from "hono";
import { z } from "zod";
import { badField } from "./request-fields.ts";
import { abortOf, readJson } from "./respond.ts";
import type { Runs, StartOptions } from "./runs.ts";
import { defaultKeepAliveMs, sseBody, sseHeaders } from "./sse.ts";

const startRequest = z.strictObject({
  recipe: z.string().min(1).max(100),
  seed: z.int().min(0).optional(),
  max_steps: z.int().min(1).optional(),
});

/** What the Train page needs: recipes, runs, and the log of each as a stream. */
export function runRoutes(runs: Runs): Hono {
  const app = new Hono();
  app.get("/recipes", async (c) => c.json(await runs.recipes()));
  app.get("/runs", async (c) => c.json(await runs.list()));
  app.post("/runs", async (c) => c.json(await runs.start(parseStart(await readJson(c))), 201));
  app.post("/runs/:id/stop", async (c) => c.json(await runs.stop(c.req.param("id"))));
  app.post("/runs/:id/resume", async (c) => c.json(await runs.resume(c.req.param("id"))));
  app.get("/runs/:id/events", async (c) => {
    const abort = abortOf(c);
    const messages = await runs.events(c.req.param("id"), offsetOf(c.req.header("last-event-id")), abort.signal);
    return c.body(sseBody({ messages, onCancel: () => abort.abort(), keepAliveMs: defaultKeepAliveMs }), 200, sseHeaders);
  });
  return app;
}

function parseStart(body: unknown): StartOptions {
  const parsed = startRequest.safeParse(body);
  if (!parsed.success) throw badField(parsed.error, body);
  return parsed.data;
}

/** A Last-Event-ID is a byte offset of the log; anything else means from the start. */
function offsetOf(id: string | undefined): number {
  const offset = Number(id ?? 0);
  return Number.isSafeInteger(offset) && offset > 0 ? offset : 0;
}

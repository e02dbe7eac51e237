import { serveStatic } from "@hono/node-server/serve-static";
import { Hono } from "hono";

/** The built page. Vite puts a hash in every name under /assets, so those never change. */
export function studioRoutes(folder: string): Hono {
  const app = new Hono();
  app.use("/assets/*", async (c, next) => {
    await next();
    c.header("cache-control", "public, max-age=31536000, immutable");
  });
  app.get("*", serveStatic({ root: folder }));
  return app;
}

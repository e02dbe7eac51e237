import { serve, type ServerType } from "@hono/node-server";
import type { Hono } from "hono";
import { LongjingError } from "../errors/index.ts";

export interface Listening {
  readonly url: string;
  readonly port: number;
  /** Takes no new requests and lets those in progress end; after `graceMs` they are cut off. */
  close(graceMs?: number): Promise<void>;
}

/** Puts `app` on a port; 0 picks a free one. Throws `conflict` when the port is taken. */
export async function listen(app: Hono, { port, host = "127.0.0.1" }: { readonly port: number; readonly host?: string }): Promise<Listening> {
  const server = await new Promise<ServerType>((resolve, reject) => {
    const started = serve({ fetch: app.fetch, port, hostname: host }, () => resolve(started));
    started.once("error", (cause: NodeJS.ErrnoException) => reject(listenError(cause, host, port)));
  });
  const address = server.address();
  const bound = typeof address === "object" && address !== null ? address.port : port;
  return {
    port: bound,
    url: `http://${host.includes(":") ? `[${host}]` : host}:${bound}`,
    close: (graceMs = 5_000) =>
      new Promise((resolve) => {
        const cut = setTimeout(() => "closeAllConnections" in server && server.closeAllConnections(), graceMs);
        server.close(() => {
          clearTimeout(cut);
          resolve();
        });
        if ("closeIdleConnections" in server) server.closeIdleConnections();
      }),
  };
}

function listenError(cause: NodeJS.ErrnoException, host: string, port: number): LongjingError {
  const where = `${host}:${port}`;
  if (cause.code === "EADDRINUSE") {
    return new LongjingError("conflict", "The port is in use", { where, hint: "Stop the other program, or choose another port with --port" }, { cause });
  }
  return new LongjingError("bad_argument", `Cannot listen here (${cause.code ?? cause.message})`, { where }, { cause });
}

import type { Server } from "node:http";
import { serve } from "@hono/node-server";
import type { Hono } from "hono";
import { LongjingError } from "../errors/index.ts";

export interface ListenOptions {
  /** 0 picks a free one. */
  readonly port: number;
  readonly host?: string;
  /** How long a client may take to send the head of a request. Default one minute. */
  readonly headersTimeoutMs?: number;
  /** How long it may take to send all of it. Default two minutes. */
  readonly requestTimeoutMs?: number;
}

export interface Listening {
  readonly url: string;
  readonly port: number;
  /** Resolves once no request is being answered, or after `ms`. New ones are still taken; what they get is the app's affair. */
  drained(ms: number): Promise<void>;
  /** Takes no new requests and lets those in progress end; after `graceMs` they are cut off. */
  close(graceMs?: number): Promise<void>;
}

/** Puts `app` on a port. Throws `conflict` when the port is taken. */
export async function listen(app: Hono, { port, host = "127.0.0.1", headersTimeoutMs = 60_000, requestTimeoutMs = 120_000 }: ListenOptions): Promise<Listening> {
  // Longer than proxies and clients keep an idle connection, so that it is they who close it, and never under a request.
  const serverOptions = { keepAliveTimeout: 75_000, headersTimeout: headersTimeoutMs, requestTimeout: requestTimeoutMs, connectionsCheckingInterval: Math.min(headersTimeoutMs, 5_000) };
  const server = await new Promise<Server>((resolve, reject) => {
    const started = serve({ fetch: app.fetch, port, hostname: host, serverOptions }, () => resolve(started)) as Server;
    started.once("error", (cause: NodeJS.ErrnoException) => reject(listenError(cause, host, port)));
  });
  let open = 0;
  let rest = (): void => {};
  server.on("request", (_, response) => {
    open++;
    response.once("close", () => {
      if (--open === 0) rest();
    });
  });
  const address = server.address();
  const bound = typeof address === "object" && address !== null ? address.port : port;
  return {
    port: bound,
    url: `http://${host.includes(":") ? `[${host}]` : host}:${bound}`,
    drained: (ms) =>
      new Promise((resolve) => {
        if (open === 0) return resolve();
        const late = setTimeout(resolve, ms);
        rest = () => {
          clearTimeout(late);
          resolve();
        };
      }),
    close: (graceMs = 5_000) =>
      new Promise((resolve) => {
        const cut = setTimeout(() => server.closeAllConnections(), graceMs);
        // A connection that was kept alive is idle only after its last answer.
        const sweep = setInterval(() => server.closeIdleConnections(), 50);
        server.close(() => {
          clearTimeout(cut);
          clearInterval(sweep);
          resolve();
        });
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

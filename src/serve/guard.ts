import { createHash, timingSafeEqual } from "node:crypto";
import type { MiddlewareHandler } from "hono";
import { errorResponse } from "./errors.ts";

export interface GuardOptions {
  /** Host names that a request may be addressed to; `"*"` takes any. Ports are not compared. */
  readonly hosts: readonly string[];
  /** When set, `/v1` and `/api` want `Authorization: Bearer` with this key. */
  readonly apiKey?: string;
}

export const loopbackHosts = ["localhost", "127.0.0.1", "[::1]"] as const;

/**
 * Keeps other people's web pages out. A page elsewhere can make the browser send requests here: by a name of its own that
 * resolves to this machine (DNS rebinding: the Host header tells), or plainly across origins (the Origin header tells). No
 * CORS header is ever sent, so such a page cannot read an answer either.
 */
export function guard({ hosts, apiKey }: GuardOptions): MiddlewareHandler {
  return async (c, next) => {
    const host = c.req.header("host") ?? new URL(c.req.url).host;
    if (!hosts.includes("*") && !hosts.includes(hostname(host))) {
      return errorResponse(c, 403, `Host ${JSON.stringify(host)} is not served here; expected ${hosts.join(", ")}`, "host_not_allowed");
    }
    if (c.req.method !== "GET" && c.req.method !== "HEAD" && !sameOrigin(c.req.header("origin"), c.req.header("sec-fetch-site"), host)) {
      return errorResponse(c, 403, "Requests from other web origins are not accepted", "origin_not_allowed");
    }
    if (apiKey !== undefined && isProtected(c.req.path) && !sameSecret(c.req.header("authorization") ?? "", `Bearer ${apiKey}`)) {
      return errorResponse(c, 401, "Authentication fails: send Authorization: Bearer with the key of this server", "invalid_api_key");
    }
    return await next();
  };
}

/** The page and the health check are for everyone; what is added later is protected unless it is named here. */
function isProtected(path: string): boolean {
  return path !== "/health" && path !== "/" && path !== "/index.html" && path !== "/favicon.svg" && !path.startsWith("/assets/");
}

function hostname(host: string): string {
  return URL.canParse(`http://${host}`) ? new URL(`http://${host}`).hostname : host;
}

function sameOrigin(origin: string | undefined, site: string | undefined, host: string): boolean {
  if (site !== undefined && site !== "same-origin" && site !== "none") return false;
  return origin === undefined || (URL.canParse(origin) && new URL(origin).host === host);
}

function sameSecret(got: string, expected: string): boolean {
  const digest = (text: string): Buffer => createHash("sha256").update(text).digest();
  return timingSafeEqual(digest(got), digest(expected));
}

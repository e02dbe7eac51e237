import { isIP } from "node:net";
import type { Context, MiddlewareHandler } from "hono";
import type { Accounts } from "./accounts.ts";
import { errorResponse } from "./errors.ts";
import { isKey, keyId, sameSecret, serverKey, type ApiKey } from "./keys.ts";

export interface GuardOptions {
  /** Host names that a request may be addressed to; `"*"` takes any, `"ip"` any address in figures. Ports are not compared. */
  readonly hosts: readonly string[];
  /** Web origins beside the server's own whose pages may use it. */
  readonly origins?: readonly string[] | undefined;
  /** When set, a request may bring this key. */
  readonly apiKey?: string | undefined;
  /** Keys that a request may bring; once one has been made, it has to. */
  readonly accounts?: Accounts | undefined;
}

export const loopbackHosts = ["localhost", "127.0.0.1", "[::1]"] as const;

/**
 * Keeps other people's web pages out. A page elsewhere can make the browser send requests here: by a name of its own that
 * resolves to this machine (DNS rebinding: the Host header tells), or plainly across origins (the Origin header tells). No
 * CORS header is sent to an origin that was not named, so such a page cannot read an answer either. Then asks for a key, on
 * every route that is not `isPublic`.
 */
export function guard({ hosts, origins = [], apiKey, accounts }: GuardOptions): MiddlewareHandler {
  return async (c, next) => {
    const host = c.req.header("host") ?? new URL(c.req.url).host;
    if (!isServed(hostname(host), hosts)) {
      return errorResponse(c, 403, `Host ${JSON.stringify(host)} is not served here; expected ${hosts.join(", ")}`, "host_not_allowed");
    }
    const origin = c.req.header("origin");
    const welcome = origin !== undefined && origins.includes(origin);
    if (!welcome && c.req.method !== "GET" && c.req.method !== "HEAD" && !sameOrigin(origin, c.req.header("sec-fetch-site"), host)) {
      return errorResponse(c, 403, "Requests from other web origins are not accepted", "origin_not_allowed");
    }
    if (isPublic(c.req.path) || (apiKey === undefined && accounts?.asksForKeys() !== true)) return await next();
    const key = keyOf(bearer(c), apiKey, accounts);
    if (key === null) return errorResponse(c, 401, "Authentication fails: send Authorization: Bearer with a key of this server", "invalid_api_key");
    c.get("scope").key = key;
    return await next();
  };
}

/** The page and the health check are for everyone; what is added later is protected unless it is named here. */
export function isPublic(path: string): boolean {
  return path === "/health" || path === "/" || path === "/index.html" || path === "/favicon.svg" || path.startsWith("/assets/");
}

/** OpenAI's clients send `Authorization: Bearer`, Anthropic's `x-api-key`. */
function bearer(c: Context): string {
  return /^bearer (.*)$/i.exec(c.req.header("authorization") ?? "")?.[1] ?? c.req.header("x-api-key") ?? "";
}

function keyOf(text: string, apiKey: string | undefined, accounts: Accounts | undefined): ApiKey | null {
  if (apiKey !== undefined && sameSecret(text, apiKey)) return serverKey;
  const id = keyId(text);
  const stored = id === null ? undefined : accounts?.key(id);
  return isKey(text, stored?.hash) && stored !== undefined && stored.revoked === null ? stored : null;
}

function hostname(host: string): string {
  return URL.canParse(`http://${host}`) ? new URL(`http://${host}`).hostname : host;
}

/** A page that rebinds a name needs a name: an address in figures is no such page's. */
function isServed(host: string, hosts: readonly string[]): boolean {
  return hosts.includes("*") || hosts.includes(host) || (hosts.includes("ip") && isIP(host.replace(/^\[(.*)\]$/, "$1")) !== 0);
}

function sameOrigin(origin: string | undefined, site: string | undefined, host: string): boolean {
  if (site !== undefined && site !== "same-origin" && site !== "none") return false;
  return origin === undefined || (URL.canParse(origin) && new URL(origin).host === host);
}

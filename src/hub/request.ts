import { setTimeout as sleep } from "node:timers/promises";
import { LongjingError } from "../errors/index.ts";
import type { Hub } from "./hubs.ts";

/** How long and how often a hub is tried. */
export interface Patience {
  /** Seconds without a byte after which a connection counts as cut. */
  readonly stallSeconds: number;
  /** Tries of one request, or of one file without a byte gained. */
  readonly attempts: number;
  /** Seconds before the second try; each further wait is twice as long. */
  readonly retrySeconds: number;
  /** The longest wait that a hub may ask for. */
  readonly mostWaitSeconds: number;
}

export const defaultPatience: Patience = { stallSeconds: 30, attempts: 5, retrySeconds: 1, mostWaitSeconds: 120 };

/** A successful answer, or 416, after its redirects. */
export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  /** The headers of the endpoint's own last word: a redirect to storage says there what the file is. */
  readonly hubHeaders: Headers;
  /** Throws "network" when the connection is cut or stalls. */
  readonly body: AsyncIterable<Uint8Array>;
  /** Closes the connection: for a body that is not wanted, or not to its end. */
  close(): void;
}

const mostRedirects = 5;

/**
 * Asks for a URL of the hub, following redirects and waiting out failures that may pass. The credentials go to the endpoint's
 * origin only.
 * @throws LongjingError "network", "not_found", "bad_argument" when access is refused
 */
export async function ask(hub: Hub, url: URL, headers: Readonly<Record<string, string>>, patience: Patience): Promise<Answer> {
  for (let attempt = 1; ; attempt++) {
    const outcome = await follow(hub, url, headers, patience).catch(passing);
    const failed = LongjingError.is(outcome);
    if (!failed && (outcome.status < 300 || outcome.status === 416)) return outcome;
    if (!failed) outcome.close();
    const error = failed ? outcome : refusal(hub, url, outcome);
    const wait = (failed ? undefined : retryAfter(outcome.headers)) ?? patience.retrySeconds * 2 ** (attempt - 1);
    if (error.code !== "network" || attempt === patience.attempts || wait > patience.mostWaitSeconds) throw error;
    await sleep(wait * 1000);
  }
}

/** Lets through what may pass by itself, as a value. */
export function passing(error: unknown): LongjingError {
  if (LongjingError.is(error) && error.code === "network") return error;
  throw error;
}

async function follow(hub: Hub, from: URL, headers: Readonly<Record<string, string>>, { stallSeconds }: Patience): Promise<Answer> {
  let url = from;
  let hubHeaders = new Headers();
  for (let hop = 0; hop <= mostRedirects; hop++) {
    const own = url.origin === hub.endpoint.origin;
    const { response, ...connection } = await connect(url, { "accept-encoding": "identity", "user-agent": "longjing", ...headers, ...(own ? hub.credentials : {}) }, stallSeconds);
    if (own) hubHeaders = response.headers;
    const location = response.headers.get("location");
    if (response.status < 300 || response.status >= 400 || location === null) return { status: response.status, headers: response.headers, hubHeaders, ...connection };
    connection.close();
    url = redirected(url, location);
  }
  throw new LongjingError("bad_file", "The hub redirects without end", { where: shown(from), expected: `${mostRedirects} redirects at most` });
}

/** Where a redirect leads. @throws LongjingError "bad_file" from https to http, to another protocol, or with a password */
export function redirected(from: URL, location: string): URL {
  const to = URL.canParse(location, from) ? new URL(location, from) : undefined;
  const secure = to?.protocol === "https:" || (to?.protocol === "http:" && from.protocol === "http:");
  if (to && secure && to.username === "" && to.password === "") return to;
  throw new LongjingError("bad_file", "The hub redirects to an address that is not safe", { where: shown(from), got: to ? shown(to) : location, expected: "https" });
}

async function connect(url: URL, headers: Readonly<Record<string, string>>, stallSeconds: number): Promise<Pick<Answer, "body" | "close"> & { readonly response: Response }> {
  const controller = new AbortController();
  const timer = setTimeout(() => controller.abort(), stallSeconds * 1000);
  const cut = (error: unknown): LongjingError => {
    const got = controller.signal.aborted ? `no byte for ${stallSeconds} s` : reason(error);
    return new LongjingError("network", "The connection to the hub failed", { where: shown(url), got }, { cause: error });
  };
  const close = (): void => {
    clearTimeout(timer);
    controller.abort();
  };
  const response = await fetch(url, { headers, redirect: "manual", signal: controller.signal }).catch((error: unknown) => {
    clearTimeout(timer);
    throw cut(error);
  });
  const chunks = async function* (): AsyncGenerator<Uint8Array> {
    try {
      for await (const chunk of response.body ?? []) {
        timer.refresh();
        yield chunk;
      }
    } catch (error) {
      throw cut(error);
    } finally {
      clearTimeout(timer);
    }
  };
  return { response, body: chunks(), close };
}

function reason(error: unknown): string {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  return cause instanceof Error ? ("code" in cause && typeof cause.code === "string" ? cause.code : cause.message) : String(cause);
}

/** What a status that is no success means. */
function refusal(hub: Hub, url: URL, { status, headers }: Answer): LongjingError {
  const said = headers.get("x-error-message") ?? headers.get("x-error-code");
  const facts = { where: shown(url), got: said === null ? status : `${status}: ${said}` };
  const token = Object.keys(hub.credentials).length > 0;
  if (status === 401 || status === 403) {
    const hint = token ? `Check the token in ${hub.tokenVariable}, and that its owner has accepted the model's terms.` : `A private or gated model needs a token in ${hub.tokenVariable}; a name that does not exist is answered so too.`;
    return new LongjingError("bad_argument", "The hub refuses access", { ...facts, hint });
  }
  if (status === 404 || status === 410) return new LongjingError("not_found", "The hub has no such model, revision or file", facts);
  const asked = retryAfter(headers);
  const hint = asked === undefined ? "Try again later: what has arrived is kept." : `The hub asks to wait ${asked} s; what has arrived is kept.`;
  if (status === 429) return new LongjingError("network", "The hub asks for fewer requests", { ...facts, hint });
  if (status === 408 || status >= 500) return new LongjingError("network", "The hub fails", { ...facts, hint });
  return new LongjingError("bad_file", "The hub gives an answer that makes no sense here", facts);
}

/** Seconds, from a number or a date (RFC 9110, 10.2.3). */
function retryAfter(headers: Headers): number | undefined {
  const text = headers.get("retry-after")?.trim();
  if (text === undefined || text === "") return undefined;
  if (/^\d+$/.test(text)) return Number(text);
  const date = Date.parse(text);
  return Number.isNaN(date) ? undefined : Math.max(0, (date - Date.now()) / 1000);
}

/** An address without its query, which may hold a signature. */
export const shown = ({ origin, pathname }: URL): string => `${origin}${pathname}`;

/**
 * The JSON of a URL of the hub.
 * @throws as `ask`; "too_large" above `mostBytes`; "bad_file" when it is not JSON
 */
export async function askJson(hub: Hub, url: URL, mostBytes: number, patience: Patience): Promise<unknown> {
  for (let attempt = 1; ; attempt++) {
    const { body } = await ask(hub, url, { accept: "application/json" }, patience);
    const outcome = await collect(body, mostBytes, shown(url)).catch(passing);
    if (!LongjingError.is(outcome)) return parseJson(outcome, shown(url));
    if (attempt === patience.attempts) throw outcome;
    await sleep(patience.retrySeconds * 2 ** (attempt - 1) * 1000);
  }
}

async function collect(body: AsyncIterable<Uint8Array>, mostBytes: number, where: string): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of body) {
    size += chunk.length;
    if (size > mostBytes) throw new LongjingError("too_large", "The hub's answer is too long", { where, expected: `${mostBytes} bytes at most` });
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function parseJson(bytes: Uint8Array, where: string): unknown {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (cause) {
    throw new LongjingError("bad_file", "The hub's answer is not JSON", { where, hint: "Is this the address of a hub?" }, { cause });
  }
}

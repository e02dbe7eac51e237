import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, describe, expect, test, vi } from "vitest";
import { LongjingError } from "../src/errors/index.ts";
import { createApp, freeTerms, openAccounts, openRuns, type AppOptions, type ErrorBody, type KeyTerms, type SqliteAccounts } from "../src/serve/index.ts";
import { fakeModel, type FakeOptions } from "./fake-model.ts";

const dir = mkdtempSync(join(tmpdir(), "longjing-keys-"));
const opened: SqliteAccounts[] = [];
afterAll(() => {
  for (const accounts of opened) accounts.close();
  rmSync(dir, { recursive: true, force: true });
});

interface Served {
  readonly accounts: SqliteAccounts;
  readonly app: ReturnType<typeof createApp>;
  readonly model: ReturnType<typeof fakeModel>;
  readonly key: string;
  chat(body?: object, headers?: Record<string, string>): Promise<Response>;
}

/** A server whose one key has these terms. */
async function serve(terms: Partial<KeyTerms> = {}, fake: FakeOptions = {}, options: Partial<AppOptions> = {}): Promise<Served> {
  const accounts = await openAccounts(join(dir, `${opened.length}.db`));
  opened.push(accounts);
  const key = accounts.create("alice", { ...freeTerms, ...terms }, Date.now());
  const model = fakeModel(fake);
  const app = createApp({ models: [model], accounts, ...options });
  const chat = async (body: object = {}, headers: Record<string, string> = { authorization: `Bearer ${key}` }): Promise<Response> =>
    await app.request("/v1/chat/completions", { method: "POST", headers, body: JSON.stringify({ model: "fake", messages: [{ role: "user", content: "hi" }], ...body }) });
  return { accounts, app, model, key, chat };
}

const errorOf = async (response: Response): Promise<ErrorBody["error"]> => ((await response.json()) as ErrorBody).error;

async function usageOf(response: Response): Promise<{ prompt_tokens: number; completion_tokens: number; prompt_tokens_details: { cached_tokens: number } }> {
  expect(response.status).toBe(200);
  return ((await response.json()) as { usage: { prompt_tokens: number; completion_tokens: number; prompt_tokens_details: { cached_tokens: number } } }).usage;
}

type Counts = Readonly<Record<"prompt_tokens" | "completion_tokens" | "input_tokens" | "output_tokens" | "cache_read_input_tokens", number | undefined>>;

describe("a server with keys", () => {
  test("asks for one on every route but the page and the health check", async () => {
    const runs = openRuns({ runsDir: join(dir, "runs"), recipesDir: dir, launch: () => { throw new Error("not started"); } });
    const { app, key } = await serve({}, {}, { runs, studio: dir });
    const routes = app.routes.filter(({ method }) => method !== "ALL").map(({ method, path }) => ({ method, path: path.replace(/:\w+/g, "x").replace("*", "x") }));
    expect(routes.length).toBeGreaterThan(15);
    const open: string[] = [];
    for (const { method, path } of routes) {
      const { status } = await app.request(path, { method });
      if (status !== 401) open.push(path);
      const known = await app.request(path, { method, headers: { authorization: `Bearer ${key}` } });
      expect([401, 403], `${method} ${path}`).not.toContain(known.status);
      await known.body?.cancel();
    }
    expect(open).toEqual(["/health"]);
    for (const path of ["/assets/x.js", "/", "/index.html", "/favicon.svg"]) expect((await app.request(path)).status).not.toBe(401);
    expect((await app.request("/what/comes/later")).status).toBe(401);
    await runs.close();
  });

  test.each([
    ["none", () => ({})],
    ["an empty one", () => ({ authorization: "Bearer " })],
    ["no key of ours", () => ({ authorization: "Bearer sk-123" })],
    ["one whose secret differs in one character", (key: string) => ({ authorization: `Bearer ${key.slice(0, -1)}${key.endsWith("A") ? "B" : "A"}` })],
    ["one with another's id", (key: string) => ({ authorization: `Bearer ${key.replace(/lj-.{10}/, "lj-0000000000")}` })],
    ["its id alone", (key: string) => ({ authorization: `Bearer ${key.split("-")[1]}` })],
    ["another scheme", (key: string) => ({ authorization: `Basic ${key}` })],
  ] as [string, (key: string) => Record<string, string>][])("refuses %s", async (_, headers) => {
    const { chat, key, model } = await serve();
    const response = await chat({}, headers(key));
    expect(response.status).toBe(401);
    expect(await errorOf(response)).toMatchObject({ type: "authentication_error", code: "invalid_api_key" });
    expect(model.requests).toEqual([]);
  });

  test("takes a key as OpenAI's and as Anthropic's clients send it, until it is revoked", async () => {
    const { chat, key, accounts } = await serve();
    for (const headers of [{ authorization: `Bearer ${key}` }, { authorization: `bearer ${key}` }, { "x-api-key": key }]) expect((await chat({}, headers)).status).toBe(200);
    accounts.revoke("alice", Date.now());
    expect((await chat()).status).toBe(401);
    expect((await chat({}, {})).status).toBe(401);
  });

  test("keeps what one key has cached from another", async () => {
    const { chat, accounts, model } = await serve();
    const other = accounts.create("bob", freeTerms, Date.now());
    await chat();
    await chat({}, { authorization: `Bearer ${other}` });
    const [a, b] = model.requests;
    expect(a!.cache_salt).not.toBe(b!.cache_salt);
    expect(a!.user).not.toBe(b!.user);
    await chat();
    expect(model.requests[2]!.cache_salt).toBe(a!.cache_salt);
  });

  test("shows a key its own use only, and the server's own key everybody's", async () => {
    const { app, chat, key, accounts } = await serve({}, {}, { auth: "operator" });
    const other = accounts.create("bob", freeTerms, Date.now());
    for (const each of [key, other]) await (await chat({}, { authorization: `Bearer ${each}` })).text();
    const seen = async (by: string): Promise<string[]> => {
      const text = await (await app.request("/metrics", { headers: { authorization: `Bearer ${by}` } })).text();
      expect(text).toContain("longjing:prompt_tokens_total{");
      return [...new Set(Array.from(text.matchAll(/key_name="(\w+)"/g), ([, name]) => name!))].sort();
    };
    expect(await seen(key)).toEqual(["alice"]);
    expect(await seen(other)).toEqual(["bob"]);
    expect(await seen("operator")).toEqual(["alice", "bob"]);
  });
});

describe("a limit", () => {
  afterEach(() => void vi.useRealTimers());

  test("of requests a minute answers 429 and says when to come again, whatever the clock on the wall does", async () => {
    vi.useFakeTimers({ toFake: ["performance", "Date"] });
    const { chat } = await serve({ requests_per_minute: 3 });
    for (let at = 0; at < 3; at++) expect((await chat()).headers.get("x-ratelimit-remaining-requests")).toBe(String(2 - at));
    vi.setSystemTime(Date.now() + 3_600_000);
    const refused = await chat();
    expect(refused.status).toBe(429);
    expect((await errorOf(refused)).type).toBe("rate_limit_error");
    const wait = Number(refused.headers.get("retry-after-ms"));
    expect(Number(refused.headers.get("retry-after"))).toBe(Math.ceil(wait / 1000));
    vi.setSystemTime(Date.now() - 7_200_000);
    vi.advanceTimersByTime(wait - 1000);
    expect((await chat()).status).toBe(429);
    vi.advanceTimersByTime(1000);
    expect((await chat()).status).toBe(200);
    expect((await chat()).status).toBe(429);
  });

  test("of tokens a minute counts prompts and completions", async () => {
    vi.useFakeTimers({ toFake: ["performance", "Date"] });
    const { chat } = await serve({ tokens_per_minute: 60 });
    const usage = await usageOf(await chat());
    const used = usage.prompt_tokens + usage.completion_tokens;
    expect(used).toBeLessThan(60);
    const left = (await chat()).headers.get("x-ratelimit-remaining-tokens");
    expect(left).toBe(String(60 - used));
    while ((await chat()).status === 200);
    const refused = await chat();
    vi.advanceTimersByTime(Number(refused.headers.get("retry-after-ms")));
    expect((await chat()).status).toBe(200);
  });

  test("of requests at once lets the next in when one ends, however it ends", async () => {
    const { chat } = await serve({ max_concurrency: 2 }, { delayMs: 2, say: () => "x".repeat(1000) });
    const [whole, streamed] = await Promise.all([chat({ max_tokens: 3 }), chat({ stream: true })]);
    await whole!.text();
    expect((await chat({ stream: true })).status).toBe(200);
    const refused = await chat({ max_tokens: 1 });
    expect(refused.status).toBe(429);
    expect(refused.headers.get("retry-after")).not.toBeNull();
    await streamed!.body!.cancel();
    expect((await chat({ max_tokens: 1 })).status).toBe(200);
  });
});

describe("a quota", () => {
  test("of tokens ends in 402, for good", async () => {
    const { chat, accounts } = await serve({ quota_tokens: 100 });
    let used = 0;
    for (;;) {
      const response = await chat();
      if (response.status === 402) {
        expect(response.headers.get("retry-after")).toBeNull();
        expect(await errorOf(response)).toMatchObject({ type: "insufficient_quota" });
        break;
      }
      expect(used).toBeLessThan(100);
      const usage = await usageOf(response);
      used += usage.prompt_tokens + usage.completion_tokens;
    }
    expect(used).toBeGreaterThanOrEqual(100);
    const { prompt_tokens, completion_tokens } = accounts.used(accounts.list()[0]!.id);
    expect(prompt_tokens + completion_tokens).toBe(used);
  });

  test("of money counts cached, computed and generated tokens at their prices", async () => {
    const prices = { input_price: 3, cached_input_price: 0.5, output_price: 11 };
    const { chat, accounts } = await serve({ ...prices, quota_usd: 0.002 }, { cached: 4 });
    let usd = 0;
    for (;;) {
      const response = await chat({ n: 2 });
      if (response.status === 402) break;
      expect(usd).toBeLessThan(0.002);
      const { prompt_tokens, completion_tokens, prompt_tokens_details } = await usageOf(response);
      const { cached_tokens } = prompt_tokens_details;
      expect(cached_tokens).toBe(4);
      usd += ((prompt_tokens - cached_tokens) * prices.input_price + cached_tokens * prices.cached_input_price + completion_tokens * prices.output_price) / 1e6;
    }
    expect(usd).toBeGreaterThanOrEqual(0.002);
    expect(accounts.used(accounts.list()[0]!.id).cost / 1e12).toBeCloseTo(usd, 12);
  });
});

describe("the ledger", () => {
  const sums = (accounts: SqliteAccounts) => {
    const { cost: _cost, ...used } = accounts.used(accounts.list()[0]!.id);
    return used;
  };

  test.each([
    ["a plain answer", {}],
    ["several choices", { n: 3 }],
    ["an answer that is cut off", { max_tokens: 4 }],
    ["one that a stop string ends", { stop: "h" }],
  ])("has what the client was told, streamed or not: %s", async (_, body) => {
    const { chat, accounts } = await serve({}, { cached: 3 });
    const usage = await usageOf(await chat(body));
    const told = { prompt_tokens: usage.prompt_tokens, cached_tokens: usage.prompt_tokens_details.cached_tokens, completion_tokens: usage.completion_tokens };
    expect(sums(accounts)).toEqual(told);
    const streamed = await (await chat({ ...body, stream: true })).text();
    const chunks = streamed.split("\n\n").flatMap((event) => (event.startsWith("data: {") ? [JSON.parse(event.slice(6)) as { usage: object | null }] : []));
    expect(chunks.findLast(({ usage }) => usage !== null)?.usage).toEqual(usage);
    expect(sums(accounts)).toEqual(Object.fromEntries(Object.entries(told).map(([name, count]) => [name, 2 * count])));
  });

  test.each([
    ["/v1/completions", { prompt: ["one", "three"], n: 2, max_tokens: 7 }, (u: Counts) => [u.prompt_tokens!, u.completion_tokens!]],
    ["/v1/messages", { messages: [{ role: "user", content: "hi" }], max_tokens: 9 }, (u: Counts) => [u.input_tokens! + (u.cache_read_input_tokens ?? 0), u.output_tokens!]],
    ["/v1/responses", { input: "hi" }, (u: Counts) => [u.input_tokens!, u.output_tokens!]],
  ] as [string, object, (usage: Counts) => number[]][])("has what the client of %s was told", async (path, body, told) => {
    const { app, key, accounts } = await serve({}, { cached: 2 });
    const response = await app.request(path, { method: "POST", headers: { authorization: `Bearer ${key}` }, body: JSON.stringify({ model: "fake", ...body }) });
    expect(response.status).toBe(200);
    const { usage } = (await response.json()) as { usage: Counts };
    const { prompt_tokens, completion_tokens } = sums(accounts);
    expect([prompt_tokens, completion_tokens]).toEqual(told(usage));
    expect(completion_tokens).toBeGreaterThan(0);
  });

  test("has what was generated for a client that left", async () => {
    const { chat, accounts, model } = await serve({}, { delayMs: 1, say: () => "x".repeat(1000) });
    const reader = (await chat({ stream: true })).body!.getReader();
    for (let chunk = 0; chunk < 6; chunk++) await reader.read();
    await reader.cancel();
    await vi.waitUntil(() => model.running() === 0);
    const { prompt_tokens, completion_tokens } = sums(accounts);
    expect(prompt_tokens).toBe(model.requests[0]!.prompt_ids.length);
    expect(completion_tokens).toBeGreaterThan(0);
    expect(completion_tokens).toBeLessThan(1000);
  });

  test("that cannot be written costs the answer, and refuses what comes next until it can", async () => {
    const { chat, accounts, model } = await serve();
    const id = accounts.list()[0]!.id;
    const full = (): never => {
      throw new LongjingError("disk", "There is no room");
    };
    const flush = vi.spyOn(accounts, "flush").mockImplementationOnce(() => {}).mockImplementation(full);
    for (let at = 0; at < 3; at++) expect((await chat()).status).toBe(507);
    expect(model.requests).toHaveLength(1);
    flush.mockRestore();
    const told = await usageOf(await chat());
    const used = accounts.used(id);
    // The answer that nobody got is in the ledger as well: its tokens were generated.
    expect(used.completion_tokens).toBe(2 * told.completion_tokens);
  });
});

describe("other origins", () => {
  const origin = "https://app.example";
  const from = { origin, "sec-fetch-site": "cross-site" };

  test("that are named may use the server, key and all; others get no header and no answer", async () => {
    const { app, chat, key } = await serve({}, {}, { origins: [origin] });
    const preflight = await app.request("/v1/chat/completions", { method: "OPTIONS", headers: { ...from, "access-control-request-method": "POST", "access-control-request-headers": "authorization,content-type" } });
    expect(preflight.status).toBe(204);
    expect(preflight.headers.get("access-control-allow-origin")).toBe(origin);
    const answered = await chat({}, { ...from, authorization: `Bearer ${key}` });
    expect(answered.status).toBe(200);
    expect(answered.headers.get("access-control-allow-origin")).toBe(origin);
    const stranger = await chat({}, { origin: "https://evil.example", authorization: `Bearer ${key}` });
    expect(stranger.status).toBe(403);
    expect(stranger.headers.get("access-control-allow-origin")).toBeNull();
    expect((await chat({}, from)).status).toBe(401);
  });

  test("an address in figures is no rebound name, where that is allowed", async () => {
    const app = createApp({ models: [], hosts: ["localhost", "ip"] });
    const ask = async (host: string): Promise<number> => (await app.request("/health", { headers: { host } })).status;
    for (const host of ["192.168.1.7", "192.168.1.7:3141", "[fe80::1]:80", "localhost"]) expect(await ask(host), host).toBe(200);
    for (const host of ["evil.example", "192.168.1.7.evil.example", "192.168.1.7@evil.example", ""]) expect(await ask(host), host).toBe(403);
  });
});

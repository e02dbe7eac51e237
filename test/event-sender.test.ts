import { once } from "node:events";
import { connect, Socket } from "node:net";
import { Hono } from "hono";
import { afterEach, expect, test, vi } from "vitest";
import { createApp, listen, type AppOptions, type Listening } from "../src/serve/index.ts";
import { trackRequests } from "../src/serve/request-scope.ts";
import { respondStream } from "../src/serve/respond.ts";
import type { SseMessage } from "../src/serve/sse.ts";
import { fakeModel, type FakeOptions } from "./fake-model.ts";

let listening: Listening | undefined;
afterEach(() => listening?.close(0));

async function serve(fake: FakeOptions = {}, options: Partial<AppOptions> = {}) {
  const app = createApp({ models: [fakeModel(fake)], ...options });
  listening = await listen(app, { port: 0 });
  return { app, url: listening.url, port: listening.port };
}

const messages = [{ role: "user", content: "héé 龙井 \u{1f375}" }];
const asked = (body: object): RequestInit & { body: string } => ({ method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ model: "fake", stream: true, max_tokens: 60, ...body }) });

/** The text of an answer, in whatever pieces it came. */
const said = (text: string): string => [...text.matchAll(/"(?:content|reasoning_content|text|thinking|delta)":("(?:[^"\\]|\\.)*")/g)].map(([, json]) => JSON.parse(json!) as string).join("");

/** The events without what is drawn or read off a clock for each answer. */
const lasting = (text: string): string[] => text.replaceAll(/(chatcmpl-|cmpl-|resp_|msg_|rs_|fc_|call_)[\w-]+/g, "$1").replaceAll(/"(created|created_at)":[\d.]+/g, "").split("\n\n");

test.each([
  ["/v1/chat/completions", { messages }],
  ["/v1/chat/completions", { messages, n: 3, logprobs: true, stream_options: { include_usage: true } }],
  ["/v1/completions", { prompt: "龙" }],
  ["/v1/messages", { messages }],
  ["/v1/responses", { input: "hi" }],
])("%s sends by the connection what the body of a response has (%j)", async (path, body) => {
  const { app, url } = await serve();
  const [by, alone] = [await fetch(`${url}${path}`, asked(body)), await app.request(path, asked(body))];
  expect(by.status).toBe(200);
  const text = await by.text();
  // Several choices come as they come.
  const order = (events: string[]): string[] => ("n" in body ? events.toSorted() : events);
  expect(order(lasting(text))).toEqual(order(lasting(await alone.text())));
  expect(text.length).toBeGreaterThan(100);
  const own = ["x-request-id", "connection", "date", "keep-alive", "transfer-encoding"];
  const headers = (response: Response): string[][] => [...response.headers].filter(([name]) => !own.includes(name)).toSorted();
  expect(headers(by)).toEqual(headers(alone));
});

/** What comes back on a connection that sends the texts, one after another. */
async function exchange(port: number, texts: readonly string[], enough: (got: string) => boolean): Promise<string> {
  const socket: Socket = connect(port, "127.0.0.1").setEncoding("utf8");
  for (const text of texts) socket.write(text);
  let got = "";
  const closed = once(socket, "close");
  socket.on("data", (more: string) => {
    got += more;
    if (enough(got)) socket.destroy();
  });
  await closed;
  return got;
}

const head = (body: string, version: string): string => `POST /v1/completions HTTP/${version}\r\nhost: localhost\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`;

test("requests that are sent before an answer has ended are answered in their order", async () => {
  const { port } = await serve({ delayMs: 1, say: (message) => message });
  const body = (prompt: string): string => asked({ prompt: `user:${prompt}\n`, max_tokens: 30 }).body;
  const got = await exchange(port, [head(body("a".repeat(20)), "1.1") + head(body("b".repeat(20)), "1.1")], (text) => text.match(/\[DONE\]/g)?.length === 2);
  expect(got.match(/HTTP\/1.1 200 OK/g)?.length).toBe(2);
  expect(said(got)).toBe("a".repeat(20) + "b".repeat(20));
});

test("a client of HTTP/1.0 gets no chunks", async () => {
  const { port } = await serve({ say: () => "abc" });
  const got = await exchange(port, [head(asked({ prompt: "x" }).body, "1.0")], () => false);
  expect(got).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
  expect(got.toLowerCase()).not.toContain("transfer-encoding");
  const [, events = ""] = got.split("\r\n\r\n");
  expect(events).toMatch(/^data: \{/);
  expect(events.endsWith("data: [DONE]\n\n")).toBe(true);
});

test("events that are ready at once leave in one write, and those of a client that does not read wait", async () => {
  let taken = 0;
  const endless = async function* (): AsyncGenerator<SseMessage, void> {
    for (;;) yield { data: `${"x".repeat(10_000)}${taken++}` };
  };
  const app = new Hono();
  app.use(trackRequests({ stallMs: 60_000, onEnd: () => {}, report: () => {} }));
  const abort = new AbortController();
  app.get("/endless", (c) => respondStream(c, { report: () => {} }, abort, endless()));
  app.get("/ten", (c) => respondStream(c, { report: () => {} }, abort, (async function* () {
    for (let i = 0; i < 10; i++) yield { data: String(i) };
  })()));
  listening = await listen(app, { port: 0 });
  const writes = vi.spyOn(Socket.prototype, "write");
  expect(lasting(await (await fetch(`${listening.url}/ten`)).text())).toEqual([...Array.from({ length: 10 }, (_, i) => `data: ${i}`), ""]);
  expect(writes.mock.calls.filter(([chunk]) => typeof chunk === "string" && chunk.includes("data: "))).toHaveLength(1);
  writes.mockRestore();

  const socket = connect(listening.port, "127.0.0.1").pause();
  socket.write("GET /endless HTTP/1.1\r\nhost: localhost\r\n\r\n");
  const settled = async (): Promise<number> => {
    for (let before = -1; before !== taken; await new Promise((resolve) => setTimeout(resolve, 100))) before = taken;
    return taken;
  };
  // What fits the buffers of the system, and no more.
  expect(await settled()).toBeGreaterThan(1);
  expect(taken).toBeLessThan(5000);
  const gone = once(socket, "close");
  socket.destroy();
  await gone;
  await vi.waitUntil(() => abort.signal.aborted);
});

test("of many answers at once, events leave together, and say the same", async () => {
  const { url } = await serve({ say: () => "abcdefghij".repeat(3), delayMs: 1 });
  const writes = vi.spyOn(Socket.prototype, "write");
  const read = async (): Promise<string[]> => lasting(await (await fetch(`${url}/v1/completions`, asked({ prompt: "x" }))).text());
  const ofEvents = (): number => writes.mock.calls.splice(0).filter(([chunk]) => typeof chunk === "string" && chunk.includes("data: ")).length;
  const alone = await read();
  writes.mockClear();
  const many = await Promise.all(Array.from({ length: 16 }, read));
  for (const one of many) expect(one).toEqual(alone);
  expect(ofEvents()).toBeLessThan((16 * 30) / 2);
  writes.mockRestore();
});

test("with an interval, tokens that leave together are fewer chunks of the same text, unless they were asked for", async () => {
  const text = "abcdefghij".repeat(4);
  const { app } = await serve({ say: () => text }, { streamInterval: 4 });
  const chunks = async (body: object): Promise<string[]> => (await (await app.request("/v1/completions", asked({ prompt: "x", ...body }))).text()).match(/"text":"[a-j]+"/g) ?? [];
  const [joined, apart] = [await chunks({}), await chunks({ logprobs: 1 })];
  expect(joined.map((chunk) => JSON.parse(`{${chunk}}`) as { text: string }).map((chunk) => chunk.text).join("")).toBe(text);
  expect(joined.length).toBeLessThan(text.length / 2);
  expect(Math.max(...joined.map((chunk) => chunk.length))).toBe('"text":"abcd"'.length);
  expect(apart.length).toBe(text.length);
});

test("events that wait for others leave before long where none come", async () => {
  const { url } = await serve({ say: () => "abcdefghijklmnop", stallAfter: 15 });
  const cut = new AbortController();
  const read = async (): Promise<string> => {
    let text = "";
    for await (const bytes of (await fetch(`${url}/v1/completions`, { ...asked({ prompt: "x" }), signal: cut.signal })).body!.pipeThrough(new TextDecoderStream())) {
      text += bytes;
      if (text.includes('"o"')) break;
    }
    return text;
  };
  for (const text of await Promise.all(Array.from({ length: 16 }, read))) expect(text.match(/"text":"[a-o]"/g)?.length).toBe(15);
  cut.abort();
});

test("a connection gives signs of life while an answer is long in coming", async () => {
  const { url } = await serve({ delayMs: 30, say: () => "ab" }, { keepAliveMs: 5 });
  const text = await (await fetch(`${url}/v1/completions`, asked({ prompt: "x" }))).text();
  expect(text).toContain(": keep-alive\n\n");
  expect(text.endsWith("data: [DONE]\n\n")).toBe(true);
});

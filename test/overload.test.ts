import { spawn } from "node:child_process";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { afterEach, describe, expect, test, vi } from "vitest";
import type { EngineRequest } from "../src/engine/types.ts";
import { createApp, listen, type AppOptions, type ErrorBody, type Listening, type ListenOptions } from "../src/serve/index.ts";
import { fakeModel, type FakeModel, type FakeOptions } from "./fake-model.ts";
import { launcher } from "./launcher.ts";

let listening: Listening | undefined;
const sockets: Socket[] = [];
afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  await listening?.close(0);
  listening = undefined;
});

interface Served {
  readonly model: FakeModel;
  readonly url: string;
  ask(body?: object, init?: RequestInit): Promise<Response>;
}

async function serve(fake: FakeOptions = {}, options: Partial<AppOptions> = {}, how: Partial<ListenOptions> = {}): Promise<Served> {
  const model = fakeModel(fake);
  listening = await listen(createApp({ models: [model], ...options }), { port: 0, ...how });
  const { url } = listening;
  const ask = (body: object = {}, init: RequestInit = {}): Promise<Response> =>
    fetch(`${url}/v1/chat/completions`, { method: "POST", body: JSON.stringify({ model: "fake", messages: [{ role: "user", content: "hi" }], ...body }), ...init });
  return { model, url, ask };
}

/** A connection that speaks for itself. */
async function dial(text: string): Promise<Socket> {
  const socket = connect(listening!.port, "127.0.0.1").on("error", () => {});
  sockets.push(socket);
  await once(socket, "connect");
  socket.write(text);
  return socket;
}

const slow: FakeOptions = { delayMs: 3, say: () => "x".repeat(2000) };

const errorOf = async (response: Response): Promise<ErrorBody["error"]> => ((await response.json()) as ErrorBody).error;

describe("the queue", () => {
  test("is bounded: 429 says when to come again, and whoever leaves makes room", async () => {
    const { model, ask } = await serve({}, { maxWaiting: 3 });
    let running = 0;
    // No token ever comes: a sequence ends when its client goes.
    Object.assign(model.engine, {
      async *submit({ signal }: EngineRequest) {
        running++;
        await once(signal!, "abort");
        running--;
        yield { type: "finish", reason: "abort", prompt_tokens: 1, cached_tokens: 0, completion_tokens: 0 };
      },
    });
    const wait = (): (() => void) => {
      const abort = new AbortController();
      ask({}, { signal: abort.signal }).catch(() => null);
      return () => abort.abort();
    };
    const leave = [wait(), wait(), wait()];
    await vi.waitUntil(() => running === 3);
    const refused = await ask();
    expect(refused.status).toBe(429);
    expect(Number(refused.headers.get("retry-after"))).toBeGreaterThan(0);
    expect(Number(refused.headers.get("retry-after-ms"))).toBeGreaterThan(0);
    expect(await errorOf(refused)).toMatchObject({ type: "rate_limit_error", code: "queue_full" });
    leave[0]!();
    await vi.waitUntil(() => running === 2);
    leave.push(wait());
    await vi.waitUntil(() => running === 3);
    for (const go of leave) go();
    await vi.waitUntil(() => running === 0);
  });

  test("holds nobody who has had a token", async () => {
    const { model, ask } = await serve(slow, { maxWaiting: 1 });
    const streams: ReadableStreamDefaultReader<Uint8Array>[] = [];
    for (let at = 0; at < 4; at++) {
      const response = await ask({ stream: true });
      expect(response.status).toBe(200);
      const reader = response.body!.getReader();
      let text = "";
      while (!text.includes('"content":"x')) text += new TextDecoder().decode((await reader.read()).value);
      streams.push(reader);
    }
    expect(model.running()).toBe(4);
    for (const reader of streams) await reader.cancel();
    await vi.waitUntil(() => model.running() === 0);
  });
});

test("a client that is killed in the middle of a stream frees its place; the streams beside it end whole", async () => {
  const { model, ask } = await serve({ delayMs: 1, say: () => "y".repeat(150) });
  const body = JSON.stringify({ model: "fake", stream: true, messages: [{ role: "user", content: "hi" }] });
  const victims = await Promise.all(Array.from({ length: 5 }, () => dial(`POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: ${body.length}\r\n\r\n${body}`)));
  const others = Promise.all(Array.from({ length: 5 }, async () => await (await ask({ stream: true })).text()));
  await Promise.all(victims.map((victim) => once(victim, "data")));
  for (const victim of victims) victim.resetAndDestroy();
  await vi.waitUntil(() => model.running() === 5);
  const texts = await others;
  for (const text of texts) expect(text.match(/"content":"y/g)?.length).toBe(150);
  expect(texts.every((text) => text.endsWith("data: [DONE]\n\n"))).toBe(true);
});

test("a client that does not read is not written to, and is cut off; what waits for it stays small", async () => {
  let said = 0;
  const long = "z".repeat(4_000_000);
  const { model } = await serve({ max_model_len: 5_000_000, say: () => long }, { stallMs: 300 });
  const submit = model.engine.submit.bind(model.engine);
  // Without a pause, so that only the reader can hold it back.
  Object.assign(model.engine, {
    async *submit(request: Parameters<typeof submit>[0]) {
      for (; said < long.length && !request.signal?.aborted; said++) yield { type: "token", token_id: 122, logprob: 0 };
      yield { type: "finish", reason: request.signal?.aborted ? "abort" : "stop", prompt_tokens: 1, cached_tokens: 0, completion_tokens: said };
    },
  });
  const body = JSON.stringify({ model: "fake", stream: true, messages: [{ role: "user", content: "hi" }] });
  const socket = await dial(`POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: ${body.length}\r\n\r\n${body}`);
  socket.pause();
  await vi.waitUntil(async () => (await (await fetch(`${listening!.url}/metrics`)).text()).includes('finished_reason="abort"} 1'), { timeout: 20_000, interval: 50 });
  expect(said).toBeLessThan(long.length);
  const closed = once(socket, "close");
  socket.resume();
  await closed;
});

describe("a request that does not come", () => {
  test.each([
    ["its head", "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n"],
    ["its body", "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n{"],
  ])("is given up when %s stays away", async (_, text) => {
    await serve({}, {}, { headersTimeoutMs: 100, requestTimeoutMs: 200 });
    const socket = await dial(text);
    let answer = "";
    socket.on("data", (bytes) => (answer += String(bytes)));
    await once(socket, "close");
    expect(answer).toMatch(/^HTTP\/1\.1 408 /);
  });
});

describe("a server that shuts down", () => {
  test("takes nothing new, says so, and lets streams end", async () => {
    const closing = new AbortController();
    const { url, ask } = await serve({ delayMs: 2, say: () => "w".repeat(100) }, { closing: closing.signal });
    const stream = await ask({ stream: true });
    closing.abort();
    const refused = await ask();
    expect(refused.status).toBe(503);
    expect(Number(refused.headers.get("retry-after"))).toBeGreaterThan(0);
    expect((await fetch(`${url}/health`)).status).toBe(503);
    const closed = listening!.close(10_000);
    expect((await stream.text()).endsWith("data: [DONE]\n\n")).toBe(true);
    await closed;
    await expect(ask()).rejects.toThrow("fetch failed");
  });

  test("answers 503 on SIGTERM for as long as a stream is open, then ends with 0", async () => {
    const server = spawn(process.execPath, [launcher, "serve", "--port", "0", "--no-log", "--no-studio", "--json", "--drain-timeout", "4"], { stdio: ["ignore", "pipe", "inherit"] });
    const closed = once(server, "close");
    const [ready] = (await once(server.stdout, "data")) as [Buffer];
    const { url } = JSON.parse(String(ready)) as { url: string };
    const ask = (body: object): Promise<Response> => fetch(`${url}/v1/completions`, { method: "POST", body: JSON.stringify({ prompt: "1", ...body }) });
    // Too much to be sent to a client that does not read, so it stays open.
    const stream = await ask({ stream: true, n: 16, logprobs: 20, max_tokens: 200, ignore_eos: true });
    server.kill("SIGTERM");
    await vi.waitUntil(async () => (await fetch(`${url}/health`)).status === 503, { timeout: 3000 });
    for (let at = 0; at < 2; at++) {
      const refused = await ask({ max_tokens: 1 });
      expect([refused.status, Number(refused.headers.get("retry-after")) > 0]).toEqual([503, true]);
      expect((await errorOf(refused)).code).toBe("shutting_down");
      expect((await fetch(`${url}/api/runs`, { method: "POST", body: "{}" })).status).toBe(503);
      expect((await fetch(`${url}/metrics`)).status).toBe(200);
    }
    await stream.body!.cancel();
    expect(await closed).toEqual([0, null]);
  }, 30_000);

  test("tells the streams that it cannot wait for", async () => {
    const cut = new AbortController();
    const { model, ask } = await serve(slow, { cut: cut.signal });
    const stream = await ask({ stream: true });
    await vi.waitUntil(() => model.running() === 1);
    cut.abort();
    const text = await stream.text();
    const last = text.trimEnd().split("\n\n").at(-1) ?? "";
    expect(JSON.parse(last.slice("data: ".length))).toMatchObject({ error: { type: "server_error", code: "shutting_down" } });
    expect(text).not.toContain("[DONE]");
    await vi.waitUntil(() => model.running() === 0);
  });
});

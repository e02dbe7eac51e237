import fc from "fast-check";
import OpenAI from "openai";
import { afterEach, describe, expect, test, vi } from "vitest";
import { createApp, listen, type ChatChunk, type ChatCompletion, type ErrorBody, type Listening } from "../src/serve/index.ts";
import { fakeModel, type FakeModel, type FakeOptions } from "./fake-model.ts";

interface Chat {
  readonly [field: string]: unknown;
}

function serve(options: FakeOptions = {}) {
  const model = fakeModel(options);
  const app = createApp({ models: [model] });
  const post = async (body: Chat | string, headers: Record<string, string> = {}) =>
    await app.request("/v1/chat/completions", {
      method: "POST",
      headers: { "content-type": "application/json", ...headers },
      body: typeof body === "string" ? body : JSON.stringify({ model: model.id, messages: [{ role: "user", content: "hi" }], ...body }),
    });
  const complete = async (body: Chat = {}): Promise<ChatCompletion> => {
    const response = await post(body);
    expect(response.status).toBe(200);
    return (await response.json()) as ChatCompletion;
  };
  const stream = async (body: Chat = {}): Promise<ChatChunk[]> => dataOf(await (await post({ ...body, stream: true })).text()).map((data) => JSON.parse(data) as ChatChunk);
  return { app, model, post, complete, stream };
}

/** The data of every event but `[DONE]`. */
function dataOf(body: string): string[] {
  return body.split("\n\n").flatMap((event) => (event.startsWith("data: ") && event !== "data: [DONE]" ? [event.slice(6)] : []));
}

const message = (completion: ChatCompletion, index = 0) => completion.choices[index]?.message;

describe("a chat completion", () => {
  test("keeps thinking and answer apart, without tags, and counts both", async () => {
    const { complete, model } = serve();
    const completion = await complete();
    expect(message(completion)).toEqual({ role: "assistant", content: "hi", reasoning_content: "They said hi." });
    expect(completion.choices[0]?.finish_reason).toBe("stop");
    const { usage } = completion;
    expect(usage.prompt_tokens).toBe(model.tokenizer.encode(model.renderChat([{ role: "user", content: "hi" }])).length);
    expect(usage.total_tokens).toBe(usage.prompt_tokens + usage.completion_tokens);
    expect(usage.prompt_cache_hit_tokens + usage.prompt_cache_miss_tokens).toBe(usage.prompt_tokens);
    expect(usage.completion_tokens_details.reasoning_tokens).toBeGreaterThanOrEqual("They said hi.".length);
    expect(usage.completion_tokens_details.reasoning_tokens).toBeLessThan(usage.completion_tokens);
  });

  test("streamed or not, says the same", async () => {
    await fc.assert(
      fc.asyncProperty(fc.string({ unit: fc.constantFrom("<think>", "</think>", "<answer>", "</answer>", "<", "a", "é", "🙂", "\n"), maxLength: 12 }), fc.integer({ min: 1, max: 60 }), async (said, max_tokens) => {
        const { complete, stream } = serve({ say: () => said });
        const whole = await complete({ max_tokens, logprobs: true });
        const chunks = await stream({ max_tokens, logprobs: true });
        const join = (field: "content" | "reasoning_content") => chunks.map((chunk) => chunk.choices[0]!.delta[field] ?? "").join("");
        expect({ content: join("content"), reasoning_content: join("reasoning_content") || null }).toEqual({ content: message(whole)?.content, reasoning_content: message(whole)?.reasoning_content });
        expect(chunks.at(-1)?.usage).toEqual(whole.usage);
        expect(chunks.at(-1)?.choices[0]!.finish_reason).toBe(whole.choices[0]?.finish_reason);
        expect(chunks.flatMap((chunk) => chunk.choices[0]!.logprobs?.content ?? [])).toEqual(whole.choices[0]?.logprobs?.content ?? []);
        const { content, reasoning_content } = whole.choices[0]?.logprobs ?? {};
        const spelled = (tokens: readonly { token: string }[] | null | undefined) => (tokens ?? []).map(({ token }) => token).join("");
        expect([spelled(content), spelled(reasoning_content)]).toEqual([join("content"), join("reasoning_content")]);
      }),
      { numRuns: 40 },
    );
  });

  test("that is cut off says so", async () => {
    const completion = await serve().complete({ max_tokens: 5 });
    expect(completion.choices[0]?.finish_reason).toBe("length");
    expect(completion.usage.completion_tokens).toBe(5);
  });

  test("ends before a stop string of the answer, and not at one of the thinking", async () => {
    const { complete, model } = serve({ say: () => "<think>one two</think><answer>three two four</answer>" });
    const completion = await complete({ stop: "two" });
    expect(message(completion)).toMatchObject({ reasoning_content: "one two", content: "three " });
    expect(completion.choices[0]?.finish_reason).toBe("stop");
    expect(model.running()).toBe(0);
  });

  test("has n choices, each with a seed of its own, and one prompt in the bill", async () => {
    const { complete, model } = serve();
    const one = await complete({ seed: 7 });
    const three = await complete({ seed: 7, n: 3 });
    expect(three.choices.map(({ index }) => index)).toEqual([0, 1, 2]);
    expect(model.requests.map(({ sampling }) => sampling.seed)).toEqual([7, 7, 8, 9]);
    expect(three.usage.prompt_tokens).toBe(one.usage.prompt_tokens);
    expect(three.usage.completion_tokens).toBe(3 * one.usage.completion_tokens);
  });

  test("passes sampling on under the names it came with", async () => {
    const { complete, model } = serve();
    const sampling = { temperature: 0.5, top_p: 0.9, top_k: 5, min_p: 0.1, repetition_penalty: 1.1, presence_penalty: 0.2, frequency_penalty: 0.3, seed: 3 };
    await complete({ ...sampling, max_completion_tokens: 9, logit_bias: { 65: -100 } });
    expect(model.requests[0]?.sampling).toEqual({ ...sampling, logprobs: false, max_tokens: 9, stop_token_ids: [0], logit_bias: new Map([[65, -100]]) });
  });

  test("names the fields it did not know", async () => {
    const response = await serve().post({ user: "me", frobnicate: 1 });
    expect(response.status).toBe(200);
    expect(response.headers.get("x-ignored-fields")).toBe("frobnicate");
  });

  test("reads parts, developer messages and earlier turns, and never shows old thinking to the model", async () => {
    const { post, model } = serve();
    await post({
      messages: [
        { role: "developer", content: "be brief" },
        { role: "user", content: [{ type: "text", text: "a" }, { type: "text", text: "b" }] },
        { role: "assistant", content: "c", reasoning_content: "hidden" },
        { role: "user", content: "d" },
      ],
    });
    expect(model.tokenizer.decode(model.requests[0]?.prompt_ids ?? [])).toBe("system:be brief\nuser:ab\nassistant:c\nuser:d\n");
  });
});

describe("an error", () => {
  const refused = async (response: Response, status: number): Promise<ErrorBody["error"]> => {
    expect(response.status).toBe(status);
    const { error } = (await response.json()) as ErrorBody;
    expect(Object.keys(error).sort()).toEqual(["code", "message", "param", "type"]);
    return error;
  };

  test.each([
    [{ messages: [] }, "messages"],
    [{ messages: [{ role: "user" }] }, "messages.0"],
    [{ messages: [{ role: "tool", content: "x" }] }, "messages.0"],
    [{ messages: [{ role: "user", content: [{ type: "image_url", image_url: { url: "http://10.0.0.1/" } }] }] }, "messages.0"],
    [{ messages: "hi" }, "messages"],
    [{ temperature: 3 }, "temperature"],
    [{ temperature: "hot" }, "temperature"],
    [{ top_p: 0 }, "top_p"],
    [{ n: 1000 }, "n"],
    [{ max_tokens: 0 }, "max_tokens"],
    [{ max_tokens: 1.5 }, "max_tokens"],
    [{ seed: 1e300 }, "seed"],
    [{ stop: [""] }, "stop.0"],
    [{ stop: Array.from({ length: 17 }, () => "x") }, "stop"],
    [{ logit_bias: { a: 1 } }, "logit_bias.a"],
    [{ response_format: { type: "xml" } }, "response_format.type"],
    [{ tools: [{ type: "function", function: { name: "f g" } }] }, "tools.0.function.name"],
    [{ tools: [{ type: "web_search" }] }, "tools.0.type"],
    [{ tool_choice: "required" }, "tool_choice"],
    [{ functions: [{ name: "f" }] }, "functions"],
    [{ messages: [{ role: "user", content: "hi" }, { role: "tool", content: "x", tool_call_id: "call_1" }] }, "messages.1.tool_call_id"],
  ])("names the field of %j", async (body, param) => {
    expect((await refused(await serve().post(body), 400)).param).toBe(param);
  });

  test.each(["", "{", "null", "[]", '"x"', "\u0000", "[".repeat(100_000)])("answers 400 to a body that is no request, case %#", async (body) => {
    await refused(await serve().post(body), 400);
  });

  test("answers 404 to an unknown model and names the known ones", async () => {
    expect((await refused(await serve().post({ model: "gpt-9" }), 404)).message).toContain("fake");
  });

  test("answers 400 to what does not fit, and never cuts it", async () => {
    const { post, model } = serve({ max_model_len: 20 });
    const error = await refused(await post({ messages: [{ role: "user", content: "x".repeat(40) }] }), 400);
    expect(error.message).toContain("maximum context length is 20 tokens");
    await refused(await post({ max_tokens: 15 }), 400);
    await refused(await post({ max_tokens: 15, stream: true }), 400);
    expect(model.requests).toEqual([]);
  });

  test("answers 413 to a body over the limit, announced or not", async () => {
    const app = createApp({ models: [fakeModel()], maxBodyBytes: 1000 });
    const body = JSON.stringify({ model: "fake", messages: [{ role: "user", content: "x".repeat(2000) }] });
    const unannounced = new Blob([body]).stream();
    await refused(await app.request("/v1/chat/completions", { method: "POST", body }), 413);
    await refused(await app.request(new Request("http://localhost/v1/chat/completions", { method: "POST", body: unannounced, duplex: "half" } as RequestInit)), 413);
  });

  test("answers 404 to an unknown route", async () => {
    await refused(await serve().app.request("/v1/nothing"), 404);
  });

  test("of ours before the first byte is 500 and gives nothing away", async () => {
    const { post, model } = serve({ failAfter: 3 });
    const error = await refused(await post({}), 500);
    expect(error.message).not.toContain("secret");
    expect(model.running()).toBe(0);
  });

  test("after the first byte ends the stream as an event, without [DONE]", async () => {
    const reported: unknown[] = [];
    const app = createApp({ models: [fakeModel({ failAfter: 12 })], report: (error) => reported.push(error) });
    const response = await app.request("/v1/chat/completions", { method: "POST", body: JSON.stringify({ model: "fake", messages: [{ role: "user", content: "hi" }], stream: true }) });
    const body = await response.text();
    expect(response.status).toBe(200);
    expect(body).not.toContain("[DONE]");
    expect(JSON.parse(dataOf(body).at(-1) ?? "")).toMatchObject({ error: { type: "server_error", code: "internal_error" } });
    expect(reported).toHaveLength(1);
  });
});

describe("someone else's web page", () => {
  const ask = (headers: Record<string, string>, options = {}) =>
    createApp({ models: [fakeModel()], ...options }).request("/v1/chat/completions", { method: "POST", headers, body: JSON.stringify({ model: "fake", messages: [{ role: "user", content: "hi" }] }) });

  test.each(["evil.example", "evil.example:3141", "127.0.0.1.evil.example", "localhost.evil.example", "", "[", "127.0.0.1@evil.example"])("cannot use a name of its own: %s", async (host) => {
    expect((await ask({ host })).status).toBe(403);
  });

  test.each(["localhost", "127.0.0.1:3141", "[::1]:3141", "LOCALHOST:1"])("does not stand in the way of %s", async (host) => {
    expect((await ask({ host })).status).toBe(200);
  });

  test.each([{ origin: "https://evil.example" }, { origin: "null" }, { origin: "http://localhost:9999" }, { "sec-fetch-site": "cross-site" }, { "sec-fetch-site": "same-site" }])("cannot send %j", async (headers) => {
    expect((await ask({ host: "localhost:3141", ...headers })).status).toBe(403);
  });

  test("gets no CORS header, whatever it asks", async () => {
    const app = createApp({ models: [fakeModel()] });
    for (const method of ["GET", "OPTIONS"]) {
      const response = await app.request("/v1/models", { method, headers: { origin: "https://evil.example", "access-control-request-method": "POST" } });
      expect([...response.headers.keys()].filter((name) => name.startsWith("access-control"))).toEqual([]);
    }
  });

  test("needs the key where there is one; only the health check is open", async () => {
    const app = createApp({ models: [fakeModel()], auth: "secret" });
    const status = async (path: string, authorization?: string) => (await app.request(path, { headers: authorization === undefined ? {} : { authorization } })).status;
    expect(await status("/v1/models")).toBe(401);
    expect(await status("/models")).toBe(401);
    expect(await status("/api/models", "Bearer wrong")).toBe(401);
    expect(await status("/v1/models", "secret")).toBe(401);
    expect(await status("/v1/models", "Bearer secret")).toBe(200);
    expect(await status("/health")).toBe(200);
  });
});

test("models are listed and found by name", async () => {
  const app = createApp({ models: [fakeModel({ id: "a" }), fakeModel({ id: "b/c" })] });
  const list = (await (await app.request("/v1/models")).json()) as { data: { id: string }[] };
  expect(list.data.map(({ id }) => id)).toEqual(["a", "b/c"]);
  expect(await (await app.request("/v1/models/b%2Fc")).json()).toMatchObject({ id: "b/c", object: "model" });
  expect((await app.request("/v1/models/z")).status).toBe(404);
  expect(await (await app.request("/health")).json()).toMatchObject({ status: "ok" });
});

test("a reader that goes away frees its slot", async () => {
  const { post, model } = serve({ delayMs: 5, say: () => "x".repeat(1000) });
  const reader = (await post({ stream: true, n: 2 })).body?.getReader();
  for (let chunk = 0; chunk < 3; chunk++) await reader?.read();
  expect(model.running()).toBe(2);
  await reader?.cancel();
  await vi.waitUntil(() => model.running() === 0);
});

describe("the openai package", () => {
  let listening: Listening | undefined;
  afterEach(async () => {
    await listening?.close(0);
    listening = undefined;
  });

  /** A client without a socket, and one over a real port. */
  const clients: [string, (model: FakeModel) => Promise<OpenAI>][] = [
    ["through an injected fetch", async (model) => {
      const app = createApp({ models: [model] });
      return new OpenAI({ baseURL: "http://localhost/v1", apiKey: "none", maxRetries: 0, fetch: async (url, init) => await app.request(new Request(url as string, init)) });
    }],
    ["over a port", async (model) => {
      listening = await listen(createApp({ models: [model] }), { port: 0 });
      return new OpenAI({ baseURL: `${listening.url}/v1`, apiKey: "none", maxRetries: 0 });
    }],
  ];

  describe.each(clients)("%s", (_, connect) => {
    test("completes, streams and agrees with itself", async () => {
      const client = await connect(fakeModel());
      const request = { model: "fake", messages: [{ role: "user" as const, content: "hi" }], logprobs: true };
      const whole = await client.chat.completions.create(request);
      expect(whole.choices[0]?.message).toMatchObject({ content: "hi", reasoning_content: "They said hi." });
      const helper = client.chat.completions.stream({ ...request, stream_options: { include_usage: true } });
      let thinking = "";
      helper.on("chunk", (chunk) => {
        const [choice] = chunk.choices as { delta: { reasoning_content?: string | null } }[];
        thinking += choice?.delta.reasoning_content ?? "";
      });
      const final = await helper.finalChatCompletion();
      expect(thinking).toBe("They said hi.");
      expect(final.choices[0]?.message.content).toBe("hi");
      expect(final.choices[0]?.finish_reason).toBe(whole.choices[0]?.finish_reason);
      expect(final.usage).toEqual(whole.usage);
    });

    test("lists the models", async () => {
      const client = await connect(fakeModel());
      expect((await client.models.list()).data.map(({ id }) => id)).toEqual(["fake"]);
      expect((await client.models.retrieve("fake")).id).toBe("fake");
    });

    test("throws its own errors, before and inside a stream", async () => {
      const client = await connect(fakeModel({ failAfter: 12 }));
      const request = { model: "fake", messages: [{ role: "user" as const, content: "hi" }] };
      await expect(client.chat.completions.create({ ...request, model: "other" })).rejects.toBeInstanceOf(OpenAI.NotFoundError);
      await expect(client.chat.completions.create({ ...request, temperature: 9 })).rejects.toBeInstanceOf(OpenAI.BadRequestError);
      const stream = await client.chat.completions.create({ ...request, stream: true });
      const drain = async () => {
        for await (const chunk of stream) expect(chunk.object).toBe("chat.completion.chunk");
      };
      await expect(drain()).rejects.toBeInstanceOf(OpenAI.APIError);
    });

    test("ends a generation by leaving its stream, or aborting its request", async () => {
      const model = fakeModel({ delayMs: 5, say: () => "x".repeat(1000) });
      const client = await connect(model);
      const request = { model: "fake", messages: [{ role: "user" as const, content: "hi" }] };
      for await (const chunk of await client.chat.completions.create({ ...request, stream: true })) if (chunk.choices[0]?.delta.content) break;
      await vi.waitUntil(() => model.running() === 0);
      const abort = new AbortController();
      const waiting = client.chat.completions.create(request, { signal: abort.signal });
      await vi.waitUntil(() => model.running() === 1);
      abort.abort();
      await expect(waiting).rejects.toBeInstanceOf(OpenAI.OpenAIError);
      await vi.waitUntil(() => model.running() === 0);
    });
  });

  test("a port in use is a clear error", async () => {
    listening = await listen(createApp({ models: [] }), { port: 0 });
    await expect(listen(createApp({ models: [] }), { port: listening.port })).rejects.toMatchObject({ code: "conflict", message: expect.stringContaining("--port") });
  });
});

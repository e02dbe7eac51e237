import { readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { EngineRequest } from "../src/engine/types.ts";
import { LongjingError } from "../src/errors/index.ts";
import { createApp, type ChatChunk, type ChatCompletion } from "../src/serve/index.ts";
import { fakeModel, type FakeOptions } from "./fake-model.ts";
import { call, clock, hi, serve, weather, type Body } from "./serve-api.ts";

/** What a client makes of the calls in a stream. */
function callsIn(stream: readonly ChatChunk[]): unknown[] {
  const calls: { name: string; arguments: string; id: string }[] = [];
  for (const piece of stream.flatMap((chunk) => chunk.choices[0]!.delta.tool_calls ?? [])) {
    if ("id" in piece) calls[piece.index] = { name: piece.function.name, arguments: "", id: piece.id };
    else calls[piece.index]!.arguments += piece.function.arguments;
  }
  expect(new Set(calls.map(({ id }) => id)).size).toBe(calls.length);
  return calls.map(({ name, arguments: args }) => ({ name, arguments: args }));
}

describe("tools", () => {
  const said = `<think>Two calls.</think>I look.\n${call("weather", { city: "Xi'an", days: 2 })}\n${call("clock", {})}`;

  test("are called by what the model writes, streamed in pieces or whole", async () => {
    const { chat, chunks } = serve({ say: () => said });
    const { choices: [choice] } = await chat({ tools: [weather, clock] });
    expect(choice?.message).toMatchObject({ content: "I look.", reasoning_content: "Two calls." });
    expect(choice?.finish_reason).toBe("tool_calls");
    const made = choice?.message.tool_calls?.map(({ function: f }) => f);
    expect(made?.map(({ name, arguments: args }) => [name, JSON.parse(args)])).toEqual([["weather", { city: "Xi'an", days: 2 }], ["clock", {}]]);
    const stream = await chunks({ tools: [weather, clock] });
    expect(callsIn(stream)).toEqual(made);
    expect(stream.flatMap((chunk) => chunk.choices[0]!.delta.tool_calls ?? []).length).toBeGreaterThan(4);
    expect(stream.at(-1)?.choices[0]!.finish_reason).toBe("tool_calls");
    expect(stream.at(-1)?.usage).not.toBeNull();
  });

  test("are text when none may be called, and then the model hears of none", async () => {
    const { chat, prompt } = serve({ say: () => call("clock", {}) });
    const { choices: [choice] } = await chat({ tools: [clock], tool_choice: "none" });
    expect(choice?.message.tool_calls).toBeUndefined();
    expect(choice?.message.content).toBe(call("clock", {}));
    expect(prompt()).not.toContain("clock");
  });

  test("are called one at a time when that is asked for", async () => {
    const { chat } = serve({ say: () => said });
    expect((await chat({ tools: [weather, clock], parallel_tool_calls: false })).choices[0]?.message.tool_calls).toHaveLength(1);
  });

  test.each([["required", /^(weather|clock)$/], [{ type: "function", function: { name: "clock" } }, /^clock$/], [{ type: "allowed_tools", allowed_tools: { mode: "required", tools: [{ type: "function", function: { name: "clock" } }] } }, /^clock$/]])(
    "have to be called when the choice is %j, whatever the model wanted",
    async (tool_choice, name) => {
      const { choices: [choice] } = await serve({ say: () => "no" }).chat({ tools: [weather, clock], tool_choice });
      expect(choice?.finish_reason).toBe("tool_calls");
      expect(choice?.message.tool_calls?.[0]?.function.name).toMatch(name);
      expect(() => JSON.parse(choice?.message.tool_calls?.[0]?.function.arguments ?? "")).not.toThrow();
    },
  );

  test("and what they gave are shown to a model whose template knows of none", async () => {
    const { chat, prompt } = serve();
    const tool_calls = [{ id: "a", type: "function", function: { name: "clock", arguments: "{}" } }, { id: "b", type: "function", function: { name: "weather", arguments: '{"city":"B"}' } }];
    await chat({ tools: [weather, clock], messages: [...hi, { role: "assistant", content: null, tool_calls }, { role: "tool", tool_call_id: "a", content: "noon" }, { role: "tool", tool_call_id: "b", content: "rain" }] });
    for (const part of ['"name":"weather"', call("clock", {}), "noon", "rain"]) expect(prompt()).toContain(part);
    expect(prompt().match(/^user:/gm)).toHaveLength(2);
  });

  test("or a format: a call, or JSON", async () => {
    const response_format = { type: "json_schema", json_schema: { name: "x", schema: { type: "object", properties: { n: { type: "integer" } }, required: ["n"], additionalProperties: false } } };
    const ask = async (said: string) => (await serve({ say: () => said }).chat({ tools: [clock], response_format })).choices[0]?.message;
    expect((await ask(call("clock", {})))?.tool_calls).toHaveLength(1);
    expect(JSON.parse((await ask("no"))?.content ?? "")).toEqual({ n: expect.any(Number) as number });
  });

  test("hold a call that was begun in a thought", async () => {
    const { chat } = serve({ opening: "<think>\n", say: () => `I call.${call("clock", {})}` });
    const { choices: [choice] } = await chat({ tools: [clock] });
    expect(choice?.message).toMatchObject({ content: "", reasoning_content: `I call.` });
    expect(choice?.message.tool_calls).toHaveLength(1);
  });
});

test("any answer with tools says the same streamed and whole", async () => {
  const parts = fc.constantFrom("<think>", "</think>", "a", " ", "\n", "<tool_call>", "</tool_call>", call("clock", {}), call("weather", { city: "é" }), "{", "stop");
  await fc.assert(
    fc.asyncProperty(fc.array(parts, { maxLength: 8 }).map((all) => all.join("")), fc.boolean(), fc.integer({ min: 1, max: 200 }), async (said, parallel_tool_calls, max_tokens) => {
      const { chat, chunks } = serve({ say: () => said });
      const body = { tools: [weather, clock], parallel_tool_calls, max_tokens, stop: "stop" };
      const { choices: [whole], usage } = await chat(body);
      const stream = await chunks(body);
      const join = (field: "content" | "reasoning_content"): string => stream.map((chunk) => chunk.choices[0]!.delta[field] ?? "").join("");
      expect({ content: join("content"), reasoning_content: join("reasoning_content") || null }).toEqual({ content: whole?.message.content, reasoning_content: whole?.message.reasoning_content });
      expect(callsIn(stream)).toEqual(whole?.message.tool_calls?.map(({ function: f }) => f) ?? []);
      expect(stream.at(-1)?.choices[0]!.finish_reason).toBe(whole?.finish_reason);
      expect(stream.at(-1)?.usage).toEqual(usage);
    }),
    { numRuns: 60 },
  );
});

describe("an answer", () => {
  test("leaves out what cannot be enforced where it is not strict, and says so", async () => {
    const { post } = serve({ say: () => call("f", { a: [1] }) });
    const loose = { type: "object", properties: { a: { type: "array", items: { type: "integer" }, uniqueItems: true } }, required: ["a"], minProperties: 2 };
    const asked = (strict: boolean): Body[] => [
      { tools: [{ type: "function", function: { name: "f", parameters: loose, strict } }], tool_choice: "required" },
      { response_format: { type: "json_schema", json_schema: { name: "x", schema: loose, strict } } },
    ];
    for (const [i, body] of asked(false).entries()) {
      const response = await post("/v1/chat/completions", { messages: hi, max_tokens: 60, ...body });
      const holder = ["tools", "response_format"][i];
      expect([response.status, response.headers.get("x-ignored-fields")]).toEqual([200, `${holder}.uniqueItems, ${holder}.minProperties`]);
    }
    for (const body of asked(true)) expect((await post("/v1/chat/completions", { messages: hi, ...body })).status).toBe(400);
  });

  const schema = { type: "object", properties: { n: { type: "integer" }, name: { type: "string" } }, required: ["n", "name"], additionalProperties: false };

  test.each([
    [{ response_format: { type: "json_object" } }, (text: string) => typeof JSON.parse(text) === "object"],
    [{ response_format: { type: "json_schema", json_schema: { name: "x", schema, strict: true } } }, (text: string) => Number.isInteger((JSON.parse(text) as { n: number }).n)],
    [{ guided_json: schema }, (text: string) => "name" in (JSON.parse(text) as object)],
    [{ response_format: { type: "regex", regex: "[0-9]{3}-x" } }, (text: string) => /^[0-9]{3}-x$/.test(text)],
    [{ structured_outputs: { regex: "b+a" } }, (text: string) => /^b+a$/.test(text)],
    [{ response_format: { type: "choice", choice: ["yes", "no"] } }, (text: string) => ["yes", "no"].includes(text)],
    [{ guided_choice: ["red", "blue"] }, (text: string) => ["red", "blue"].includes(text)],
    [{ response_format: { type: "grammar", grammar: 'root ::= "x" digit "y"\ndigit ::= [0-9]' } }, (text: string) => /^x[0-9]y$/.test(text)],
  ] as const)("keeps to %j behind the thinking", async (format, holds) => {
    const { chat, chunks } = serve({ chatTemplate: "</think>", say: () => "<think>Hm.</think>No such thing." });
    const { choices: [choice] } = await chat(format);
    expect(choice?.finish_reason).toBe("stop");
    expect(choice?.message.reasoning_content).toBe("Hm.");
    expect(holds(choice?.message.content ?? "")).toBe(true);
    expect((await chunks(format)).map((chunk) => chunk.choices[0]!.delta.content ?? "").join("")).toBe(choice?.message.content);
  });

  test.each([
    [{ response_format: { type: "json_schema", json_schema: { name: "x", schema: { type: "nonsense" } } } }],
    [{ response_format: { type: "regex", regex: "(" } }],
    [{ response_format: { type: "grammar", grammar: "root ::= nothing" } }],
    [{ guided_choice: [] }],
    [{ guided_choice: ["a"], guided_regex: "b" }],
  ])("that cannot be had is refused: %j", async (format) => {
    const { post } = serve();
    expect((await post("/v1/chat/completions", { messages: hi, ...format })).status).toBe(400);
  });

  test("goes on with a prefix, and with a thought", async () => {
    const { chat, prompt } = serve({ chatTemplate: "<think></think>", say: () => " more" });
    const { choices: [choice] } = await chat({ messages: [...hi, { role: "assistant", content: "```python", prefix: true }] });
    expect(choice?.message.content).toBe(" more");
    expect(prompt()).toBe("user:hi\n```python");
    await chat({ messages: [...hi, { role: "assistant", content: "So", reasoning_content: "Hm", prefix: true }] });
    expect(prompt()).toBe("user:hi\n<think>Hm\n</think>\n\nSo");
    const thought = await chat({ messages: [...hi, { role: "assistant", content: "", reasoning_content: "Hm", prefix: true }] });
    expect(prompt()).toBe("user:hi\n<think>Hm");
    expect(thought.choices[0]?.message.reasoning_content).toBe(" more");
  });

  test("of a prompt that opens the thinking is all thinking until that is closed", async () => {
    const open = { opening: "<think>\n", say: () => "Hm.</think>\n\nSo." };
    expect((await serve(open).chat()).choices[0]?.message).toMatchObject({ reasoning_content: "Hm.", content: "So." });
    const { choices: [cut] } = await serve(open).chat({ max_tokens: 3 });
    expect(cut).toMatchObject({ finish_reason: "length", message: { reasoning_content: "Hm.", content: "" } });
  });

  test("thinks no more tokens than it may", async () => {
    const { chat } = serve({ chatTemplate: "</think>", say: () => `<think>${"x".repeat(300)}` });
    for (const [body, budget] of [[{ thinking: { type: "enabled", budget_tokens: 20 } }, 20], [{ thinking_token_budget: 5 }, 5]] as const) {
      const { choices: [choice] } = await chat({ ...body, max_tokens: 400 });
      expect(choice?.message.reasoning_content).toBe("x".repeat(budget));
    }
  });

  test.each([
    [{ thinking: { type: "disabled" } }, true],
    [{ reasoning_effort: "none" }, true],
    [{ chat_template_kwargs: { enable_thinking: false } }, true],
    [{ model: "deepseek-chat" }, true],
    [{ model: "deepseek-chat", thinking: { type: "enabled" } }, false],
    [{ model: "deepseek-reasoner" }, false],
    [{}, false],
  ])("comes at once when %j: %s", async (body, silent) => {
    const { chat, prompt } = serve({ opening: "<think>\n", chatTemplate: "</think>" });
    await chat(body);
    expect(prompt().trimEnd().endsWith("</think>")).toBe(silent);
  });

  test("counts what came from the cache", async () => {
    const { usage } = await serve({ cached: 3 }).chat({ n: 2 });
    expect(usage.prompt_tokens_details.cached_tokens).toBe(3);
    expect(usage.prompt_cache_hit_tokens + usage.prompt_cache_miss_tokens).toBe(usage.prompt_tokens);
  });
});

describe("whose request it is and whose cache it may use", () => {
  const ask = async (path: string, body: Body): Promise<EngineRequest> => {
    const { json, model } = serve();
    await json(path, body);
    return model.requests[0]!;
  };

  test("reach the engine, and no two of user and salt share a cache", async () => {
    const named: Body[] = [{}, { user_id: "alice" }, { user_id: "bob" }, { cache_salt: "alice" }, { user_id: "v", cache_salt: "x" }, { cache_salt: "v/x" }, { cache_salt: '["v","x"]' }];
    const requests = await Promise.all(named.map((body) => ask("/v1/chat/completions", { messages: hi, ...body })));
    expect(new Set(requests.map(({ cache_salt }) => cache_salt)).size).toBe(named.length);
    expect(requests[1]!.user).toMatch(/alice$/);
  });

  test("are told in the way of each format", async () => {
    const { cache_salt } = await ask("/v1/chat/completions", { messages: hi, user_id: "alice" });
    for (const [path, body] of [
      ["/v1/chat/completions", { messages: hi, user: "alice" }],
      ["/v1/completions", { prompt: "user:x\n", user_id: "alice" }],
      ["/v1/responses", { input: "hi", user: "alice" }],
      ["/v1/messages", { messages: hi, max_tokens: 9, metadata: { user_id: "alice" } }],
    ] as const) expect(await ask(path, body), path).toMatchObject({ user: expect.stringMatching(/alice$/) as string, cache_salt });
  });
});

interface TextLogprobs {
  readonly tokens: readonly string[];
  readonly token_logprobs: readonly (number | null)[];
  readonly top_logprobs: readonly (Readonly<Record<string, number>> | null)[];
  readonly text_offset: readonly number[];
}

interface Choice {
  readonly index: number;
  readonly text: string;
  readonly logprobs: TextLogprobs | null;
}

describe("text completions", () => {
  const complete = (options: FakeOptions = {}) => {
    const served = serve({ say: () => "abc", ...options });
    return { ...served, whole: (body: Body) => served.json<{ choices: { text: string; index: number; finish_reason: string; logprobs: TextLogprobs | null }[]; usage: Body }>("/v1/completions", body) };
  };

  test("go on with texts and with tokens, n times each", async () => {
    const { whole, model } = complete();
    const { choices, usage } = await whole({ prompt: ["user:x\n", "user:y\n"], n: 2 });
    expect(choices.map(({ index, text }) => [index, text])).toEqual([[0, "abc"], [1, "abc"], [2, "abc"], [3, "abc"]]);
    expect(usage.prompt_tokens).toBe(14);
    await whole({ prompt: [104, 105] });
    expect(model.requests.at(-1)?.prompt_ids).toEqual([104, 105]);
  });

  test("say the same streamed and whole", async () => {
    await fc.assert(
      fc.asyncProperty(fc.string({ unit: fc.constantFrom("a", "b", "é"), maxLength: 12 }), fc.integer({ min: 1, max: 14 }), fc.boolean(), fc.integer({ min: 1, max: 2 }), fc.constantFrom(undefined, 0, 1), async (said, max_tokens, echo, n, logprobs) => {
        const { whole, events } = complete({ say: () => said });
        const body = { prompt: ["user:x\n", "user:yy\n"], max_tokens, echo, n, stop: ["ab"], ...(logprobs !== undefined && { logprobs }) };
        const { choices, usage } = await whole(body);
        const stream = (await events("/v1/completions", body)).map(({ data }) => data as unknown as { choices: [Choice & { finish_reason: string | null }]; usage: Body | null });
        for (const { index, text, finish_reason, logprobs: whole } of choices) {
          const own = stream.flatMap((chunk) => chunk.choices).filter((choice) => choice.index === index);
          expect({ text: own.map((choice) => choice.text).join(""), finish_reason: own.at(-1)?.finish_reason }).toEqual({ text, finish_reason });
          const lists = own.flatMap((choice) => choice.logprobs ?? []);
          const joined = { tokens: lists.flatMap((list) => list.tokens), token_logprobs: lists.flatMap((list) => list.token_logprobs), top_logprobs: lists.flatMap((list) => list.top_logprobs), text_offset: lists.flatMap((list) => list.text_offset) };
          if (whole !== null) expect(joined).toEqual(whole);
        }
        expect(stream.at(-1)?.usage).toEqual(usage);
      }),
      { numRuns: 30 },
    );
  });

  test("echo a prompt with how likely each of its tokens was, and need add nothing to it", async () => {
    const { whole } = complete();
    const { choices: [choice], usage } = await whole({ prompt: "user:x\n", echo: true, logprobs: 1, max_tokens: 2 });
    const { tokens, token_logprobs, top_logprobs, text_offset } = choice!.logprobs!;
    expect([choice!.text, tokens.join("")]).toEqual(["user:x\nab", "user:x\nab"]);
    expect(text_offset).toEqual(tokens.map((_, at) => at));
    expect([token_logprobs.slice(0, 3), top_logprobs.slice(0, 2)]).toEqual([[null, -1, -2], [null, { s: -1, a: -0.5 }]]);
    expect(usage).toMatchObject({ prompt_tokens: 7, completion_tokens: 2 });
    const { choices: [only], usage: read } = await whole({ prompt: [117, 115], echo: true, logprobs: 0, max_tokens: 0 });
    expect(only).toMatchObject({ text: "us", finish_reason: "length", logprobs: { tokens: ["u", "s"], token_logprobs: [null, -1] } });
    expect(read).toMatchObject({ prompt_tokens: 2, completion_tokens: 0 });
  });

  test("of which one is refused are all given up", async () => {
    const { post, model } = complete();
    const { submit } = model.engine;
    const signals: (AbortSignal | undefined)[] = [];
    Object.assign(model.engine, {
      submit(request: EngineRequest) {
        signals.push(request.signal);
        if (request.prompt_ids.includes(1)) throw new LongjingError("bad_argument", "no such token", { where: "prompt" });
        return submit(request);
      },
    });
    expect((await post("/v1/completions", { prompt: [[65], [1]] })).status).toBe(400);
    expect(signals.map((signal) => signal?.aborted)).toEqual([true, true]);
  });

  test("without tokens are for prompts that are echoed with log-probabilities", async () => {
    const { app } = complete();
    for (const more of [{}, { echo: true }, { logprobs: 1 }]) {
      const response = await app.request("/v1/completions", { method: "POST", body: JSON.stringify({ model: "fake", prompt: "a", max_tokens: 0, ...more }) });
      expect([response.status, ((await response.json()) as { error: { param: string } }).error.param]).toEqual([400, "max_tokens"]);
    }
  });

  test("keep to a format, and to nothing around it", async () => {
    const added = new Map(["<think>", "</think>", "<answer>", "</answer>"].map((tag, at) => [tag, 550 + at]));
    const { whole } = complete({ added, say: () => "<answer>" });
    expect((await whole({ prompt: "x", guided_choice: ["red", "blue"], max_tokens: 20 })).choices[0]?.text).toMatch(/^(red|blue)$/);
  });

  test("fill in a middle where the vocabulary has the tokens for it", async () => {
    const marks = ["<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"];
    const { whole, model } = complete({ added: new Map(marks.map((mark, at) => [mark, 500 + at])) });
    await whole({ prompt: "a", suffix: "b" });
    expect(model.requests[0]?.prompt_ids).toEqual([500, 97, 501, 98, 502]);
    const refused = await complete().post("/beta/completions", { prompt: "a", suffix: "b" });
    expect(refused.status).toBe(400);
    expect(await refused.json()).toMatchObject({ error: { param: "suffix" } });
  });
});

test("every route answers under the base URLs that clients use", async () => {
  const { post, app } = serve();
  for (const base of ["", "/v1", "/beta"]) {
    expect((await post(`${base}/chat/completions`, { messages: hi })).status).toBe(200);
    expect((await post(`${base}/completions`, { prompt: "x" })).status).toBe(200);
    expect((await app.request(`${base}/models`)).status).toBe(200);
  }
  expect((await post("/anthropic/v1/messages", { messages: hi, max_tokens: 1 })).status).toBe(200);
  expect(await (await app.request("/version")).json()).toEqual({ version: expect.stringMatching(/^\d+\.\d+\.\d+/) as string });
});

test("a request id comes back, and one is given where there is none", async () => {
  const { app } = serve();
  const idOf = async (headers: Record<string, string>) => (await app.request("/v1/models", { headers })).headers.get("x-request-id");
  expect(await idOf({ "x-request-id": "mine-1" })).toBe("mine-1");
  expect(await idOf({})).toMatch(/^req_/);
});

test("signs of life come before an answer that takes long, streamed or not", async () => {
  const app = createApp({ models: [fakeModel({ delayMs: 15, say: () => "ab" })], keepAliveMs: 4 });
  const ask = async (stream: boolean) => await (await app.request("/v1/chat/completions", { method: "POST", body: JSON.stringify({ model: "fake", messages: hi, stream }) })).text();
  expect(await ask(true)).toContain(": keep-alive\n\n");
  const whole = await ask(false);
  expect(whole).toMatch(/^\n/);
  expect((JSON.parse(whole) as ChatCompletion).choices[0]?.message.content).toBe("ab");
});

test("the routes that docs/http-api.md names are there", () => {
  const table = readFileSync(join(import.meta.dirname, "..", "docs", "http-api.md"), "utf8").split("\n").filter((line) => /^\| `(GET|POST) /.test(line));
  const documented = table.flatMap((line) => {
    const [cell = ""] = line.slice(2).split(" | ");
    const method = /(GET|POST)/.exec(cell)?.[1] ?? "";
    return [...cell.matchAll(/`(?:(?:GET|POST) )?(\/[^`]*)`/g)].map(([, path = ""]) => `${method} ${path.replace("{id}", ":id{.+}")}`);
  });
  const { routes } = createApp({ models: [fakeModel()] });
  const known = new Set(routes.map(({ method, path }) => `${method} ${path}`));
  expect(documented.length).toBeGreaterThan(12);
  expect(documented.filter((route) => !known.has(route) && !/\/api\/(runs|recipes)/.test(route) && !route.startsWith("POST /resume"))).toEqual([]);
});

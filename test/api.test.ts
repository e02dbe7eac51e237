import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { createApp, type ChatChunk, type ChatCompletion } from "../src/serve/index.ts";
import { hermes, renderToolCall } from "../src/text/index.ts";
import { fakeModel, type FakeOptions } from "./fake-model.ts";

type Body = Readonly<Record<string, unknown>>;

function serve(options: FakeOptions = {}) {
  const model = fakeModel(options);
  const app = createApp({ models: [model] });
  const post = async (path: string, body: Body | string) =>
    await app.request(path, { method: "POST", body: typeof body === "string" ? body : JSON.stringify({ model: model.id, ...body }) });
  const json = async <T = Body>(path: string, body: Body): Promise<T> => {
    const response = await post(path, body);
    const text = await response.text();
    expect({ status: response.status, text }).toMatchObject({ status: 200 });
    return JSON.parse(text) as T;
  };
  /** The events of a stream: their names, where they have one, and their data. */
  const events = async (path: string, body: Body): Promise<{ name: string | undefined; data: Record<string, unknown> }[]> =>
    (await (await post(path, { ...body, stream: true })).text())
      .split("\n\n")
      .filter((event) => event !== "" && !event.startsWith(":") && !event.includes("[DONE]"))
      .map((event) => ({ name: /^event: (.*)$/m.exec(event)?.[1], data: JSON.parse(/^data: (.*)$/m.exec(event)?.[1] ?? "") as Record<string, unknown> }));
  const chat = (body: Body = {}): Promise<ChatCompletion> => json("/v1/chat/completions", { messages: hi, ...body });
  const chunks = async (body: Body = {}): Promise<ChatChunk[]> => (await events("/v1/chat/completions", { messages: hi, ...body })).map(({ data }) => data as unknown as ChatChunk);
  const prompt = (at = -1): string => model.tokenizer.decode(model.requests.at(at)?.prompt_ids ?? []);
  return { app, model, post, json, events, chat, chunks, prompt };
}

const hi = [{ role: "user", content: "hi" }];
const weather = { type: "function", function: { name: "weather", description: "of a city", parameters: { type: "object", properties: { city: { type: "string" }, days: { type: "integer" } }, required: ["city"], additionalProperties: false } } };
const clock = { type: "function", function: { name: "clock" } };
const call = (name: string, args: unknown): string => renderToolCall(hermes, name, JSON.stringify(args));

/** What a client makes of the calls in a stream. */
function callsIn(stream: readonly ChatChunk[]): unknown[] {
  const calls: { name: string; arguments: string; id: string }[] = [];
  for (const piece of stream.flatMap((chunk) => chunk.choices[0].delta.tool_calls ?? [])) {
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
    expect(stream.flatMap((chunk) => chunk.choices[0].delta.tool_calls ?? []).length).toBeGreaterThan(4);
    expect(stream.at(-1)?.choices[0].finish_reason).toBe("tool_calls");
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
      const join = (field: "content" | "reasoning_content"): string => stream.map((chunk) => chunk.choices[0].delta[field] ?? "").join("");
      expect({ content: join("content"), reasoning_content: join("reasoning_content") || null }).toEqual({ content: whole?.message.content, reasoning_content: whole?.message.reasoning_content });
      expect(callsIn(stream)).toEqual(whole?.message.tool_calls?.map(({ function: f }) => f) ?? []);
      expect(stream.at(-1)?.choices[0].finish_reason).toBe(whole?.finish_reason);
      expect(stream.at(-1)?.usage).toEqual(usage);
    }),
    { numRuns: 60 },
  );
});

describe("an answer", () => {
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
    expect((await chunks(format)).map((chunk) => chunk.choices[0].delta.content ?? "").join("")).toBe(choice?.message.content);
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

test("whose request it is and whose cache it may use reach the engine", async () => {
  const { chat, model } = serve();
  await chat({ user_id: "u_1", cache_salt: "s" });
  expect(model.requests[0]).toMatchObject({ user: expect.stringMatching(/u_1$/) as string, cache_salt: expect.stringMatching(/u_1\/s$/) as string });
});

describe("text completions", () => {
  const complete = (options: FakeOptions = {}) => {
    const served = serve({ say: () => "abc", ...options });
    return { ...served, whole: (body: Body) => served.json<{ choices: { text: string; index: number; finish_reason: string; logprobs: unknown }[]; usage: Body }>("/v1/completions", body) };
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
      fc.asyncProperty(fc.string({ unit: fc.constantFrom("a", "b", "é"), maxLength: 12 }), fc.integer({ min: 1, max: 14 }), fc.boolean(), fc.integer({ min: 1, max: 2 }), async (said, max_tokens, echo, n) => {
        const { whole, events } = complete({ say: () => said });
        const body = { prompt: ["user:x\n", "user:yy\n"], max_tokens, echo, n, stop: ["ab"] };
        const { choices, usage } = await whole(body);
        const stream = (await events("/v1/completions", body)).map(({ data }) => data as unknown as { choices: [{ index: number; text: string; finish_reason: string | null }]; usage: Body | null });
        for (const { index, text, finish_reason } of choices) {
          const own = stream.flatMap((chunk) => chunk.choices).filter((choice) => choice.index === index);
          expect({ text: own.map((choice) => choice.text).join(""), finish_reason: own.at(-1)?.finish_reason }).toEqual({ text, finish_reason });
        }
        expect(stream.at(-1)?.usage).toEqual(usage);
      }),
      { numRuns: 30 },
    );
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

describe("responses", () => {
  const said = `<think>Hm.</think>So.\n${call("clock", {})}`;
  const tools = [{ type: "function", name: "clock", parameters: { type: "object", properties: {} } }];

  test("have the thought, the text and the calls as items, and the stream ends with the same response", async () => {
    const { json, events } = serve({ say: () => said });
    const whole = await json<{ output: { id: string; call_id?: string }[]; [field: string]: unknown }>("/v1/responses", { input: "hi", tools });
    expect(whole.output).toMatchObject([
      { type: "reasoning", content: [{ type: "reasoning_text", text: "Hm." }] },
      { type: "message", role: "assistant", content: [{ type: "output_text", text: "So." }] },
      { type: "function_call", name: "clock", arguments: "{}" },
    ]);
    expect(whole).toMatchObject({ object: "response", status: "completed", store: false });
    const stream = await events("/v1/responses", { input: "hi", tools });
    expect(stream.map(({ data }) => data.sequence_number)).toEqual(stream.map((_, at) => at));
    expect(stream.map(({ name, data }) => name === data.type)).not.toContain(false);
    expect(stream.map(({ name }) => name).slice(0, 4)).toEqual(["response.created", "response.in_progress", "response.output_item.added", "response.content_part.added"]);
    const last = stream.at(-1)?.data as { type: string; response: typeof whole };
    expect(last.type).toBe("response.completed");
    const plain = (response: typeof whole) => ({ ...response, id: 0, created_at: 0, completed_at: 0, output: response.output.map((item) => ({ ...item, id: 0, call_id: 0 })) });
    expect(plain(last.response)).toEqual(plain(whole));
    for (const [delta, done, field] of [["output_text.delta", "output_text.done", "text"], ["function_call_arguments.delta", "function_call_arguments.done", "arguments"]] as const) {
      const text = stream.filter(({ name }) => name === `response.${delta}`).map(({ data }) => data.delta).join("");
      expect(stream.find(({ name }) => name === `response.${done}`)?.data[field]).toBe(text);
    }
  });

  test("that are cut off are incomplete", async () => {
    const { json, events } = serve({ say: () => "abcdef" });
    const whole = await json("/v1/responses", { input: "hi", max_output_tokens: 3 });
    expect(whole).toMatchObject({ status: "incomplete", incomplete_details: { reason: "max_output_tokens" } });
    expect((await events("/v1/responses", { input: "hi", max_output_tokens: 3 })).at(-1)?.name).toBe("response.incomplete");
  });

  test("read a conversation with thoughts, calls and their results", async () => {
    const { json, prompt } = serve();
    const input = [
      { role: "user", content: [{ type: "input_text", text: "time?" }] },
      { type: "reasoning", summary: [], content: [{ type: "reasoning_text", text: "I look." }] },
      { type: "function_call", call_id: "c", name: "clock", arguments: "{}" },
      { type: "function_call_output", call_id: "c", output: "noon" },
    ];
    await json("/v1/responses", { instructions: "be brief", input });
    expect(prompt()).toBe(`system:be brief\nuser:time?\nassistant:${call("clock", {})}\nuser:<tool_response>\nnoon\n</tool_response>\n`);
  });

  test.each([{ previous_response_id: "resp_1" }, { store: true }, { background: true }, { conversation: "c" }, { tools: [{ type: "web_search" }] }])("without state refuse %j", async (body) => {
    const response = await serve().post("/v1/responses", { input: "hi", ...body });
    expect(response.status).toBe(400);
    expect(await response.json()).toMatchObject({ error: { param: expect.stringContaining(Object.keys(body)[0] ?? "") as string } });
  });
});

describe("messages", () => {
  const said = `<think>Hm.</think>So.\n${call("clock", { zone: 1 })}`;
  const tools = [{ name: "clock", input_schema: { type: "object", properties: { zone: { type: "integer" } } } }];
  const ask = { max_tokens: 200, messages: hi, tools };

  test("have the thought, the text and the calls as blocks, streamed or whole", async () => {
    const { json, events } = serve({ say: () => said, cached: 2 });
    const whole = await json<{ content: Body[]; stop_reason: string; usage: Record<string, number> }>("/v1/messages", ask);
    expect(whole).toMatchObject({ type: "message", role: "assistant", stop_reason: "tool_use", content: [{ type: "thinking", thinking: "Hm." }, { type: "text", text: "So." }, { type: "tool_use", name: "clock", input: { zone: 1 } }] });
    expect(whole.usage.cache_read_input_tokens).toBe(2);
    const stream = await events("/v1/messages", ask);
    expect(stream.map(({ name, data }) => name === data.type)).not.toContain(false);
    expect([stream[0]?.name, stream.at(-1)?.name]).toEqual(["message_start", "message_stop"]);
    const grown = [0, 1, 2].map((index) =>
      stream.filter(({ name, data }) => name === "content_block_delta" && data.index === index).map(({ data }) => Object.values(data.delta as object)[1] as string).join(""),
    );
    expect(grown).toEqual(["Hm.", "So.", JSON.stringify({ zone: 1 })]);
    expect(stream.find(({ name }) => name === "message_delta")?.data).toMatchObject({ delta: { stop_reason: "tool_use" }, usage: whole.usage });
  });

  test("say why they stopped", async () => {
    const { json } = serve({ say: () => "abcdef" });
    expect(await json("/v1/messages", { ...ask, stop_sequences: ["d"] })).toMatchObject({ stop_reason: "stop_sequence", stop_sequence: "d", content: [{ text: "abc" }] });
    expect(await json("/v1/messages", { ...ask, max_tokens: 2 })).toMatchObject({ stop_reason: "max_tokens" });
    expect(await json("/v1/messages", ask)).toMatchObject({ stop_reason: "end_turn", stop_sequence: null });
  });

  test("read system, blocks and results, and go on with what the assistant has begun", async () => {
    const { json, prompt } = serve({ say: () => "x" });
    await json("/v1/messages", {
      max_tokens: 9,
      system: [{ type: "text", text: "be brief" }],
      messages: [
        { role: "user", content: "time?" },
        { role: "assistant", content: [{ type: "thinking", thinking: "t", signature: "" }, { type: "tool_use", id: "c", name: "clock", input: {} }] },
        { role: "user", content: [{ type: "tool_result", tool_use_id: "c", content: [{ type: "text", text: "noon" }] }, { type: "text", text: "and?" }] },
        { role: "assistant", content: "It is" },
      ],
    });
    expect(prompt()).toBe(`system:be brief\nuser:time?\nassistant:${call("clock", {})}\nuser:<tool_response>\nnoon\n</tool_response>\nuser:and?\nIt is`);
  });

  test("are counted as they would be read, and refused in Anthropic's form", async () => {
    const { json, post, model } = serve();
    const { input_tokens } = await json("/v1/messages/count_tokens", { messages: hi });
    await json("/v1/messages", { messages: hi, max_tokens: 1 });
    expect(model.requests[0]?.prompt_ids.length).toBe(input_tokens);
    const refused = await post("/v1/messages", { messages: hi });
    expect(refused.status).toBe(400);
    expect(await refused.json()).toMatchObject({ type: "error", error: { type: "invalid_request_error", message: expect.stringContaining("max_tokens") as string } });
    expect((await post("/v1/messages", { messages: hi, max_tokens: 1, model: "other" })).status).toBe(404);
  });
});

describe("texts and tokens", () => {
  test("there and back, as vLLM and as llama-server ask", async () => {
    const { json } = serve();
    for (const field of ["prompt", "content"]) {
      const { tokens, count } = await json<{ tokens: number[]; count: number }>("/tokenize", { [field]: "abc" });
      expect(count).toBe(tokens.length);
      expect(await json("/detokenize", { tokens })).toMatchObject({ prompt: "abc", content: "abc" });
    }
  });

  test("of a conversation are what the model would read", async () => {
    const { json, chat, model, prompt } = serve();
    const { tokens } = await json("/tokenize", { messages: hi, tools: [clock] });
    const applied = await json("/apply-template", { messages: hi, tools: [clock] });
    await chat({ tools: [clock] });
    expect(tokens).toEqual(model.requests[0]?.prompt_ids);
    expect(applied.prompt).toBe(prompt());
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

describe("whatever is sent", () => {
  const leaf = fc.oneof(fc.jsonValue({ maxDepth: 2 }), fc.constantFrom<unknown>("fake", "user", "assistant", "tool", "text", "hi", "json_object", "function", "auto", "required", 0, -1, 1, 1e9, 1e308, true, null, [], {}, "\u0000", "<think>"));
  const message = fc.record({ role: fc.constantFrom<unknown>("user", "assistant", "system", "tool", 3), content: leaf, tool_calls: leaf, tool_call_id: leaf, prefix: leaf, reasoning_content: leaf }, { requiredKeys: ["role"] });
  const tool = fc.record({ type: fc.constantFrom<unknown>("function", "x"), function: fc.record({ name: fc.constantFrom<unknown>("f", "", 1), parameters: leaf, strict: leaf }, { requiredKeys: ["name"] }), name: leaf, input_schema: leaf }, { requiredKeys: ["type"] });
  const format = fc.oneof(leaf, fc.record({ type: fc.constantFrom("json_schema", "regex", "choice", "grammar", "json_object"), json_schema: fc.record({ schema: leaf }), regex: leaf, choice: leaf, grammar: leaf }));
  const fields = ["prompt", "input", "max_tokens", "temperature", "top_p", "n", "stop", "stop_sequences", "seed", "logprobs", "top_logprobs", "logit_bias", "thinking", "reasoning_effort", "tool_choice", "suffix", "echo", "tokens", "content", "system", "instructions", "text", "reasoning", "metadata", "output_config", "chat_template_kwargs", "user_id", "dimensions", "encoding_format", "stream", "stream_options", "top_k", "__proto__", "constructor"];
  const body = fc.record(
    { model: fc.constantFrom<unknown>("fake", "fake", "fake", "deepseek-chat", "x", 1), messages: fc.oneof(leaf, fc.array(message, { maxLength: 3 })), tools: fc.oneof(leaf, fc.array(tool, { maxLength: 2 })), response_format: format, ...Object.fromEntries(fields.map((field) => [field, leaf])) },
    { requiredKeys: ["model"] },
  );
  const paths = ["/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses", "/v1/messages", "/v1/messages/count_tokens", "/tokenize", "/detokenize", "/apply-template"];

  test.each(paths)("%s answers, or says what is wrong with it", async (path) => {
    const reported: unknown[] = [];
    const app = createApp({ models: [fakeModel({ max_model_len: 400 })], report: (error) => reported.push(error) });
    await fc.assert(
      fc.asyncProperty(fc.oneof(body, fc.jsonValue()), async (sent) => {
        const response = await app.request(path, { method: "POST", body: JSON.stringify(sent) });
        const text = await response.text();
        expect(reported).toEqual([]);
        expect({ status: response.status < 500, text }).toMatchObject({ status: true });
        if (response.status >= 400) expect(JSON.parse(text)).toMatchObject({ error: { type: expect.any(String) as string, message: expect.any(String) as string } });
      }),
      { numRuns: 150 },
    );
  });
});

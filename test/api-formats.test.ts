import { describe, expect, test } from "vitest";
import { call, clock, hi, serve, type Body } from "./serve-api.ts";

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

  test("have the log-probabilities that were asked for, streamed or whole", async () => {
    const { json, events } = serve({ say: () => "<think>Hm.</think>So" });
    const body = { input: "hi", include: ["message.output_text.logprobs"], top_logprobs: 1 };
    const { output } = await json<{ output: { content: { text: string; logprobs?: { token: string; bytes: number[]; top_logprobs: Body[] }[] }[] }[] }>("/v1/responses", body);
    const [thought, message] = output.map(({ content: [part] }) => part!);
    expect(thought?.logprobs).toBeUndefined();
    expect(message!.logprobs).toMatchObject([..."So"].map((token) => ({ token, bytes: [token.codePointAt(0)], logprob: expect.any(Number) as number, top_logprobs: [{ token, bytes: [token.codePointAt(0)] }] })));
    const stream = await events("/v1/responses", body);
    const told = (name: string) => stream.flatMap((event) => (event.name === `response.output_text.${name}` ? (event.data.logprobs as object[]) : []));
    expect([told("delta"), told("done")]).toEqual([message!.logprobs, message!.logprobs]);
    expect((stream.at(-1)!.data.response as { output: object[] }).output[1]).toMatchObject({ content: [message] });
    const { output: [plain] } = await json<{ output: [{ content: Body[] }] }>("/v1/responses", { input: "hi" });
    expect(plain.content[0]?.logprobs ?? []).toEqual([]);
  });

  test("say how they were sampled: as asked, else as the model has it, else by the defaults", async () => {
    const { json, model } = serve();
    expect(await json("/v1/responses", { input: "hi" })).toMatchObject({ temperature: 1, top_p: 1 });
    Object.assign(model, { sampling: { temperature: 0.6, top_p: 0.95 } });
    expect(await json("/v1/responses", { input: "hi", top_p: 0.5 })).toMatchObject({ temperature: 0.6, top_p: 0.5 });
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

  test.each([{ previous_response_id: "resp_1" }, { store: true }, { background: true }, { conversation: "c" }, { truncation: "auto" }, { tools: [{ type: "web_search" }] }])("without state refuse %j", async (body) => {
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
    const signed = stream.findIndex(({ data }) => (data.delta as Body | undefined)?.type === "signature_delta");
    expect(stream.slice(signed, signed + 2).map(({ name, data }) => [name, data.index])).toEqual([["content_block_delta", 0], ["content_block_stop", 0]]);
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

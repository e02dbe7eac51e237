// Asks a server (LONGJING_URL) through the clients that people use. Run by run.sh, on a Node that all of them take.
import assert from "node:assert/strict";
import test from "node:test";
import { createDeepSeek } from "@ai-sdk/deepseek";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import Anthropic from "@anthropic-ai/sdk";
import { HumanMessage, ToolMessage } from "@langchain/core/messages";
import { tool as langchainTool } from "@langchain/core/tools";
import { ChatDeepSeek } from "@langchain/deepseek";
import { ChatOpenAI, OpenAIEmbeddings } from "@langchain/openai";
import { embed, embedMany, generateObject, generateText, isStepCount, streamText, tool } from "ai";
import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";

const base = process.env.LONGJING_URL;
const baseURL = `${base}/v1`;
const apiKey = "none";
const model = "fake";
const messages = [{ role: "user", content: "hello" }];
const point = z.object({ x: z.number().int(), label: z.string() });
const zone = z.object({ zone: z.string() });

/** How many sequences the server runs. */
async function running() {
  const text = await (await fetch(`${base}/metrics`)).text();
  return Number(/^longjing:num_requests_running\{[^}]*model_name="slow"[^}]*\} (\d+)/m.exec(text)?.[1] ?? NaN);
}

async function until(condition) {
  for (let left = 200; left > 0; left--) {
    if (await condition()) return;
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
  assert.fail("it did not come to be");
}

async function collect(items) {
  const out = [];
  for await (const item of items) out.push(item);
  return out;
}

const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });

test("openai chats", async (t) => {
  await t.test("create, and the same streamed", async () => {
    const whole = await client.chat.completions.create({ model, messages });
    assert.equal(whole.choices[0].message.content, "hello");
    assert.equal(whole.choices[0].message.reasoning_content, "They said hello.");
    const chunks = await collect(await client.chat.completions.create({ model, messages, stream: true, stream_options: { include_usage: true } }));
    assert.equal(chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join(""), "hello");
    assert.deepEqual(chunks.findLast((chunk) => chunk.usage).usage, whole.usage);
    assert.equal(whole.usage.prompt_tokens_details.cached_tokens, 2);
  });
  await t.test("the stream helper", async () => {
    const final = await client.chat.completions.stream({ model, messages }).finalChatCompletion();
    assert.equal(final.choices[0].message.content, "hello");
  });
  await t.test("parse by a zod schema, streamed too", async () => {
    const request = { model, messages, response_format: zodResponseFormat(point, "point") };
    const parsed = await client.chat.completions.parse(request);
    assert.ok(point.safeParse(parsed.choices[0].message.parsed).success);
    assert.deepEqual((await client.chat.completions.stream(request).finalChatCompletion()).choices[0].message.parsed, parsed.choices[0].message.parsed);
  });
  const clock = { name: "clock", description: "the time", parameters: z.toJSONSchema(zone), parse: JSON.parse, function: async (args) => (assert.ok(zone.safeParse(args).success), "noon") };
  for (const stream of [false, true]) {
    await t.test(`runs tools, ${stream ? "streamed" : "whole"}`, async () => {
      const runner = client.chat.completions.runTools({ model, stream, messages: [{ role: "user", content: "What time is it?" }], tools: [{ type: "function", function: clock }] });
      assert.equal(await runner.finalContent(), "It is noon.");
    });
  }
  await t.test("logprobs, n and seed", async () => {
    const { choices } = await client.chat.completions.create({ model, messages, n: 2, seed: 1, logprobs: true, top_logprobs: 1 });
    assert.equal(choices.length, 2);
    assert.ok(choices[1].logprobs.content.map(({ token }) => token).join("").endsWith("hello"));
  });
});

test("openai asks for all else", async (t) => {
  await t.test("text completions", async () => {
    const { choices } = await client.completions.create({ model, prompt: "user:a\n", max_tokens: 5 });
    assert.equal(choices[0].text, "<thin");
    const chunks = await collect(await client.completions.create({ model, prompt: "user:a\n", max_tokens: 5, stream: true }));
    assert.equal(chunks.map((chunk) => chunk.choices[0]?.text ?? "").join(""), "<thin");
  });
  await t.test("embeddings, in base64 by default and as numbers", async () => {
    const packed = await client.embeddings.create({ model, input: ["hello", "help"] });
    const plain = await client.embeddings.create({ model, input: ["hello", "help"], encoding_format: "float" });
    assert.deepEqual(packed.data.map(({ embedding }) => [...new Float32Array(embedding)]), plain.data.map(({ embedding }) => [...new Float32Array(embedding)]));
    assert.ok(Math.abs(Math.hypot(...plain.data[0].embedding) - 1) < 1e-5);
  });
  await t.test("models", async () => {
    assert.deepEqual((await client.models.list()).data.map(({ id }) => id), ["fake", "slow"]);
    assert.equal((await client.models.retrieve("fake")).id, "fake");
  });
  await t.test("responses, and the same streamed", async () => {
    const whole = await client.responses.create({ model, input: "hello" });
    assert.equal(whole.output_text, "hello");
    const stream = client.responses.stream({ model, input: "hello" });
    assert.equal((await stream.finalResponse()).output_text, "hello");
    const events = await collect(await client.responses.create({ model, input: "hello", stream: true }));
    assert.equal(events[0].type, "response.created");
    assert.equal(events.at(-1).type, "response.completed");
  });
  await t.test("a response with a call, and what it gave", async () => {
    const tools = [{ type: "function", name: "clock", parameters: z.toJSONSchema(zone), strict: true }];
    const first = await client.responses.create({ model, input: "What time is it?", tools });
    const made = first.output.find(({ type }) => type === "function_call");
    assert.deepEqual(JSON.parse(made.arguments), { zone: "UTC" });
    const input = [{ role: "user", content: "What time is it?" }, ...first.output, { type: "function_call_output", call_id: made.call_id, output: "noon" }];
    assert.equal((await client.responses.create({ model, input, tools })).output_text, "It is noon.");
  });
  await t.test("its own errors", async () => {
    await assert.rejects(client.chat.completions.create({ model: "x", messages }), OpenAI.NotFoundError);
    await assert.rejects(client.chat.completions.create({ model, messages, temperature: 9 }), OpenAI.BadRequestError);
    await assert.rejects(client.chat.completions.create({ model, messages: [{ role: "user", content: "x".repeat(40_000) }] }), /maximum context length is 32768/);
    await assert.rejects(client.responses.create({ model, input: "x", previous_response_id: "resp_1" }), OpenAI.BadRequestError);
  });
  await t.test("leaving a stream, or aborting, frees the slot", async () => {
    for await (const chunk of await client.chat.completions.create({ model: "slow", messages, stream: true })) if (chunk.choices[0].delta.content) break;
    await until(async () => (await running()) === 0);
    const abort = new AbortController();
    const waiting = client.chat.completions.create({ model: "slow", messages }, { signal: abort.signal });
    await until(async () => (await running()) === 1);
    abort.abort();
    await assert.rejects(waiting, OpenAI.APIUserAbortError);
    await until(async () => (await running()) === 0);
  });
});

const providers = {
  "@ai-sdk/deepseek": createDeepSeek({ baseURL, apiKey }),
  "@ai-sdk/openai-compatible": createOpenAICompatible({ name: "longjing", baseURL, apiKey, includeUsage: true, supportsStructuredOutputs: true }),
};
for (const [name, provider] of Object.entries(providers)) {
  test(`ai with ${name}`, async (t) => {
    const language = provider(model);
    await t.test("generateText and streamText", async () => {
      const whole = await generateText({ model: language, prompt: "hello" });
      assert.equal(whole.text, "hello");
      assert.equal(whole.reasoningText, "They said hello.");
      const stream = streamText({ model: language, prompt: "hello" });
      const parts = await collect(stream.fullStream);
      const said = (type) => parts.filter((part) => part.type === type).map((part) => part.text).join("");
      assert.equal(said("reasoning-delta"), "They said hello.");
      assert.equal(said("text-delta"), "hello");
      assert.equal(await stream.finishReason, "stop");
      for (const usage of [whole.usage, await stream.usage]) {
        assert.equal(usage.inputTokenDetails.cacheReadTokens, 2);
        assert.ok(usage.outputTokenDetails.reasoningTokens >= "They said hello.".length);
        assert.equal(usage.totalTokens, usage.inputTokens + usage.outputTokens);
      }
    });
    await t.test("generateObject", async () => {
      // DeepSeek's own provider asks for any JSON and shows the schema in the prompt; a model that cannot read may miss it.
      const schema = name === "@ai-sdk/deepseek" ? z.record(z.string(), z.any()) : point;
      const { object } = await generateObject({ model: language, schema, prompt: "hello" });
      assert.ok(schema.safeParse(object).success);
    });
    await t.test("a loop of tools in two steps, whole and streamed", async () => {
      const request = { model: language, prompt: "What time is it?", stopWhen: isStepCount(3), tools: { clock: tool({ description: "the time", inputSchema: zone, execute: async () => "noon" }) } };
      const whole = await generateText(request);
      assert.deepEqual([whole.text, whole.steps.length], ["It is noon.", 2]);
      assert.deepEqual(whole.steps[0].toolCalls.map(({ toolName, input }) => [toolName, input]), [["clock", { zone: "UTC" }]]);
      const stream = streamText(request);
      assert.equal(await stream.text, "It is noon.");
      assert.equal((await stream.steps).length, 2);
    });
    await t.test("aborts", async () => {
      const abort = new AbortController();
      const stream = streamText({ model: provider("slow"), prompt: "hello", abortSignal: abort.signal });
      for await (const _ of stream.textStream) break;
      abort.abort();
      await until(async () => (await running()) === 0);
    });
    await t.test("hears of errors", async () => {
      await assert.rejects(generateText({ model: provider("x"), prompt: "hello", maxRetries: 0 }), /does not exist/);
    });
  });
}

test("ai embeds and completes with @ai-sdk/openai-compatible", async () => {
  const provider = providers["@ai-sdk/openai-compatible"];
  const one = await embed({ model: provider.embeddingModel(model), value: "hello" });
  const { embeddings } = await embedMany({ model: provider.embeddingModel(model), values: ["hello", "help"] });
  assert.deepEqual(embeddings[0], one.embedding);
  const { text } = await generateText({ model: provider.completionModel(model), prompt: "hello", maxOutputTokens: 5 });
  assert.equal(text.length, 5);
});

const langchain = {
  "@langchain/deepseek": new ChatDeepSeek({ model, apiKey, configuration: { baseURL } }),
  "@langchain/openai": new ChatOpenAI({ model, apiKey, configuration: { baseURL } }),
};
for (const [name, chat] of Object.entries(langchain)) {
  test(name, async (t) => {
    await t.test("invoke and stream", async () => {
      const whole = await chat.invoke("hello");
      assert.equal(whole.content, "hello");
      assert.equal(whole.usage_metadata.input_token_details.cache_read, 2);
      assert.ok(whole.usage_metadata.output_token_details.reasoning > 0);
      const chunks = await collect(await chat.stream("hello"));
      const all = chunks.reduce((sum, chunk) => sum.concat(chunk));
      assert.equal(all.content, "hello");
      assert.deepEqual([all.usage_metadata.input_tokens, all.usage_metadata.output_tokens], [whole.usage_metadata.input_tokens, whole.usage_metadata.output_tokens]);
      if (name === "@langchain/deepseek") assert.equal(all.additional_kwargs.reasoning_content, "They said hello.");
    });
    await t.test("withStructuredOutput", async () => {
      for (const method of ["functionCalling", "jsonSchema"]) {
        if (method === "jsonSchema" && name === "@langchain/deepseek") continue; // it does not offer this
        assert.ok(point.safeParse(await chat.withStructuredOutput(point, { name: "point", method }).invoke("hello")).success);
      }
    });
    await t.test("bindTools", async () => {
      const bound = chat.bindTools([langchainTool(() => "noon", { name: "clock", description: "the time", schema: zone })]);
      const asked = new HumanMessage("What time is it?");
      const called = await bound.invoke([asked]);
      assert.deepEqual(called.tool_calls.map((made) => [made.name, made.args]), [["clock", { zone: "UTC" }]]);
      const answer = await bound.invoke([asked, called, new ToolMessage({ content: "noon", tool_call_id: called.tool_calls[0].id })]);
      assert.equal(answer.content, "It is noon.");
    });
  });
}

test("@langchain/openai embeds", async () => {
  const embeddings = new OpenAIEmbeddings({ model, apiKey, configuration: { baseURL } });
  assert.deepEqual((await embeddings.embedDocuments(["hello"]))[0], await embeddings.embedQuery("hello"));
});

test("@anthropic-ai/sdk", async (t) => {
  const client = new Anthropic({ baseURL: base, apiKey, maxRetries: 0 });
  const request = { model, max_tokens: 200, messages };
  await t.test("create, and the same streamed", async () => {
    const whole = await client.messages.create(request);
    assert.deepEqual(whole.content.map(({ type, text, thinking }) => [type, text ?? thinking]), [["thinking", "They said hello."], ["text", "hello"]]);
    const final = await client.messages.stream(request).finalMessage();
    assert.deepEqual(final.content, whole.content);
    assert.deepEqual(final.usage.output_tokens, whole.usage.output_tokens);
  });
  await t.test("calls tools", async () => {
    const tools = [{ name: "clock", input_schema: { type: "object", properties: { zone: { type: "string" } } } }];
    const asked = { ...request, tools, messages: [{ role: "user", content: "What time is it?" }] };
    const first = await client.messages.stream(asked).finalMessage();
    const made = first.content.find(({ type }) => type === "tool_use");
    assert.deepEqual([first.stop_reason, made.input], ["tool_use", { zone: "UTC" }]);
    const results = { role: "user", content: [{ type: "tool_result", tool_use_id: made.id, content: "noon" }] };
    const answer = await client.messages.create({ ...asked, messages: [...asked.messages, { role: "assistant", content: first.content }, results] });
    assert.equal(answer.content.at(-1).text, "It is noon.");
  });
  await t.test("counts tokens, and throws its own errors", async () => {
    const { input_tokens } = await client.messages.countTokens({ model, messages });
    assert.ok(input_tokens > 0);
    await assert.rejects(client.messages.create({ ...request, model: "x" }), Anthropic.NotFoundError);
  });
});

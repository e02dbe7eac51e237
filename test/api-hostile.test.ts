import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { createApp } from "../src/serve/index.ts";
import { fakeModel } from "./fake-model.ts";

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

  test.each(paths)("%s refuses JSON that is nested without end", async (path) => {
    const reported: unknown[] = [];
    const app = createApp({ models: [fakeModel()], report: (error) => reported.push(error) });
    for (const [open, close] of [["[", "]"], ['{"a":', "}"]] as const) {
      const deep = `${open.repeat(100_000)}1${close.repeat(100_000)}`;
      for (const sent of [deep, `{"messages":${deep},"max_tokens":1}`, `{"messages":[{"role":"user","content":"hi"}],"max_tokens":1,"metadata":${deep}}`]) {
        const response = await app.request(path, { method: "POST", body: sent });
        expect(response.status).toBe(400);
      }
    }
    expect(reported).toEqual([]);
  });

  test.each([{ seed: Number.MAX_SAFE_INTEGER, n: 3 }, { repetition_penalty: 5e-324 }])("of numbers that cannot be counted on, %j is refused", async (fields) => {
    const body = JSON.stringify({ messages: [{ role: "user", content: "hi" }], ...fields });
    const response = await createApp({ models: [fakeModel()] }).request("/v1/chat/completions", { method: "POST", body });
    expect(response.status).toBe(400);
  });

  test.each(paths.filter((path) => !["/detokenize", "/apply-template"].includes(path)))("%s refuses a text that cannot fit before all of it is encoded", async (path) => {
    const model = fakeModel({ max_model_len: 20 });
    let encoded = 0;
    const encode = (text: string): number[] => {
      encoded += text.length;
      return model.tokenizer.encode(text);
    };
    const app = createApp({ models: [{ ...model, tokenizer: { ...model.tokenizer, encode } }] });
    const long = "‹".repeat(10_000);
    const sent = path.startsWith("/v1/messages") || path.startsWith("/v1/chat") ? { messages: [{ role: "user", content: long }] } : path === "/tokenize" || path === "/v1/completions" ? { prompt: long } : { input: long };
    const response = await app.request(path, { method: "POST", body: JSON.stringify({ max_tokens: 1, ...sent }) });
    expect([response.status, await response.text()]).toEqual([400, expect.stringContaining("maximum context length is 20 tokens")]);
    expect(encoded).toBeLessThan(1000);
  });

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

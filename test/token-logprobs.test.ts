import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { loadServedModel } from "../src/cli/load-model.ts";
import { createApp, type ChatCompletion, type ServedModel } from "../src/serve/index.ts";

/** A small model that ships, whose tokens for what it has seldom read are single bytes. */
let model: ServedModel;
beforeAll(async () => {
  model = await loadServedModel(join(import.meta.dirname, "..", "models", "countdown-zero"), { maxNumSeqs: 2 });
});
afterAll(() => model.engine.dispose());

async function ask<T>(path: string, body: object): Promise<T> {
  const response = await createApp({ models: [model] }).request(path, { method: "POST", body: JSON.stringify({ temperature: 0, ...body }) });
  expect(response.status).toBe(200);
  return (await response.json()) as T;
}

interface Completion {
  readonly choices: readonly [{ readonly text: string; readonly logprobs: { readonly tokens: string[]; readonly text_offset: number[]; readonly top_logprobs: (Record<string, number> | null)[] } }];
}

const complete = async (body: object) => (await ask<Completion>("/v1/completions", { logprobs: 1, ...body })).choices[0];
const chat = async (body: object) => (await ask<ChatCompletion>("/v1/chat/completions", { messages: [{ role: "user", content: "Make 24 from 3, 8, 5." }], logprobs: true, ...body })).choices[0]!;

describe("a token that is part of a character", () => {
  const idOf = (byte: number): string => String(model.tokenizer.tokenBytes.findIndex((bytes) => bytes?.length === 1 && bytes[0] === byte));

  test("has its own bytes", async () => {
    const { logprobs, message } = await chat({ logit_bias: { [idOf(0xc3)]: 100 }, max_tokens: 3, top_logprobs: 1 });
    const tokens = [...(logprobs?.reasoning_content ?? []), ...(logprobs?.content ?? [])];
    expect(tokens.map(({ bytes }) => bytes)).toEqual([[0xc3], [0xc3], [0xc3]]);
    expect((message.reasoning_content ?? "") + message.content).toBe("\ufffd\ufffd\ufffd");
  });

  test("has a name of its own in text completions", async () => {
    const { tokens, top_logprobs } = (await complete({ prompt: "1", logit_bias: { [idOf(0xc3)]: 100, [idOf(0xa9)]: 100 }, max_tokens: 1, logprobs: 5 })).logprobs;
    expect(tokens).toEqual([expect.stringMatching(/^bytes:\\x(c3|a9)$/)]);
    expect(Object.keys(top_logprobs[0]!)).toContain(tokens[0]);
  });
});

test.each([
  ["a", "a"],
  ["é😀b", "é😀b"],
  ["", ""],
])("the offsets of %j index the text", async (prompt, text) => {
  const { text: echoed, logprobs } = await complete({ prompt, echo: true, max_tokens: 2 });
  const characters = [...echoed];
  expect(echoed.startsWith(text)).toBe(true);
  // A special token that nobody wrote takes no room; the bytes of a character begin where it does.
  const starts = [0, ...[...text].flatMap((character, at) => Array<number>(model.tokenizer.encode(character).length).fill(at))];
  expect(logprobs.text_offset.slice(0, -2)).toEqual(starts);
  expect(logprobs.text_offset.at(-2)).toBe([...text].length);
  expect(characters.slice(logprobs.text_offset.at(-1)).join("")).toBe(logprobs.tokens.at(-1));
});

test("a special token that is written in a prompt takes its room", async () => {
  const [bos] = model.tokenizer.encode("", { addSpecialTokens: true });
  const { text, logprobs } = await complete({ prompt: [bos, ...model.tokenizer.encode("a")], echo: true, max_tokens: 0 });
  expect(logprobs.text_offset).toEqual([0, text.length - 1]);
});

test.each([undefined, ["8zzz"], [")+8"]])("what the tokens of an answer say is the answer, with stop %j", async (stop) => {
  const { message, logprobs } = await chat({ ...(stop && { stop }) });
  expect(logprobs?.content?.map(({ token }) => token).join("").startsWith(message.content)).toBe(true);
  if (stop?.[0] !== ")+8") expect(logprobs?.content?.map(({ token }) => token).join("")).toBe(message.content);
  expect(logprobs?.reasoning_content?.map(({ token }) => token).join("")).toBe(message.reasoning_content);
});

test.each([
  ["/v1/completions", "prompt", { prompt: [99_999_999] }],
  ["/v1/completions", "prompt", { prompt: [[1], [99_999_999]], stream: true }],
  ["/detokenize", "tokens", { tokens: [1, 99_999_999] }],
])("%s refuses a token that there is not, and names %s", async (path, param, body) => {
  const response = await createApp({ models: [model] }).request(path, { method: "POST", body: JSON.stringify(body) });
  expect([response.status, await response.json()]).toMatchObject([400, { error: { param } }]);
});

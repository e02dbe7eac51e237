import { expect, test } from "vitest";
import { chatPrompt } from "../src/serve/chat-prompt.ts";
import { textInterface, type ServedModel } from "../src/serve/index.ts";
import { guess, transcripts } from "../src/tasks/index.ts";
import { createTokenizer, documentEncoder, hermes, readTurn, trainBpe } from "../src/text/index.ts";

const documents = [...transcripts(guess, { split: "train", seed: 0, count: 30, levels: [1, 2, 3], languages: ["en", "zh"] })];
const files = trainBpe(documents.flatMap(({ prompt, completion }) => [prompt, completion]), { vocabSize: 320 });
const tokenizer = createTokenizer(files.tokenizerJson, files.tokenizerConfig);
const encoder = documentEncoder(tokenizer);
const model = textInterface(tokenizer, [], () => Promise.reject(new Error("nothing is constrained"))) as unknown as ServedModel;

const split = (text: string) => {
  const [, thought, said] = /^<think>(.*?)<\/think>([\s\S]*)$/.exec(text)!;
  const { calls } = readTurn(text, hermes);
  return { thought: thought!, content: calls.length > 0 ? "" : said!, calls };
};

/** A turn as an application sends it back. */
function sentBack(text: string, turn: number) {
  const { thought, content, calls } = split(text);
  const tool_calls = calls.map(({ name, arguments: args }, i) => ({ id: `call-${turn}-${i}`, type: "function" as const, function: { name, arguments: JSON.stringify(args) } }));
  return { role: "assistant" as const, content, ...(thought !== "" && { reasoning_content: thought }), ...(tool_calls.length > 0 && { tool_calls }) };
}

test("a conversation with tools is served in the tokens that it was trained in, thoughts between calls included", () => {
  let served = 0;
  for (const document of documents) {
    const trained = encoder.document(document);
    const all = [...trained.prompt, ...trained.completion];
    const messages: Parameters<typeof chatPrompt>[1]["messages"][number][] = [{ role: "user", content: document.prompt }];
    const turns = [document.completion, ...(document.exchanges ?? []).map(({ completion }) => completion)];
    const tools = { tools: guess.environment!.tools, choice: "auto" } as unknown as NonNullable<Parameters<typeof chatPrompt>[1]["tools"]>;
    for (const [turn, text] of turns.entries()) {
      const ids = tokenizer.encode(chatPrompt(model, { messages, thinking: { enabled: undefined, budget: undefined, effort: undefined }, tools, template: {} }).text);
      expect(all.slice(0, ids.length)).toEqual(ids);
      served++;
      messages.push(sentBack(text, turn));
      for (const result of document.exchanges?.[turn]?.messages ?? []) messages.push({ role: "tool", content: String(result.content), tool_call_id: `call-${turn}-0` });
    }
  }
  expect(served).toBeGreaterThan(2 * documents.length);
});

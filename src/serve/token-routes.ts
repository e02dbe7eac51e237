import type { Hono } from "hono";
import { z } from "zod";
import { LongjingError } from "../errors/index.ts";
import { message } from "./chat-messages.ts";
import { chatPrompt } from "./chat-prompt.ts";
import { encodePrompt } from "./prompt-tokens.ts";
import { modelName, parseBody } from "./request-fields.ts";
import { readJson, type Api } from "./respond.ts";
import { thinkingFields, thinkingOf } from "./thinking.ts";
import { toolFields, toolUseOf } from "./tools.ts";

const chat = { messages: z.array(message).min(1).max(2048), ...thinkingFields, ...toolFields };

/** The text under vLLM's name or llama-server's, or a conversation. */
const tokenize = z.object({
  model: modelName,
  prompt: z.string().nullish(),
  content: z.string().nullish(),
  add_special_tokens: z.boolean().nullish(),
  add_special: z.boolean().nullish(),
  ...chat,
  messages: chat.messages.nullish(),
});

const detokenize = z.object({ model: modelName, tokens: z.array(z.int().nonnegative()).max(2 ** 20) });

const template = z.object({ model: modelName, ...chat });

/** `/tokenize`, `/detokenize` and `/apply-template`, as vLLM and llama-server have them. */
export function addTokenRoutes(app: Hono, { models }: Api): void {
  app.post("/tokenize", async (c) => {
    const data = parseBody(tokenize, await readJson(c));
    const model = await models.find(data.model, c);
    const text = data.prompt ?? data.content ?? undefined;
    // llama-server adds special tokens when it is asked to, vLLM unless it is told not to.
    const addSpecialTokens = typeof data.prompt !== "string" ? (data.add_special ?? false) : (data.add_special_tokens ?? true);
    if ((text === undefined) === !data.messages) throw new LongjingError("bad_argument", "The request is not acceptable: either a text or messages", { where: "prompt", expected: "prompt or messages" });
    const tokens = text === undefined ? encodePrompt(model, chatPrompt(model, promptRequest(data, data.messages ?? [])).text) : encodePrompt(model, text, { addSpecialTokens });
    return c.json({ count: tokens.length, max_model_len: model.engine.max_model_len, tokens });
  });
  app.post("/detokenize", async (c) => {
    const { model: name, tokens } = parseBody(detokenize, await readJson(c));
    const model = await models.find(name, c);
    const { length } = model.tokenizer.tokenBytes;
    const stray = tokens.find((id) => id >= length);
    if (stray !== undefined) throw new LongjingError("bad_argument", "a token is not in the vocabulary", { where: "tokens", got: stray, expected: `0 to ${length - 1}` });
    const text = model.tokenizer.decode(tokens);
    return c.json({ prompt: text, content: text });
  });
  app.post("/apply-template", async (c) => {
    const data = parseBody(template, await readJson(c));
    const model = await models.find(data.model, c);
    return c.json({ prompt: chatPrompt(model, promptRequest(data, data.messages)).text });
  });
}

type PromptRequest = Parameters<typeof chatPrompt>[1];

function promptRequest(data: Omit<z.infer<typeof template>, "messages">, messages: PromptRequest["messages"]): PromptRequest {
  return { messages, thinking: thinkingOf(data, data.model), tools: toolUseOf(data), template: data.chat_template_kwargs ?? {} };
}

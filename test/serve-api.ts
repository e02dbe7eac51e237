import { expect } from "vitest";
import { createApp, type ChatChunk, type ChatCompletion } from "../src/serve/index.ts";
import { hermes, renderToolCall } from "../src/text/index.ts";
import { fakeModel, type FakeOptions } from "./fake-model.ts";

export type Body = Readonly<Record<string, unknown>>;

/** An app over a fake model, and the ways to ask it. */
export function serve(options: FakeOptions = {}) {
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

export const hi = [{ role: "user", content: "hi" }];
export const weather = { type: "function", function: { name: "weather", description: "of a city", parameters: { type: "object", properties: { city: { type: "string" }, days: { type: "integer" } }, required: ["city"], additionalProperties: false } } };
export const clock = { type: "function", function: { name: "clock" } };
export const call = (name: string, args: unknown): string => renderToolCall(hermes, name, JSON.stringify(args));

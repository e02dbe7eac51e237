import { readdirSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { createApp } from "../src/serve/index.ts";
import { chatRenderer, type ChatMessage, type ChatVariables } from "../src/text/index.ts";
import { fakeModel } from "./fake-model.ts";
import { fixture, hasFixture, readFixture } from "./fixtures.ts";

interface Golden {
  readonly special_tokens: ChatVariables;
  readonly template: string;
  readonly cases: readonly { readonly name: string; readonly messages: readonly ChatMessage[]; readonly kwargs: Readonly<Record<string, unknown>>; readonly rendered: string }[];
}

const names = hasFixture("chat") ? readdirSync(fixture("chat")) : [];

describe.each(names)("%s", (name) => {
  const { template, special_tokens, cases } = readFixture<Golden>("chat", name);
  const renderer = chatRenderer(template);
  const app = createApp({ models: [{ ...fakeModel(), chatTemplate: template, renderChat: (messages, variables) => renderer(messages, { ...special_tokens, ...variables }) }] });
  const prompts = cases.filter(({ kwargs }) => kwargs.add_generation_prompt === true);

  test.each(prompts.map((one) => [one.name, one] as const))("a request is shown to the model as transformers shows it: %s", async (_, { messages, kwargs, rendered }) => {
    const { tools, add_generation_prompt: _prompt, ...chat_template_kwargs } = kwargs;
    const response = await app.request("/apply-template", { method: "POST", body: JSON.stringify({ messages, tools, chat_template_kwargs }) });
    expect(await response.json()).toEqual({ prompt: rendered });
  });
});

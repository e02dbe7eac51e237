import { readdirSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { fixture, hasFixture, readFixture } from "../../test/fixtures.ts";
import { trainBpe } from "./bpe.ts";
import { longjingTemplate, renderChat } from "./chat-template.ts";
import { ollamaTemplate } from "./ollama-template.ts";
import { createTokenizer } from "./tokenizer.ts";

type Json = Record<string, unknown>;
const { tokenizerJson, tokenizerConfig } = trainBpe(["text"], { vocabSize: 270 });
const own = createTokenizer(tokenizerJson, tokenizerConfig);
const golden = hasFixture("tokenizers") ? readdirSync(fixture("tokenizers")) : [];
const tokenizers = [
  { name: "our own", tokenizer: own },
  ...golden.map((name) => ({ name, tokenizer: createTokenizer(readFixture<Json>("tokenizers", name, "tokenizer.json"), readFixture<Json>("tokenizers", name, "tokenizer_config.json")) })),
].filter(({ tokenizer }) => tokenizer.chatTemplate !== null);

interface Message {
  readonly role: string;
  readonly content: string;
}

/** What Go makes of the template: each message by its role's branch, texts from the actions that hold them. */
function execute(template: string, messages: readonly Message[]): string {
  const texts = (line: string): string => [...line.matchAll(/\{\{ ("(?:[^"\\]|\\.)*") \}\}|\{\{ (\.Content) \}\}/g)].map(([, text, content]) => (content === undefined ? (JSON.parse(text!) as string) : "\0")).join("");
  const lines = template.split("\n");
  const line = (start: string): string => lines.find((each) => each.startsWith(start)) ?? "";
  const branch = (role: string): string => lines.find((each) => each.includes(`if eq .Role "${role}"`))!;
  const said = messages.map(({ role, content }) => texts(branch(role)).replace("\0", content));
  const begin = messages[0]!.role === "system" ? "" : texts(line("{{- if and (eq $i 0)"));
  return begin + said.join("") + texts(line("{{- if and $last"));
}

describe.each(tokenizers)("$name", ({ tokenizer }) => {
  test("says the same conversations as the chat template, without BOS", () => {
    const template = ollamaTemplate(tokenizer.chatTemplate!, tokenizer)!;
    const { bos_token } = tokenizer.specialTokens;
    for (const roles of [["user"], ["system", "user"], ["user", "assistant", "user"], ["system", "user", "assistant", "user"]]) {
      const messages = roles.map((role, i) => ({ role, content: `the "${i}"th\n  thing` }));
      const want = renderChat(tokenizer.chatTemplate!, messages, { ...tokenizer.specialTokens, add_generation_prompt: true });
      expect(execute(template, messages)).toBe(bos_token !== null && want.startsWith(bos_token) ? want.slice(bos_token.length) : want);
    }
    expect(template).toContain("<think>{{ .Thinking }}</think>");
  });
});

test.each([
  ["changes what is said", "{% for m in messages %}<|user|>{{ m.content | upper }}{% endfor %}"],
  ["counts the messages", "{% for m in messages %}{{ loop.index }}{{ m.content }}{% endfor %}{% if add_generation_prompt %}>{% endif %}"],
  ["leaves the last message out", "{% for m in messages[:-1] %}{{ m.content }}{% endfor %}"],
  ["refuses a system message", `{% if messages[0].role == 'system' %}{{ raise_exception('no system messages') }}{% endif %}${longjingTemplate}`],
])("a template that %s has no equal", (_, template) => {
  expect(ollamaTemplate(template, own)).toBeNull();
});

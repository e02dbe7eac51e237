import { readdirSync } from "node:fs";
import { describe, expect, it, test } from "vitest";
import { fixture, readFixture } from "../../test/fixtures.ts";
import { LongjingError } from "../errors/index.ts";
import { chatRenderer, longjingTemplate, renderChat, type ChatMessage, type ChatVariables } from "./chat-template.ts";
import { conversationEncoder } from "./conversation.ts";
import { createTokenizer } from "./tokenizer.ts";

interface Golden {
  readonly template: string;
  readonly tokenizer: string;
  readonly special_tokens?: ChatVariables;
  readonly cases: readonly {
    readonly name: string;
    readonly messages: readonly ChatMessage[];
    readonly kwargs?: ChatVariables;
    readonly rendered: string;
    readonly ids: number[];
    readonly assistant_masks?: readonly number[];
  }[];
  readonly error_case?: { readonly messages: readonly ChatMessage[]; readonly error_contains: string };
}

describe.each(readdirSync(fixture("chat")))("the golden template %s", (file) => {
  const golden = readFixture<Golden>("chat", file);
  const tokenizerFile = (name: string): unknown => readFixture("chat", golden.tokenizer, name);
  const tokenizer = createTokenizer(tokenizerFile("tokenizer.json"), tokenizerFile("tokenizer_config.json"));
  const render = chatRenderer(golden.template);

  test.each(golden.cases)("renders $name", ({ messages, kwargs, rendered, ids }) => {
    const text = render(messages, { ...golden.special_tokens, ...kwargs });
    expect(text).toBe(rendered);
    expect(tokenizer.encode(text)).toEqual(ids);
  });

  test.each(golden.cases.filter(({ assistant_masks }) => assistant_masks !== undefined))("masks what the assistant says in $name", ({ messages, kwargs, ids, assistant_masks }) => {
    expect(conversationEncoder(tokenizer, golden.template)(messages, { ...golden.special_tokens, ...kwargs })).toEqual({ ids, assistantMask: assistant_masks });
  });

  it.runIf(golden.error_case)("passes the template's own refusal on", () => {
    const { messages, error_contains } = golden.error_case as NonNullable<Golden["error_case"]>;
    expect(() => render(messages, golden.special_tokens)).toThrow(error_contains);
    expect(() => render(messages, golden.special_tokens)).toThrow(LongjingError);
  });
});

describe("our own template", () => {
  const variables = { bos_token: "<|bos|>", eos_token: "<|eos|>", pad_token: null };
  const said = "<think>1+1=2</think><answer>2</answer>";

  it("opens no tag for the model", () => {
    const prompt = renderChat(longjingTemplate, [{ role: "user", content: "1+1?" }], { ...variables, add_generation_prompt: true });
    expect(prompt).toBe("<|bos|><|user|>1+1?<|assistant|>");
  });

  it("continues a prompt with the completion, as training does", () => {
    const user = { role: "user", content: "1+1?" };
    const prompt = renderChat(longjingTemplate, [user], { ...variables, add_generation_prompt: true });
    const whole = renderChat(longjingTemplate, [user, { role: "assistant", content: said }], variables);
    expect(whole).toBe(`${prompt}${said}<|eos|>`);
  });

  it("drops the thoughts of earlier turns", () => {
    const turns = [{ role: "assistant", content: said }, { role: "user", content: "and 2+2?" }];
    expect(renderChat(longjingTemplate, turns, variables)).toBe("<|bos|><|assistant|><answer>2</answer><|eos|><|user|>and 2+2?");
  });

  it("keeps the thoughts of turns that tools have answered, until the next question", () => {
    const turns = [{ role: "user", content: "1+1?" }, { role: "assistant", content: "<think>add</think>call" }, { role: "tool", content: "2" }];
    expect(renderChat(longjingTemplate, turns, variables)).toBe("<|bos|><|user|>1+1?<|assistant|><think>add</think>call<|eos|><|user|>2");
    expect(renderChat(longjingTemplate, [...turns, { role: "user", content: "why?" }], variables)).toBe("<|bos|><|user|>1+1?<|assistant|>call<|eos|><|user|>2<|user|>why?");
  });
});

it("strips the characters that a template names, as Python does", () => {
  const strip = (call: string): string => renderChat(`{{ text.${call} }}`, [], { text: " \n.a.\n " });
  expect(strip("strip()")).toBe(".a.");
  expect(strip("strip(' \\n')")).toBe(".a.");
  expect(strip("strip(' ')")).toBe("\n.a.\n");
  expect(strip("lstrip(' \\n.')")).toBe("a.\n ");
  expect(strip("rstrip('\\n')")).toBe(" \n.a.\n ");
});

it("says that a template does not parse", () => {
  expect(() => chatRenderer("{% for %}")).toThrow(LongjingError);
});

describe("a template that anyone may have written", () => {
  const doubled = (start: string, step: string): string => `{% set ns = namespace(a=${start}) %}{% for i in range(64) %}{% set ns.a = ${step} %}{% endfor %}{{ ns.a }}`;

  it.each([
    ["loops in loops", "{% for i in range(9999) %}{% for j in range(9999) %}x{% endfor %}{% endfor %}"],
    ["empty loops", "{% set a = range(200000) %}{% for i in a %}{% for j in a %}{% endfor %}{% endfor %}"],
    ["a range without end", "{% for i in range(10**15) %}{% endfor %}"],
    ["text that doubles", doubled("'tea'", "ns.a + ns.a")],
    ["a list that doubles", doubled("['tea']", "ns.a + ns.a")],
    ["a list that holds itself twice, sixty-four times over", doubled("['tea']", "[ns.a, ns.a]")],
    ["searches through a long list", "{% set a = range(200000) %}{% for i in a %}{{ -1 in a }}{% endfor %}"],
  ])("is refused: %s", (_, template) => {
    expect(() => renderChat(template, [])).toThrow(expect.objectContaining({ code: "too_large" }));
  });

  it("is refused before it is parsed when it is longer than any template", () => {
    for (const template of ["{{ 1 }}".repeat(2 ** 16), `${" ".repeat(2 ** 17)}{{ 1 }}`]) expect(() => chatRenderer(template)).toThrow(expect.objectContaining({ code: "bad_config" }));
  });

  it("has time for thousands of messages", () => {
    const messages = Array.from({ length: 4000 }, (_, i) => ({ role: i % 2 === 0 ? "user" : "assistant", content: "tea ".repeat(50) }));
    expect(renderChat(longjingTemplate, messages, { bos_token: "", eos_token: "" }).length).toBeGreaterThan(4000 * 200);
  });
});

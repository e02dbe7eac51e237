import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { readFixture } from "../../test/fixtures.ts";
import { trainBpe } from "./bpe.ts";
import { chatRenderer, longjingTemplate } from "./chat-template.ts";
import { documentEncoder } from "./document.ts";
import { createTokenizer, type Tokenizer } from "./tokenizer.ts";
import { deepseekV3, deepseekV31, hermes, llama3, renderToolCall } from "./tool-syntax.ts";
import { readTurn } from "./turn.ts";

interface ChatFixture {
  readonly tokenizer: string;
  readonly template: string;
  readonly special_tokens: { readonly bos_token: string | null; readonly eos_token: string | null; readonly pad_token: string | null };
}

function golden(name: string): Tokenizer {
  const { tokenizer, template, special_tokens } = readFixture<ChatFixture>("chat", name);
  const folder = tokenizer.split("/").at(-1)!;
  return createTokenizer(readFixture("tokenizers", folder, "tokenizer.json"), { ...readFixture<object>("tokenizers", folder, "tokenizer_config.json"), ...special_tokens, chat_template: template });
}

const own = trainBpe(["compare 7 higher lower", "tea 茶 42"], { vocabSize: 300 });
const tokenizers: readonly (readonly [string, Tokenizer])[] = [
  ["longjing", createTokenizer(own.tokenizerJson, own.tokenizerConfig)],
  ["chatml", golden("chatml.json")],
  ["llama3", golden("llama3.json")],
  ["r1", golden("r1.json")],
];
const word = fc.array(fc.constantFrom("tea", "茶", "🍵", "42", "higher"), { minLength: 1, maxLength: 5 }).map((parts) => parts.join(" "));
const tools = [{ name: "compare", description: "Compares.", parameters: { type: "object", properties: { number: { type: "integer" } } } }];

describe.each(tokenizers)("with the template %s", (name, tokenizer) => {
  const encoder = documentEncoder(tokenizer);
  const render = chatRenderer(tokenizer.chatTemplate ?? longjingTemplate);

  // R1's opens a thought before each turn, and leaves it out of a turn that is past: what a model says there, nobody can render again.
  test.skipIf(name === "r1")("a conversation put together turn by turn has the tokens of the whole", () =>
    fc.assert(
      fc.property(word, fc.array(word, { minLength: 1, maxLength: 4 }), fc.array(word, { minLength: 4, maxLength: 4 }), (prompt, completions, answers) => {
        const [completion, ...rest] = completions as [string, ...string[]];
        const exchanges = rest.map((text, i) => ({ messages: [{ role: "user", content: answers[i]! }], completion: text }));
        const { prompt: start, completion: ids, mask } = encoder.document({ prompt, completion, exchanges });
        const messages = [{ role: "user", content: prompt }, { role: "assistant", content: completion }, ...exchanges.flatMap((e) => [...e.messages, { role: "assistant", content: e.completion }])];
        const whole = tokenizer.encode(render(messages, { ...tokenizer.specialTokens }));
        // A template may go on behind the last turn's EOS.
        expect(whole.slice(0, start.length + ids.length)).toEqual([...start, ...ids]);
        // What the mask keeps is what the model says, to the token.
        const said = (mask ?? ids.map(() => 1)).flatMap((own, i) => (own === 1 ? [ids[i]!] : []));
        expect(said).toEqual(completions.flatMap((text) => [...tokenizer.encode(text), encoder.eos]));
      }),
    ));

  test("tools are told, and what they give is given back", () => {
    const asked = tokenizer.decode(encoder.prompt("tea", tools));
    expect(asked).toContain('"compare"');
    expect(tokenizer.decode(encoder.prompt("tea"))).not.toContain('"compare"');
    const between = encoder.between([{ role: "tool", name: "compare", content: "higher 42" }]);
    expect(tokenizer.decode(between)).toContain("higher 42");
    // The next turn begins as the first one did.
    const opening = (ids: readonly number[]): string => tokenizer.decode(ids).split(/higher 42|tea/).at(-1)!.trimEnd().split(/[|｜>]/).slice(-3).join();
    expect(opening(between)).toBe(opening(encoder.prompt("tea")));
  });
});

test("a template that does not end a turn with EOS is refused", () => {
  const tokenizer = createTokenizer(own.tokenizerJson, { ...own.tokenizerConfig, chat_template: "{% for m in messages %}{{ m.content }}\n{% endfor %}" });
  expect(() => documentEncoder(tokenizer).between([{ role: "user", content: "x" }])).toThrow(/does not end a turn/);
});

describe("reading a turn", () => {
  const args = fc.dictionary(fc.stringMatching(/^[a-z]{1,4}$/), fc.oneof(fc.integer(), fc.string(), fc.constant(null), fc.array(fc.nat(9)))).map((object) => JSON.parse(JSON.stringify(object)) as Record<string, unknown>);

  test.each([["hermes", hermes], ["deepseek", deepseekV3], ["deepseek 3.1", deepseekV31], ["llama 3", llama3]] as const)("finds the calls that are written as %s writes them, and none in thoughts", (name, syntax) =>
    fc.assert(
      fc.property(args, fc.boolean(), (given, thinks) => {
        const call = renderToolCall(syntax, "compare", JSON.stringify(given));
        const text = `${thinks ? "<think>well</think>" : ""}${call}`;
        expect(readTurn(text, syntax)).toEqual({ text, calls: [{ name: "compare", arguments: given }] });
        for (const thought of [`<think>${call}`, `<think>${call}</think>42`]) expect(readTurn(thought, syntax).calls, name).toEqual([]);
      }),
    ));

  test("is total, and says where arguments are no JSON", () => {
    fc.assert(fc.property(fc.array(fc.constantFrom("<tool_call>", "</tool_call>", '{"name": "f", "arguments": ', "{", "}", "<think>", "</think>", "x", '"')), (parts) => void readTurn(parts.join(""), hermes)));
    expect(readTurn('<tool_call>\n{"name": "f", "arguments": {x}}\n</tool_call>', hermes).calls).toEqual([{ name: "f", arguments: null }]);
  });
});

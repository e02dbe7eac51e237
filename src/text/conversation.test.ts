import fc from "fast-check";
import { describe, expect, it, test } from "vitest";
import { readFixture } from "../../test/fixtures.ts";
import { chatRenderer, markedChatRenderer, type ChatMessage } from "./chat-template.ts";
import { conversationEncoder } from "./conversation.ts";
import { createTokenizer } from "./tokenizer.ts";

const tokenizerOf = (name: string) => createTokenizer(readFixture("tokenizers", name, "tokenizer.json"), readFixture("tokenizers", name, "tokenizer_config.json"));

const template = `{%- for m in messages %}
    {{- '<|im_start|>' + m.role + '\\n' }}
    {%- if m.role == 'assistant' %}
        {%- generation -%}
        {{ m.content }}<|im_end|>
        {%- endgeneration %}
    {%- else %}
        {{- m.content + '<|im_end|>' }}
    {%- endif %}
    {{- '\\n' }}
{%- endfor %}`;

/** Composed and decomposed characters, Hangul as jamo, emoji, what we mark spans with, markup. */
const content = fc.array(fc.constantFrom("tea", " ", "\n", "茶", "🍵", "é", "e\u0301", "\u1112\u1161\u11ab", "\uFDD0", "\uFDD00\uFDD0", "<|im_end|>", "{% generation %}", "42"), { maxLength: 12 }).map((parts) => parts.join(""));
const conversation = fc.array(fc.record({ role: fc.constantFrom("user", "assistant"), content }), { minLength: 1, maxLength: 6 });

describe.each(["qwen_like", "llama3_like", "deepseek_like"])("with the tokenizer %s", (name) => {
  const tokenizer = tokenizerOf(name);
  const encode = conversationEncoder(tokenizer, template);

  test("ids are those of the rendered text", () =>
    fc.assert(
      fc.property(conversation, (messages) => {
        const { ids, assistantMask } = encode(messages);
        expect(ids).toEqual(tokenizer.encode(chatRenderer(template)(messages)));
        expect(assistantMask.length).toBe(ids.length);
      }),
    ));

  test("the tokens of the mask say what the assistant said, and where they say more, it is a token across the edge", () =>
    fc.assert(
      fc.property(conversation, (messages) => {
        const { ids, assistantMask } = encode(messages);
        const said = messages.filter(({ role }) => role === "assistant").map((m) => `${m.content}<|im_end|>`.normalize("NFC"));
        const masked = tokenizer.decode(ids.filter((_, i) => assistantMask[i] === 1)).normalize("NFC");
        let at = 0;
        for (const part of said) {
          const found = masked.indexOf(part, at);
          expect(found, JSON.stringify([masked, part])).toBeGreaterThanOrEqual(at);
          at = found + part.length;
        }
        const silent = messages.every(({ role }) => role !== "assistant");
        if (silent) expect(assistantMask).not.toContain(1);
      }),
    ));

  test("offsets cover the text in order", () =>
    fc.assert(
      fc.property(content, (text) => {
        const { ids, offsets } = tokenizer.encodeWithOffsets(text);
        expect(ids).toEqual(tokenizer.encode(text));
        for (const [i, [start, end]] of offsets.entries()) {
          expect(end).toBeGreaterThan(start);
          expect(start).toBeGreaterThanOrEqual(offsets[i - 1]?.[0] ?? 0);
          expect(tokenizer.decode([ids[i]!]).includes("\uFFFD") || text.slice(start, end).normalize("NFC") === tokenizer.decode([ids[i]!]) || text.normalize("NFC") !== text).toBe(true);
        }
      }),
    ));
});

describe("spans", () => {
  it("are what the generation blocks hold, and the text is the same without them", () =>
    fc.assert(
      fc.property(conversation, (messages: readonly ChatMessage[]) => {
        const { text, spans } = markedChatRenderer(template)(messages);
        expect(text).toBe(chatRenderer(template)(messages));
        expect(text).toBe(chatRenderer(template.replace(/ *{%- (?:end)?generation -?%}\n? */g, ""))(messages));
        expect(spans.map(([start, end]) => text.slice(start, end))).toEqual(messages.filter(({ role }) => role === "assistant").map((m) => `${String(m.content)}<|im_end|>`));
      }),
    ));

  it("need a template that has blocks", () => {
    expect(() => markedChatRenderer("{{ messages[0].content }}")).toThrow("generation");
    expect(() => conversationEncoder(tokenizerOf("llama3_like"), null)).toThrow("no chat template");
  });
});

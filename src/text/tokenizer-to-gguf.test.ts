import { readdirSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { fixture, hasFixture, readFixture } from "../../test/fixtures.ts";
import { trainBpe, type TokenizerFiles } from "./bpe.ts";
import { tokenizerFromGguf } from "./gguf-tokenizer.ts";
import { createTokenizer } from "./tokenizer.ts";
import { tokenizerToGguf } from "./tokenizer-to-gguf.ts";

type Json = Record<string, unknown>;

const own = trainBpe(["a banana and a bandana, 12 of 345"], { vocabSize: 290 });
const golden = hasFixture("tokenizers") ? readdirSync(fixture("tokenizers")) : [];
const tokenizers: { name: string; files: TokenizerFiles; texts: readonly string[] }[] = [
  { name: "our own", files: own, texts: ["banana 12345 + 世界", "<|user|>it's<think>\n\n  we'LL"] },
  ...golden.map((name) => ({
    name,
    files: { tokenizerJson: readFixture<Json>("tokenizers", name, "tokenizer.json"), tokenizerConfig: readFixture<Json>("tokenizers", name, "tokenizer_config.json") },
    texts: readFixture<{ cases: { text: string }[] }>("tokenizers", name, "cases.json").cases.map(({ text }) => text),
  })),
];

describe.each(tokenizers)("$name", ({ files, texts }) => {
  const tokenizer = createTokenizer(files.tokenizerJson, files.tokenizerConfig);

  test("is the same tokenizer in a GGUF file, whatever rows the model has behind it", () => {
    for (const rows of [tokenizer.vocabSize, tokenizer.vocabSize + 7]) {
      const keys = tokenizerToGguf(files, rows);
      expect(keys["tokenizer.ggml.tokens"]).toHaveLength(rows);
      const { tokenizerJson, tokenizerConfig } = tokenizerFromGguf(new Map(Object.entries(keys)), "test");
      const again = createTokenizer(tokenizerJson, tokenizerConfig);
      expect([again.specialTokens, again.chatTemplate, again.vocabSize]).toEqual([tokenizer.specialTokens, tokenizer.chatTemplate, tokenizer.vocabSize]);
      for (const text of texts) for (const addSpecialTokens of [false, true]) expect(again.encode(text, { addSpecialTokens }), text).toEqual(tokenizer.encode(text, { addSpecialTokens }));
      const ids = tokenizer.encode(texts.join(""));
      expect(again.decode(ids, { skipSpecialTokens: true })).toBe(tokenizer.decode(ids, { skipSpecialTokens: true }));
    }
  });

  test("needs a row for each token", () => {
    expect(() => tokenizerToGguf(files, tokenizer.vocabSize - 1)).toThrow(expect.objectContaining({ code: "bad_config" }));
  });
});

const changed = (change: Json): TokenizerFiles => ({ ...own, tokenizerJson: { ...own.tokenizerJson, ...change } });
const { pre_tokenizer, model, post_processor } = own.tokenizerJson as { pre_tokenizer: { pretokenizers: [Json, Json] }; model: Json; post_processor: Json };
const [split, bytes] = pre_tokenizer.pretokenizers;
const regex = (split.pattern as { Regex: string }).Regex;

test("a pre-tokenizer is known by what it does, however it is spelt", () => {
  const spelt = { ...split, pattern: { Regex: regex.replaceAll(String.raw`\r\n`, "\r\n") } };
  const nested = { type: "Sequence", pretokenizers: [{ type: "Sequence", pretokenizers: [spelt] }, { ...bytes, trim_offsets: false }] };
  const files = changed({ pre_tokenizer: nested, normalizer: { type: "Sequence", normalizers: [] } });
  expect(tokenizerToGguf(files, 400)["tokenizer.ggml.pre"]).toBe("llama-bpe");
  expect(tokenizerToGguf(changed({ model: { ...model, ignore_merges: false } }), 400)["tokenizer.ggml.pre"]).toBe("dbrx");
});

test.each(["lstrip", "rstrip"])("an added token with %s is not written: other texts would become other tokens", (side) => {
  const [first, ...others] = own.tokenizerJson.added_tokens as Json[];
  const files = (strips: boolean): TokenizerFiles => changed({ added_tokens: [{ ...first, [side]: strips }, ...others] });
  expect(() => tokenizerToGguf(files(true), 400)).toThrow(expect.objectContaining({ code: "unsupported", facts: expect.objectContaining({ got: first?.content }) }));
  expect(() => tokenizerToGguf(files(false), 400)).not.toThrow();
});

test.each<[string, Json]>([
  ["another split", { pre_tokenizer: { type: "Sequence", pretokenizers: [{ ...split, pattern: { Regex: regex.replace("{1,3}", "{1,2}") } }, bytes] } }],
  ["a split that keeps nothing", { pre_tokenizer: { type: "Sequence", pretokenizers: [{ ...split, behavior: "Removed" }, bytes] } }],
  ["a normalizer", { normalizer: { type: "Lowercase" } }],
  ["another token in front", { post_processor: { ...post_processor, single: [{ SpecialToken: { id: "<|user|>", type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }], special_tokens: { "<|user|>": { id: "<|user|>", ids: [createTokenizer(own.tokenizerJson, own.tokenizerConfig).idOf("<|user|>")], tokens: ["<|user|>"] } } } }],
])("refuses %s", (_, change) => {
  expect(() => tokenizerToGguf(changed(change), 400)).toThrow(expect.objectContaining({ code: "unsupported" }));
});

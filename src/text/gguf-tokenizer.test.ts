import { readdirSync } from "node:fs";
import { describe, expect, it, test } from "vitest";
import { fixture, hasFixture, readFixture } from "../../test/fixtures.ts";
import { LongjingError } from "../errors/index.ts";
import { byteToChar, toByteChars } from "./bytes.ts";
import { ggufTokenizer, ggufTokenizerSteps, tokenizerFromGguf } from "./gguf-tokenizer.ts";
import { createTokenizer } from "./tokenizer.ts";

interface TokenizerJson {
  readonly added_tokens: readonly { id: number; content: string; special: boolean }[];
  readonly normalizer: unknown;
  readonly pre_tokenizer: unknown;
  readonly model: { readonly vocab: Readonly<Record<string, number>>; readonly merges: readonly (string | [string, string])[] };
}

interface Case {
  readonly text: string;
  readonly ids: readonly number[];
  readonly decoded: string;
}

/** The metadata that a converter would write for a tokenizer.json. */
function metadataOf({ added_tokens, model }: TokenizerJson, pre: string): Map<string, unknown> {
  const tokens: string[] = [];
  for (const [token, id] of Object.entries(model.vocab)) tokens[id] = token;
  for (const { id, content } of added_tokens) tokens[id] = content;
  const kinds = new Map(added_tokens.map(({ id, special }) => [id, special ? 3 : 4]));
  return new Map<string, unknown>([
    ["tokenizer.ggml.model", "gpt2"],
    ["tokenizer.ggml.pre", pre],
    ["tokenizer.ggml.tokens", Array.from(tokens, (token, id) => token ?? `[PAD${id}]`)],
    ["tokenizer.ggml.token_type", Array.from(tokens, (token, id) => (token === undefined ? 5 : (kinds.get(id) ?? 1)))],
    ["tokenizer.ggml.merges", model.merges.map((merge) => (typeof merge === "string" ? merge : merge.join(" ")))],
  ]);
}

const folders = hasFixture("tokenizers") ? readdirSync(fixture("tokenizers")).map((name) => ["tokenizers", name]) : [];
const golden = [
  ...folders.map((path) => ({ path, cases: readFixture<{ cases: Case[] }>(...path, "cases.json").cases })),
  ...(hasFixture("smollm2", "tokenizer_cases.json") ? [{ path: ["smollm2"], cases: readFixture<Case[]>("smollm2", "tokenizer_cases.json") }] : []),
];

describe.each(golden)("the golden tokenizer $path, by way of GGUF", ({ path, cases }) => {
  const json = readFixture<TokenizerJson>(...path, "tokenizer.json");
  const files = ["llama-bpe", "qwen2", "deepseek-v3", "smollm", "gpt-2"].map((pre) => tokenizerFromGguf(metadataOf(json, pre), "model.gguf"));
  const same = files.find(({ tokenizerJson }) => JSON.stringify([tokenizerJson.normalizer, tokenizerJson.pre_tokenizer]) === JSON.stringify([json.normalizer, json.pre_tokenizer]));

  it("has a pre-tokenizer that is known by name", () => expect(same).toBeDefined());

  test("encodes and decodes every text as it did", () => {
    const tokenizer = createTokenizer(same!.tokenizerJson, same!.tokenizerConfig);
    for (const { text, ids, decoded } of cases) {
      expect(tokenizer.encode(text), text).toEqual(ids);
      expect(tokenizer.decode(ids)).toBe(decoded);
    }
  });
});

/** Four tokens, one merge, BOS and EOS. */
const small = (changes: Readonly<Record<string, unknown>> = {}): Map<string, unknown> => {
  const all = {
    model: "gpt2",
    pre: "gpt-2",
    tokens: ["a", "b", "ab", "<s>", "</s>", "<think>", "[PAD6]"],
    token_type: [1, 1, 1, 3, 3, 4, 5],
    merges: ["a b"],
    bos_token_id: 3,
    eos_token_id: 4,
    ...changes,
  };
  return new Map(Object.entries(all).filter(([, value]) => value !== undefined).map(([key, value]) => [`tokenizer.ggml.${key}`, value]));
};

test("a tokenizer straight from metadata is the one of its two files", () => {
  for (const { path, cases } of golden) {
    const metadata = metadataOf(readFixture<TokenizerJson>(...path, "tokenizer.json"), "deepseek-llm");
    const { tokenizerJson, tokenizerConfig } = tokenizerFromGguf(metadata, "model.gguf");
    const [straight, byFiles] = [ggufTokenizer(metadata, "model.gguf"), createTokenizer(tokenizerJson, tokenizerConfig)];
    expect(straight.vocabSize).toBe(byFiles.vocabSize);
    expect(straight.tokenBytes).toEqual(byFiles.tokenBytes);
    for (const { text } of cases) expect(straight.encode(text, { addSpecialTokens: true }), text).toEqual(byFiles.encode(text, { addSpecialTokens: true }));
  }
});

test("DeepSeek's first split: line ends, letters, Chinese, numbers and punctuation each apart, with the space before a word", () => {
  // The bytes, and merges that would make one token of whatever the split leaves together.
  const whole = ["ĠTeaèĮ¶12345!?ĊĊ", "èĮ¶12345", "12345!?", "!?ĊĊ", "ĊĊ"];
  const grown = whole.flatMap((text) => Array.from({ length: text.length - 1 }, (_, i) => [text.slice(0, i + 1), text[i + 1]!] as const));
  const tokens = [...new Set([...byteToChar, ...grown.map((pair) => pair.join(""))])];
  const { encode } = ggufTokenizer(small({ pre: "deepseek-llm", tokens, token_type: undefined, merges: grown.map((pair) => pair.join(" ")), bos_token_id: null, eos_token_id: null }), "model.gguf");
  expect(encode(" Tea茶12345!?\n\n").map((id) => tokens[id])).toEqual(["ĠTea", "èĮ¶", "12345", "!?", "Ċ", "Ċ"]);
});

/** A tokenizer that keeps together whatever its split leaves together of these texts. */
function splitOnly(pre: string | undefined, words: readonly string[]): (text: string) => string[] {
  const spelled = words.map((word) => toByteChars(word));
  const grown = spelled.flatMap((text) => Array.from({ length: text.length - 1 }, (_, i) => [text.slice(0, i + 1), text[i + 1]!] as const));
  const tokens = [...new Set([...byteToChar, ...grown.map((pair) => pair.join(""))])];
  const { encode, decode } = ggufTokenizer(small({ pre, tokens, token_type: undefined, merges: grown.map((pair) => pair.join(" ")), bos_token_id: null, eos_token_id: null }), "model.gguf");
  return (text) => encode(text).map((id) => decode([id]));
}

// As llama.cpp splits them (llama-cpp-python 0.3.36), and tokenizers 0.23 by the same rules.
test("a file that names no split has llama.cpp's: punctuation apart, digits by three", () => {
  const words = [" tea", "12345", "123", "45", "!?", "$+", " ", "  "];
  for (const pre of [undefined, "default"]) expect(splitOnly(pre, words)(" tea12345!?$+ tea")).toEqual([" tea", "123", "45", "!?", "$+", " tea"]);
});

test("Mistral's split begins a word at its capitals, and takes each digit by itself", () => {
  expect(splitOnly("tekken", ["TeaCup", "Tea", "Cup", " tea", "12", "!?\n/"])("TeaCup tea12!?\n/")).toEqual(["Tea", "Cup", " tea", "1", "2", "!?\n/"]);
  expect(ggufTokenizer(small({ pre: "tekken" }), "model.gguf").encode("ab", { addSpecialTokens: true })).toEqual([3, 2]);
});

test("types of tokens and scores may be packed", () => {
  const kinds = [1, 1, 1, 3, 3, 4, 5];
  const spelled = (changes: Readonly<Record<string, unknown>>): unknown => tokenizerFromGguf(small(changes), "model.gguf").tokenizerJson;
  for (const packed of [Int32Array.from(kinds), Uint32Array.from(kinds)]) expect(spelled({ token_type: packed })).toEqual(spelled({ token_type: kinds }));
  const pieces = { model: "llama", tokens: ["a", "b", "ab", "ba"], token_type: undefined, bos_token_id: null, eos_token_id: null };
  expect(spelled({ ...pieces, scores: Float32Array.of(0, 0, -2, -1) })).toEqual(spelled({ ...pieces, scores: [0, 0, -2, -1] }));
  expect(() => spelled({ token_type: BigInt64Array.of(1n) })).toThrow(expect.objectContaining({ code: "bad_file" }));
});

test("is made in steps, between which others have their turn", () => {
  expect([...ggufTokenizerSteps(small(), "model.gguf")].length).toBeGreaterThan(2);
});

test("tokens without a text have llama.cpp's names, which no other may have", () => {
  expect(() => ggufTokenizer(small({ tokens: ["a", "b", "ab", "", "</s>", "<think>", "[EMPTY_3]"], token_type: undefined }), "model.gguf")).toThrow(expect.objectContaining({ code: "bad_file" }));
  const { encode, decode } = ggufTokenizer(small({ tokens: ["a", "b", "ab", "<s>", "", "<think>", "c"] }), "model.gguf");
  expect([encode("ab[EMPTY_4]"), decode([2, 4])]).toEqual([[2, 4], "ab[EMPTY_4]"]);
  expect(ggufTokenizer(small({ tokens: ["a", "b", "ab", "<s>", "</s>", "", ""], token_type: undefined }), "model.gguf").idOf("[EMPTY_6]")).toBe(6);
});

const tokenizer = (changes?: Readonly<Record<string, unknown>>) => {
  const { tokenizerJson, tokenizerConfig } = tokenizerFromGguf(small(changes), "model.gguf");
  return createTokenizer(tokenizerJson, tokenizerConfig);
};

describe("a tokenizer from metadata", () => {
  it("adds BOS and EOS where the file says so, and BOS where Llama 3's split implies it", () => {
    const encode = (changes?: Readonly<Record<string, unknown>>): number[] => tokenizer(changes).encode("ab", { addSpecialTokens: true });
    expect(encode()).toEqual([2]);
    expect(encode({ add_bos_token: true })).toEqual([3, 2]);
    expect(encode({ add_bos_token: true, add_eos_token: true })).toEqual([3, 2, 4]);
    expect(encode({ pre: "llama-bpe" })).toEqual([3, 2]);
    expect(encode({ pre: "llama-bpe", add_bos_token: false })).toEqual([2]);
  });

  it("keeps think tags when special tokens are skipped, and has no unused tokens", () => {
    const { decode, idOf, specialTokens, vocabSize } = tokenizer();
    expect(decode([3, 5, 2, 4], { skipSpecialTokens: true })).toBe("<think>ab");
    expect([idOf("[PAD6]"), vocabSize]).toEqual([null, 6]);
    expect(specialTokens).toEqual({ bos_token: "<s>", eos_token: "</s>", pad_token: null });
  });

  it("has no token where its id is none of the vocabulary, or of one that is unused", () => {
    const { specialTokens, encode } = ggufTokenizer(small({ bos_token_id: 6, add_bos_token: true }), "model.gguf");
    expect([specialTokens.bos_token, encode("ab", { addSpecialTokens: true })]).toEqual([null, [2]]);
    expect(tokenizer({ bos_token_id: 2 ** 32 - 1, eos_token_id: -1, padding_token_id: 7 }).specialTokens).toEqual({ bos_token: null, eos_token: null, pad_token: null });
  });

  it("has the file's chat template", () => {
    const metadata = small().set("tokenizer.chat_template", "{{ bos_token }}");
    expect(tokenizerFromGguf(metadata, "model.gguf").tokenizerConfig.chat_template).toBe("{{ bos_token }}");
  });

  it.each([
    ["unsupported", { model: "t5" }, "t5"],
    ["unsupported", { pre: "superbpe" }, "superbpe"],
    ["unsupported", { pre: "toString" }, "toString"],
    ["bad_file", { tokens: undefined }, undefined],
    ["bad_file", { tokens: [1, 2] }, undefined],
    ["bad_file", { tokens: ["a", "a"], bos_token_id: null, eos_token_id: null }, "a"],
    ["bad_file", { merges: undefined }, undefined],
    ["bad_file", { merges: ["ab"] }, "ab"],
    ["bad_file", { merges: ["a b", " b"] }, " b"],
    ["bad_file", { merges: ["a "] }, "a "],
    ["bad_file", { merges: [""] }, ""],
    ["bad_file", { merges: ["a b c"] }, "a b c"],
    ["bad_file", { eos_token_id: 0.5 }, undefined],
  ])("is refused, %s: %j", (code, changes, got) => {
    const attempt = (): unknown => tokenizerFromGguf(small(changes), "model.gguf");
    expect(attempt).toThrow(LongjingError);
    expect(attempt).toThrow(expect.objectContaining({ code, facts: expect.objectContaining({ where: expect.stringContaining("model.gguf"), ...(got !== undefined && { got }) }) }));
  });
});

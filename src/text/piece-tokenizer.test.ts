import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it, test } from "vitest";
import { ggufTokenizer, tokenizerFromGguf } from "./gguf-tokenizer.ts";
import { mergePieces } from "./piece-merging.ts";
import { byteToken } from "./piece-tokenizer.ts";
import { tokenizerToGguf } from "./tokenizer-to-gguf.ts";
import { createTokenizer } from "./tokenizer.ts";

interface Golden {
  readonly special: readonly string[];
  readonly pieces: readonly string[];
  /** Text, and its ids with a space before it and without. */
  readonly cases: readonly (readonly [text: string, prefixed: readonly number[], bare: readonly number[]])[];
}

const { special, pieces, cases } = JSON.parse(readFileSync(join(import.meta.dirname, "../../test/llama-pieces.json"), "utf8")) as Golden;
const bytes = Array.from({ length: 256 }, (_, byte) => byteToken(byte));

/** The keys of a file with these tokens; the earlier a piece, the higher its score. */
function metadata(changes: Readonly<Record<string, unknown>> = {}): Map<string, unknown> {
  const tokens = [...special, ...bytes, ...pieces];
  const all = {
    model: "llama",
    tokens,
    scores: tokens.map((_, id) => Math.min(0, special.length + bytes.length - id)),
    token_type: tokens.map((token, id) => (id === 0 ? 2 : token.endsWith("think>") ? 4 : id < special.length ? 3 : id < special.length + bytes.length ? 6 : 1)),
    ...changes,
  };
  return new Map(Object.entries(all).map(([key, value]) => [`tokenizer.ggml.${key}`, value]));
}

const tokenizer = (changes?: Readonly<Record<string, unknown>>) => ggufTokenizer(metadata(changes), "model.gguf");

describe("SentencePiece's tokenizer of a GGUF file", () => {
  const [prefixed, bare] = [tokenizer(), tokenizer({ add_space_prefix: false })];

  it("gives llama.cpp's ids", () => {
    for (const [text, withSpace, without] of cases) {
      expect(prefixed.encode(text), text).toEqual(withSpace);
      expect(bare.encode(text), text).toEqual(without);
    }
  });

  it("reads back what it wrote behind BOS, however it is cut, and says where each token lies", () => {
    for (const [text, ids] of cases) {
      const written = text.replaceAll("\u2581", " ");
      expect(prefixed.decode([1, ...ids], { skipSpecialTokens: false }), text).toBe(`<s>${written}`);
      expect(bare.decode(bare.encode(text))).toBe(written);
      const { push, end } = prefixed.stream();
      expect(ids.map(push).join("") + end()).toBe(prefixed.decode(ids));
      const { offsets } = prefixed.encodeWithOffsets(text);
      for (const [i, [from, to]] of offsets.entries()) expect(from <= to && from <= (offsets[i - 1]?.[1] ?? 0) && to <= text.length, text).toBe(true);
      expect(offsets.at(-1)?.[1] ?? 0).toBe(text.length);
    }
  });

  it("begins with BOS unless the file says otherwise, and has the three tokens that llama.cpp takes for a missing key", () => {
    const ids = prefixed.encode("tea");
    expect(prefixed.encode("tea", { addSpecialTokens: true })).toEqual([1, ...ids]);
    expect(tokenizer({ add_bos_token: false, add_eos_token: true }).encode("tea", { addSpecialTokens: true })).toEqual([...ids, 2]);
    expect(prefixed).toMatchObject({ bosId: 1, eosId: 2, padId: null, specialTokens: { bos_token: "<s>", eos_token: "</s>" } });
  });

  it("takes one token for a run that it cannot spell, where there are none for bytes", () => {
    const words = { tokens: ["<unk>", "<s>", "</s>", "\u2581", "a"], scores: [0, 0, 0, -1, -2], token_type: [2, 3, 3, 1, 1] };
    expect(tokenizer(words).encode("a茶茶a")).toEqual([3, 4, 0, 4]);
    expect(tokenizer(words).encodeWithOffsets("a茶茶a").offsets).toEqual([[0, 0], [0, 1], [1, 3], [3, 4]]);
  });

  it("takes the longest of the added tokens that begin at a place", () => {
    const tokens = ["<unk>", "<s>", "</s>", "\u2581", "a", "<t>", "<t><t>", "t"];
    const { encode } = tokenizer({ tokens, scores: [], token_type: [2, 3, 3, 1, 1, 4, 4, 1], add_space_prefix: false });
    expect(encode("<t><t><t>a<t")).toEqual([6, 5, 4, 0, 7]);
  });

  test("a text is merged by at most three scores for each of its characters", () => {
    let asked = 0;
    const score = (text: string, start: number, _: number, end: number): number | undefined => (asked++, pieces.includes(text.slice(start, end)) ? start - end : undefined);
    const text = "\u2581the\u2581tea".repeat(1000);
    mergePieces(text, { ids: new Map(), score, byteIds: [], unknown: 0 });
    expect(asked).toBeLessThan(3 * text.length);
  });
});

test("a piece that is longer than any real one makes no merges", () => {
  const long = new Map(metadata()).set("tokenizer.ggml.tokens", ["<unk>", "<s>", "</s>", "a".repeat(2 ** 20)]);
  expect(() => tokenizerFromGguf(long, "model.gguf")).toThrow(expect.objectContaining({ code: "unsupported" }));
});

test("the hub's files merge what two pieces make, highest score first", () => {
  const { tokenizerJson } = tokenizerFromGguf(metadata(), "model.gguf");
  const { merges, vocab } = tokenizerJson["model"] as { merges: [string, string][]; vocab: Record<string, number> };
  const made = merges.map((pair) => vocab[pair.join("")]!);
  expect(made).toEqual(made.toSorted((a, b) => a - b));
  expect(new Set(made)).toEqual(new Set(pieces.filter((piece) => [...piece].length > 1).map((piece) => vocab[piece])));
  expect(merges.flat().every((part) => vocab[part] !== undefined)).toBe(true);
});

describe("SentencePiece's tokenizer of a folder", () => {
  const files = tokenizerFromGguf(metadata(), "model.gguf");
  const changed = (change: Readonly<Record<string, unknown>>) => () => createTokenizer({ ...files.tokenizerJson, ...change }, files.tokenizerConfig);

  it("gives the same ids, by its merges", () => {
    const bare = tokenizerFromGguf(metadata({ add_space_prefix: false, add_eos_token: true }), "model.gguf");
    const [prefixed, without] = [createTokenizer(files.tokenizerJson, files.tokenizerConfig), createTokenizer(bare.tokenizerJson, bare.tokenizerConfig)];
    for (const [text, withSpace, ids] of cases) {
      expect(prefixed.encode(text, { addSpecialTokens: true }), text).toEqual([1, ...withSpace]);
      expect(without.encode(text, { addSpecialTokens: true }), text).toEqual([1, ...ids, 2]);
    }
    expect(prefixed.tokenBytes).toEqual(tokenizer().tokenBytes);
  });

  it("is written into a GGUF file by scores that its merges give, with a row for each of the model's", () => {
    const keys = Object.entries(tokenizerToGguf(files, 640)).map(([key, value]) => [key, typeof value === "object" && "f32s" in value ? value.f32s : value] as const);
    const again = ggufTokenizer(new Map<string, unknown>(keys), "again.gguf");
    for (const [text, ids] of cases) expect(again.encode(text), text).toEqual(ids);
    expect(again.tokenBytes.slice(0, special.length + 256 + pieces.length)).toEqual(tokenizer().tokenBytes);
    const { merges, ...model } = files.tokenizerJson["model"] as { merges: unknown[] };
    for (const other of [merges.slice(1), merges.toReversed().slice(1)]) expect(() => tokenizerToGguf({ ...files, tokenizerJson: { ...files.tokenizerJson, model: { ...model, merges: other } } }, 640)).toThrow(expect.objectContaining({ code: "unsupported" }));
    expect(() => tokenizerToGguf(files, 600)).toThrow(expect.objectContaining({ code: "bad_config" }));
  });

  it.each([
    ["a split ahead of the merges", { pre_tokenizer: { type: "Metaspace", replacement: "\u2581", prepend_scheme: "first", split: false } }],
    ["a normalizer of another kind", { normalizer: { type: "Precompiled" } }],
    ["a token that eats the space beside it", { added_tokens: [{ id: 1, content: "<s>", special: true, lstrip: true }] }],
    ["other tokens around a text", { post_processor: { type: "TemplateProcessing", single: [{ SpecialToken: { id: "<unk>", type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }], special_tokens: { "<unk>": { ids: [0] } } } }],
  ])("is refused with %s", (_, change) => {
    expect(changed(change)).toThrow(expect.objectContaining({ code: "unsupported" }));
  });
});

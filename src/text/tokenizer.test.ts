import { readdirSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, it, test } from "vitest";
import { fixture, hasFixture, readFixture } from "../../test/fixtures.ts";
import { LongjingError } from "../errors/index.ts";
import { createTokenizer, type Tokenizer } from "./tokenizer.ts";

interface Cases {
  readonly vocab_size: number;
  readonly bos_token_id: number | null;
  readonly eos_token_id: number | null;
  readonly pad_token_id: number | null;
  readonly cases: readonly {
    readonly text: string;
    readonly ids: number[];
    readonly ids_with_special: number[];
    readonly decoded: string;
    readonly decoded_skip_special: string;
  }[];
  readonly decode_cases: readonly { readonly ids: number[]; readonly text: string }[];
}

function load(name: string): Tokenizer {
  const file = (file: string): unknown => readFixture("tokenizers", name, file);
  return createTokenizer(file("tokenizer.json"), file("tokenizer_config.json"));
}

describe.each(readdirSync(fixture("tokenizers")))("the golden tokenizer %s", (name) => {
  const golden = readFixture<Cases>("tokenizers", name, "cases.json");
  const tokenizer = load(name);

  it("names the same special ids and size", () => {
    const { vocabSize, bosId, eosId, padId } = tokenizer;
    expect({ vocabSize, bosId, eosId, padId }).toEqual({
      vocabSize: golden.vocab_size,
      bosId: golden.bos_token_id,
      eosId: golden.eos_token_id,
      padId: golden.pad_token_id,
    });
  });

  test.each(golden.cases)("encodes and decodes $text", ({ text, ids, ids_with_special, decoded, decoded_skip_special }) => {
    expect(tokenizer.encode(text)).toEqual(ids);
    expect(tokenizer.encode(text, { addSpecialTokens: true })).toEqual(ids_with_special);
    expect(tokenizer.decode(ids)).toBe(decoded);
    expect(tokenizer.decode(ids_with_special, { skipSpecialTokens: true })).toBe(decoded_skip_special);
  });

  test.each(golden.decode_cases)("decodes $ids", ({ ids, text }) => {
    expect(tokenizer.decode(ids)).toBe(text);
  });

  it("streams what it decodes, and never half a character", () => {
    const whole = golden.cases.map(({ ids }) => ids).concat(golden.decode_cases.map(({ ids }) => ids));
    const random = fc.array(fc.nat(golden.vocab_size + 5));
    fc.assert(
      fc.property(fc.oneof(fc.constantFrom(...whole), random), (ids) => {
        const stream = tokenizer.stream();
        const pieces = ids.map((id) => stream.push(id));
        expect(pieces.join("") + stream.end()).toBe(tokenizer.decode(ids));
      }),
    );
    for (const { text, ids, decoded } of golden.cases) {
      if (text.includes("\uFFFD") || decoded.includes("\uFFFD")) continue;
      const stream = tokenizer.stream();
      expect(ids.map((id) => stream.push(id)).join("")).toBe(decoded);
    }
  });

  it("reads back any text that its normaliser leaves alone", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme" }), (text) => {
        const normal = text.normalize("NFC");
        expect(tokenizer.decode(tokenizer.encode(normal))).toBe(normal);
      }),
    );
  });
});

test.runIf(hasFixture("smollm2", "tokenizer_cases.json"))("every Unicode number is a digit, not ASCII's alone", () => {
  const tokenizer = createTokenizer(readFixture("smollm2", "tokenizer.json"), {});
  for (const { text, ids } of readFixture<Cases["cases"]>("smollm2", "tokenizer_cases.json")) expect(tokenizer.encode(text), text).toEqual(ids);
});

it("refuses a file that is not a byte-level BPE tokenizer", () => {
  for (const file of [null, {}, { model: { type: "Unigram", vocab: [] }, added_tokens: [], decoder: null }]) {
    expect(() => createTokenizer(file, {})).toThrow(LongjingError);
  }
});

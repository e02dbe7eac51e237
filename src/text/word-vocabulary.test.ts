import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { LongjingError } from "../errors/index.ts";
import { createTokenizer, type Tokenizer } from "./tokenizer.ts";
import { trainWordVocabulary } from "./word-vocabulary.ts";

function train(texts: readonly string[], vocabSize = 400): Tokenizer {
  const { tokenizerJson, tokenizerConfig } = trainWordVocabulary(texts, { vocabSize });
  return createTokenizer(tokenizerJson, tokenizerConfig);
}
const pieces = (tokenizer: Tokenizer, text: string): string[] => tokenizer.encode(text).map((id) => tokenizer.decode([id]));

describe("trainWordVocabulary", () => {
  const texts = fc.array(fc.array(fc.constantFrom("find", " the", " a", "7", "42", "✅", "龙", "\n", "#", "<think>")).map((parts) => parts.join("")));

  it("reads back any text, trained on whatever", () => {
    fc.assert(
      fc.property(texts, fc.string({ unit: "grapheme" }), (corpus, text) => {
        const tokenizer = train(corpus);
        expect(tokenizer.decode(tokenizer.encode(text))).toBe(text);
      }),
    );
  });

  it("does not depend on the order of the texts", () => {
    fc.assert(fc.property(texts, (corpus) => {
      expect(trainWordVocabulary(corpus.toReversed(), { vocabSize: 300 })).toEqual(trainWordVocabulary(corpus, { vocabSize: 300 }));
    }));
  });

  it("spells what is no frequent word, whatever words are inside", () => {
    const tokenizer = train(["sort the letters", "sort the digits"]);
    expect(pieces(tokenizer, "sort the thesort")).toEqual(["sort", " the", " ", ..."thesort"]);
  });

  it("never joins digits", () => {
    fc.assert(
      fc.property(fc.stringMatching(/^\d{1,12}$/), (number) => {
        expect(pieces(train([number, number, `x ${number} y`]), number)).toEqual([...number]);
      }),
    );
  });

  it("gives a frequent character beyond ASCII one token, alone or beside others", () => {
    const tokenizer = train(["✅❌✅", "❌❌"]);
    expect(pieces(tokenizer, "❌✅❌❌✅")).toEqual([..."❌✅❌❌✅"]);
  });

  it("refuses a vocabulary without room for the bytes", () => {
    expect(() => trainWordVocabulary([], { vocabSize: 256 })).toThrow(LongjingError);
  });
});

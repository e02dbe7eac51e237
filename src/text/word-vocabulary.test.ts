import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { LongjingError } from "../errors/index.ts";
import { createTokenizer, type Tokenizer } from "./tokenizer.ts";
import { sharedPhrases, trainWordVocabulary } from "./word-vocabulary.ts";

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

  describe("with phrases", () => {
    const phrase = fc.stringMatching(/^[ab#_0-9 \n]{2,8}$/);
    const trained = (phrases: readonly string[]): Tokenizer => {
      const { tokenizerJson, tokenizerConfig } = trainWordVocabulary([], { vocabSize: 400, phrases });
      return createTokenizer(tokenizerJson, tokenizerConfig);
    };

    it("makes each one token wherever it stands, and reads back any text", () => {
      fc.assert(
        fc.property(fc.uniqueArray(phrase, { minLength: 1, maxLength: 6 }), fc.string({ unit: "grapheme" }), (phrases, text) => {
          const tokenizer = trained(phrases);
          for (const one of phrases) expect(pieces(tokenizer, one)).toEqual([one]);
          const mixed = phrases.map((one) => text + one).join("");
          expect(tokenizer.decode(tokenizer.encode(mixed))).toBe(mixed);
        }),
      );
    });

    it("takes the longest that begins at a place", () => {
      expect(pieces(trained(["(1, ", "(1", "(1, 2)"]), "(1, 2)(1, 3)(1)")).toEqual(["(1, 2)", "(1, ", "3", ")", "(1", ")"]);
    });

    it("counts no word inside of a phrase", () => {
      const { tokenizerJson, tokenizerConfig } = trainWordVocabulary(["Sort the letters: b", "Sort the letters: c"], { vocabSize: 400, phrases: ["Sort the letters:"] });
      expect(pieces(createTokenizer(tokenizerJson, tokenizerConfig), "Sort the letters: letters")).toEqual(["Sort the letters:", " ", ..."letters"]);
    });
  });
});

describe("sharedPhrases", () => {
  const wording = fc.constantFrom("Count the letters of this list: ", "\n\nGive the whole number only.\n", " and then the letters of this one: ");
  const data = fc.stringMatching(/^[0-9 ]{0,12}$/);

  it("finds what stands in each of the texts", () => {
    fc.assert(
      fc.property(fc.uniqueArray(wording, { minLength: 1 }), fc.array(fc.array(data, { minLength: 4, maxLength: 4 }), { minLength: 2, maxLength: 5 }), (parts, rows) => {
        const texts = rows.map((row) => parts.map((part, i) => row[i]! + part).join("") + row[3]!);
        const found = sharedPhrases(texts);
        for (const phrase of found) expect(texts.every((text) => text.includes(phrase))).toBe(true);
        for (const part of parts) expect(found.some((phrase) => phrase.includes(part.trim()))).toBe(true);
      }),
    );
  });

  it("ends neither inside of a word nor in a line of data", () => {
    expect(sharedPhrases(["Name the capital of Germany", "Name the capital of Ghana"])).toEqual(["Name the capital of "]);
    expect(sharedPhrases(["What is this board?\n[[0,0,1]]", "What is this board?\n[[0,0,0]]"])).toEqual(["What is this board?\n"]);
  });

  it("never halves a character", () => {
    expect(sharedPhrases(["Decode the emoji here: 😀", "Decode the emoji here: 😁"])).toEqual(["Decode the emoji here: "]);
  });

  it("has none of one text", () => {
    expect(sharedPhrases(["There is nothing to compare this with."])).toEqual([]);
  });
});

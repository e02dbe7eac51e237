import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { createTokenizer, middleTokens, trainWordVocabulary } from "../text/index.ts";
import { documentReader } from "./base-documents.ts";

const vocabulary = (fim: boolean) => {
  const files = trainWordVocabulary(["one two three 茶 one two three 茶"], { vocabSize: 300, fim });
  return createTokenizer(files.tokenizerJson, files.tokenizerConfig);
};
const tokenizer = vocabulary(true);
const marks = middleTokens(tokenizer)!;
const eos = tokenizer.eosId!;

describe("plain texts in pretraining", () => {
  test("without gaps are the text and its end", () => {
    const { prompt, completion } = documentReader(tokenizer, 0, () => ({ text: "one two 茶" }), 0)(3);
    expect(prompt).toEqual(tokenizer.encode("", { addSpecialTokens: true }));
    expect(completion).toEqual([...tokenizer.encode("one two 茶"), eos]);
  });

  test("with a gap say every character once: what is before and behind it, then what fills it", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), fc.nat(), (text, index) => {
        const { completion } = documentReader(tokenizer, 1, () => ({ text }), 1)(index);
        const [suffixAt, middleAt] = [completion.indexOf(marks.suffix), completion.indexOf(marks.middle)];
        expect([completion[0], completion.at(-1)]).toEqual([marks.prefix, eos]);
        const part = (from: number, to: number): string => tokenizer.decode(completion.slice(from, to));
        expect(part(1, suffixAt) + part(middleAt + 1, -1) + part(suffixAt + 1, middleAt)).toBe(text);
      }),
      { numRuns: 200 },
    );
  });

  test("have gaps at the rate that is asked for, the same for the same seed and index", () => {
    const read = documentReader(tokenizer, 2, (_, index) => ({ text: `one ${index}` }), 0.3);
    const documents = Array.from({ length: 400 }, (_, index) => read(index));
    const share = documents.filter(({ completion }) => completion.includes(marks.middle)).length / documents.length;
    expect(Math.abs(share - 0.3)).toBeLessThan(5 * Math.sqrt((0.3 * 0.7) / documents.length));
    expect(documents.slice(0, 10).every((document, index) => JSON.stringify(read(index)) === JSON.stringify(document))).toBe(true);
  });

  test("have no gaps where they are questions, nor without tokens for them", () => {
    const asked = documentReader(tokenizer, 0, () => ({ prompt: "one", completion: "two" }), 1)(0);
    expect([...asked.prompt, ...asked.completion]).not.toContain(marks.middle);
    expect(() => documentReader(vocabulary(false), 0, () => ({ text: "one" }), 0.1)).toThrow(/no tokens for a gap/);
  });
});

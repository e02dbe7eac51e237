import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { LongjingError } from "../errors/index.ts";
import { ownTokens, trainBpe } from "./bpe.ts";
import { byteToChar, toByteChars, tokenBytes } from "./bytes.ts";
import { createTokenizer, type Tokenizer } from "./tokenizer.ts";
import { tags } from "./transcript.ts";

const added = [...Object.values(ownTokens), ...Object.values(tags)];

function train(texts: Iterable<string>, vocabSize = 400, minFrequency = 2): Tokenizer {
  const { tokenizerJson, tokenizerConfig } = trainBpe(texts, { vocabSize, minFrequency });
  return createTokenizer(tokenizerJson, tokenizerConfig);
}

function mergesOf(texts: Iterable<string>, vocabSize: number, minFrequency?: number): unknown {
  const options = minFrequency === undefined ? { vocabSize } : { vocabSize, minFrequency };
  return (trainBpe(texts, options).tokenizerJson.model as { merges: unknown }).merges;
}

describe("trainBpe", () => {
  const corpus = fc.array(fc.array(fc.constantFrom("a", "b", "ab", " ", "1", "23", "龙", "\n", "<think>")).map((parts) => parts.join("")));

  it("merges what counting afresh before each merge would merge", () => {
    fc.assert(
      fc.property(corpus, fc.integer({ min: 1, max: 3 }), (texts, minFrequency) => {
        expect(mergesOf(texts, 256 + added.length + 8, minFrequency)).toEqual(naiveMerges(texts, 8, minFrequency));
      }),
    );
  });

  it("does not depend on the order of the texts", () => {
    fc.assert(
      fc.property(corpus, (texts) => {
        expect(mergesOf(texts.toReversed(), 300)).toEqual(mergesOf(texts, 300));
      }),
    );
  });

  it("reads back any text, trained on whatever", () => {
    fc.assert(
      fc.property(corpus, fc.string({ unit: "grapheme" }), (texts, text) => {
        const tokenizer = train(texts);
        expect(tokenizer.decode(tokenizer.encode(text))).toBe(text);
      }),
      { numRuns: 30 },
    );
  });

  it("keeps added tokens whole, numbers of up to three digits whole, and longer ones apart by threes", () => {
    const texts = Array.from({ length: 2000 }, (_, i) => `${i % 1000} `);
    const tokenizer = train(texts, 2000);
    for (const token of added) expect(tokenizer.encode(token)).toEqual([tokenizer.idOf(token)]);
    for (let i = 0; i < 1000; i++) expect(tokenizer.encode(`${i}`)).toHaveLength(1);
    expect(tokenizer.encode("<think>12+345=357</think>").map((id) => tokenizer.decode([id]))).toEqual(
      ["<think>", "12", "+", "345", "=", "357", "</think>"],
    );
    expect(tokenizer.encode("1234567").map((id) => tokenizer.decode([id]))).toEqual(["123", "456", "7"]);
  });

  it("fills the vocabulary while there is something to merge, and never beyond", () => {
    const texts = ["the cat sat on the mat", "the cat sat on the mat"];
    expect(train(texts, 270).vocabSize).toBe(270);
    expect(train(texts, 10_000).vocabSize).toBeLessThan(300);
    expect(train([], 10_000).vocabSize).toBe(256 + added.length);
    expect(() => trainBpe(texts, { vocabSize: 256 })).toThrow(LongjingError);
  });

  it("puts BOS before a text on request, and hides it but no tag when special tokens are skipped", () => {
    const tokenizer = train(["x"]);
    const ids = tokenizer.encode("<think>x</think>", { addSpecialTokens: true });
    expect(ids[0]).toBe(tokenizer.bosId);
    expect(tokenizer.decode([...ids, tokenizer.eosId as number], { skipSpecialTokens: true })).toBe("<think>x</think>");
  });
});

it("bytes have one character each, and tokens outside of the alphabet their own bytes", () => {
  expect(new Set(byteToChar).size).toBe(256);
  fc.assert(
    fc.property(fc.string({ unit: "grapheme" }), (text) => {
      expect(tokenBytes(toByteChars(text))).toEqual(new TextEncoder().encode(text));
    }),
  );
  expect(tokenBytes("<｜User｜>")).toEqual(new TextEncoder().encode("<｜User｜>"));
});

/** BPE by the book: count every pair of every occurrence of every word, merge the best, start over. */
function naiveMerges(texts: readonly string[], most: number, minFrequency: number): [string, string][] {
  const rank = new Map(byteToChar.toSorted().map((char, id) => [char, id]));
  const split = /[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|\s*[\r\n]+|\s+(?!\S)|\s+/gu;
  let words = texts.flatMap((text) => text.split("<think>").flatMap((part) => part.match(split) ?? [])).map((word) => [...toByteChars(word)]);
  const merges: [string, string][] = [];
  while (merges.length < most) {
    const counts = new Map<string, number>();
    for (const word of words) {
      for (let i = 1; i < word.length; i++) {
        const pair = JSON.stringify([word[i - 1], word[i]]);
        counts.set(pair, (counts.get(pair) ?? 0) + 1);
      }
    }
    const order = ([left, right]: [string, string]): number => (rank.get(left) as number) * 1e6 + (rank.get(right) as number);
    const [best] = [...counts]
      .filter(([, count]) => count >= minFrequency)
      .map(([pair, count]) => ({ pair: JSON.parse(pair) as [string, string], count }))
      .toSorted((a, b) => b.count - a.count || order(a.pair) - order(b.pair));
    if (best === undefined) break;
    const merged = best.pair.join("");
    if (!rank.has(merged)) rank.set(merged, rank.size);
    merges.push(best.pair);
    words = words.map((word) => {
      const out: string[] = [];
      for (let i = 0; i < word.length; i++) {
        const hit = word[i] === best.pair[0] && word[i + 1] === best.pair[1];
        out.push(hit ? merged : (word[i] as string));
        if (hit) i++;
      }
      return out;
    });
  }
  return merges;
}

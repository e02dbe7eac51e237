import { LongjingError } from "../errors/index.ts";
import { byteToChar, toByteChars } from "./bytes.ts";
import { addedTokens, countWords, tokenizerFiles, type TokenizerFiles } from "./bpe.ts";

export interface WordVocabularyOptions {
  /** Most tokens: 256 bytes, the added tokens, frequent characters beyond ASCII, frequent words. */
  readonly vocabSize: number;
  /** What is seen less often gets no token. Default 2. */
  readonly minFrequency?: number;
  /** As `BpeOptions` has it. */
  readonly fim?: boolean;
}

/**
 * A byte-level vocabulary of whole words: what occurs often between two borders of the split is one token, and everything else
 * is spelled byte by byte, or character by character beyond ASCII. So the fixed wording of prompts is cheap, while digits,
 * letters and symbols of a problem's data are always spelled in the same way, whatever stands beside them; a small model
 * learns to copy and count only what is spelled consistently. Numbers never become words.
 *
 * The files are those of a BPE tokenizer whose merges build characters; words are found by `ignore_merges`.
 */
export function trainWordVocabulary(texts: Iterable<string>, { vocabSize, minFrequency = 2, fim = false }: WordVocabularyOptions): TokenizerFiles {
  const added = addedTokens(fim);
  const smallest = byteToChar.length + added.length;
  if (!Number.isSafeInteger(vocabSize) || vocabSize < smallest) {
    const expected = `at least ${smallest}: 256 bytes and ${added.length} added tokens`;
    throw new LongjingError("bad_argument", "the vocabulary is too small", { got: vocabSize, expected });
  }
  const words = countWords(texts, added);
  const characters = new Map<string, number>();
  for (const [word, count] of words) for (const char of word.match(/[^\0-\x7f]/gu) ?? []) characters.set(char, (characters.get(char) ?? 0) + count);

  const vocab = byteToChar.toSorted();
  const known = new Set(vocab);
  const merges: [string, string][] = [];
  const room = (): boolean => vocab.length < vocabSize - added.length;
  const add = (token: string): void => {
    if (known.has(token)) return;
    known.add(token);
    vocab.push(token);
  };
  for (const char of frequent(characters, minFrequency)) {
    const bytes = toByteChars(char);
    for (let end = 2; end <= bytes.length && room(); end++) {
      const [left, right] = [bytes.slice(0, end - 1), bytes.slice(end - 1, end)];
      if (!known.has(left + right)) merges.push([left, right]);
      add(left + right);
    }
  }
  for (const word of frequent(words, minFrequency)) {
    if (!room()) break;
    if (!/\p{N}/u.test(word)) add(toByteChars(word));
  }
  return tokenizerFiles(vocab, merges, added);
}

/** Keys by falling count; equal counts in the order of their text, so that the result does not hang on the order of the texts. */
function frequent(counts: ReadonlyMap<string, number>, least: number): string[] {
  const kept = [...counts].filter(([, count]) => count >= least);
  return kept.sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1)).map(([key]) => key);
}

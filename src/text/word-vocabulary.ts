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
  /**
   * Texts that are one token each wherever they stand, words and borders or not: the wording that all prompts of a kind share
   * (`sharedPhrases`), or a row of a board that is one thing to the model. The longest wins.
   */
  readonly phrases?: readonly string[];
}

/**
 * A byte-level vocabulary of whole words: what occurs often between two borders of the split is one token, and everything else
 * is spelled byte by byte, or character by character beyond ASCII. So the fixed wording of prompts is cheap, while digits,
 * letters and symbols of a problem's data are always spelled in the same way, whatever stands beside them; a small model
 * learns to copy and count only what is spelled consistently. Numbers never become words.
 *
 * The files are those of a BPE tokenizer whose merges build characters; words are found by `ignore_merges`.
 */
export function trainWordVocabulary(texts: Iterable<string>, { vocabSize, minFrequency = 2, fim = false, phrases = [] }: WordVocabularyOptions): TokenizerFiles {
  const added = [...new Set([...addedTokens(fim), ...phrases])];
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

export interface SharedPhrasesOptions {
  /** Characters of the shortest that is wanted. Default 16. */
  readonly minLength?: number;
  /** What a phrase has to contain. Default: a word of three letters, so that what is data in every text stays spelled. */
  readonly containing?: RegExp;
}

/**
 * What all of the texts say in the same words, from left to right, each as long as it can be: the fixed parts of the prompts of
 * one kind. A phrase ends neither inside of a word nor in a line that it has begun without saying what is wanted: that is data.
 */
export function sharedPhrases(texts: readonly string[], { minLength = 16, containing = /\p{L}{3}/u }: SharedPhrasesOptions = {}): string[] {
  const [shortest, ...others] = texts.toSorted((a, b) => a.length - b.length);
  if (shortest === undefined || others.length === 0) return [];
  const characters = [...shortest];
  const shared = (from: number, to: number): boolean => {
    const piece = characters.slice(from, to).join("");
    return others.every((text) => text.includes(piece));
  };
  const found: string[] = [];
  for (let from = 0; from + minLength <= characters.length; ) {
    let to = from + minLength;
    if (!shared(from, to)) {
      from++;
      continue;
    }
    while (to < characters.length && shared(from, to + 1)) to++;
    const end = phraseEnd(characters, from, to, containing);
    const phrase = characters.slice(from, end).join("");
    const wanted = end - from >= minLength && containing.test(phrase);
    if (wanted) found.push(phrase);
    from = wanted ? end : to;
  }
  return [...new Set(found)];
}

function phraseEnd(characters: readonly string[], from: number, to: number, containing: RegExp): number {
  let end = to;
  if (isWordCharacter(characters[end])) while (end > from && isWordCharacter(characters[end - 1])) end--;
  const line = characters.lastIndexOf("\n", end - 1) + 1;
  return line > from && line < end && !containing.test(characters.slice(line, end).join("")) ? line : end;
}

const isWordCharacter = (char: string | undefined): boolean => char !== undefined && /[\p{L}\p{N}]/u.test(char);

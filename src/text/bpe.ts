import { LongjingError } from "../errors/index.ts";
import { byteToChar, toByteChars } from "./bytes.ts";
import { longjingTemplate } from "./chat-template.ts";
import { middleMarks } from "./fill-in-middle.ts";
import { tags } from "./transcript.ts";

/** The tokens of our own models that no merge makes and no text is split across. */
export const ownTokens = {
  bos: "<|bos|>",
  eos: "<|eos|>",
  pad: "<|pad|>",
  user: "<|user|>",
  assistant: "<|assistant|>",
} as const;

/** Behind the vocabulary of each of our tokenizers, in this order. */
export const addedTokens = (fim: boolean): readonly string[] => [...Object.values(ownTokens), ...Object.values(tags), ...(fim ? middleMarks[1] : [])];

export interface BpeOptions {
  /** Size of the vocabulary, with the 256 bytes and the added tokens; smaller only when the texts have no more to merge. */
  readonly vocabSize: number;
  /** A pair that is seen less often is never merged. Default 2. */
  readonly minFrequency?: number;
  /** Also the tokens that mark a gap in a text, for `fim_rate` in pretraining. Default false. */
  readonly fim?: boolean;
}

/** The two files of a tokenizer on the hub, parsed. */
export interface TokenizerFiles {
  readonly tokenizerJson: Readonly<Record<string, unknown>>;
  readonly tokenizerConfig: Readonly<Record<string, unknown>>;
}

/** Llama 3's split: words with the mark before them, runs of up to three digits, runs of punctuation, white space. */
export const llama3Split = String.raw`(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`;

/** The same; JavaScript has no case-insensitive group before V8 12.5. */
const words = new RegExp(llama3Split.replace(/^\(\?i:.*?\)/, "'(?:[sStTmMdD]|[rR][eE]|[vV][eE]|[lL][lL])"), "gu");

/**
 * Trains byte-level BPE (Sennrich et al., 1508.07909, over bytes as in GPT-2). Deterministic: of the most frequent pairs the
 * one with the smallest ids is merged first. Texts are read once, and each distinct word is merged once.
 *
 * The result is a Hugging Face tokenizer with Llama 3's split, which transformers, vLLM and llama.cpp ("llama-bpe") know.
 */
export function trainBpe(texts: Iterable<string>, { vocabSize, minFrequency = 2, fim = false }: BpeOptions): TokenizerFiles {
  const added = addedTokens(fim);
  const smallest = byteToChar.length + added.length;
  if (!Number.isSafeInteger(vocabSize) || vocabSize < smallest) {
    const expected = `at least ${smallest}: 256 bytes and ${added.length} added tokens`;
    throw new LongjingError("bad_argument", "the vocabulary is too small", { got: vocabSize, expected });
  }
  const vocab = byteToChar.toSorted();
  const merges = mergePairs(countWords(texts, added), vocab, vocabSize - added.length, minFrequency);
  return tokenizerFiles(vocab, merges, added);
}

/** How often each word occurs, a word being what the split leaves between added tokens. */
export function countWords(texts: Iterable<string>, added: readonly string[]): Map<string, number> {
  // The longest of those that begin at one place, as a tokenizer finds them.
  const longestFirst = added.toSorted((a, b) => b.length - a.length);
  const boundary = new RegExp(longestFirst.map((token) => token.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&")).join("|"), "u");
  const counts = new Map<string, number>();
  for (const text of texts) {
    for (const part of text.split(boundary)) {
      for (const word of part.match(words) ?? []) counts.set(word, (counts.get(word) ?? 0) + 1);
    }
  }
  return counts;
}

interface Word {
  ids: number[];
  readonly count: number;
}

/** Ids stay below this, so that a pair of them is one number. */
const pairBase = 2 ** 21;

/** Appends merged tokens to `vocab` until it has `size` entries; returns the pairs in order. */
function mergePairs(counts: ReadonlyMap<string, number>, vocab: string[], size: number, minFrequency: number): [string, string][] {
  const idOf = new Map(vocab.map((token, id) => [token, id]));
  const corpus: Word[] = [...counts].map(([word, count]) => ({
    ids: [...toByteChars(word)].map((char) => idOf.get(char) as number),
    count,
  }));
  const pairs = new PairTable();
  for (const word of corpus) pairs.count(word, 1);
  const merges: [string, string][] = [];
  while (vocab.length < size) {
    const pair = pairs.best(minFrequency);
    if (pair === null) break;
    const [left, right] = [Math.floor(pair / pairBase), pair % pairBase];
    const [first, second] = [vocab[left] as string, vocab[right] as string];
    // Two ways of merging can spell the same token; the vocabulary holds it once.
    const merged = idOf.get(first + second) ?? vocab.length;
    if (merged === vocab.length) {
      vocab.push(first + second);
      idOf.set(first + second, merged);
    }
    merges.push([first, second]);
    for (const word of pairs.wordsWith(pair)) {
      pairs.count(word, -1);
      word.ids = replacePair(word.ids, left, right, merged);
      pairs.count(word, 1);
    }
  }
  return merges;
}

function replacePair(ids: readonly number[], left: number, right: number, merged: number): number[] {
  const out: number[] = [];
  for (let i = 0; i < ids.length; i++) {
    const hit = ids[i] === left && ids[i + 1] === right;
    out.push(hit ? merged : (ids[i] as number));
    if (hit) i++;
  }
  return out;
}

/** How often each pair of neighbours occurs, and in which words. */
class PairTable {
  readonly #counts = new Map<number, number>();
  readonly #words = new Map<number, Set<Word>>();

  count(word: Word, sign: 1 | -1): void {
    for (let i = 1; i < word.ids.length; i++) {
      const pair = (word.ids[i - 1] as number) * pairBase + (word.ids[i] as number);
      const count = (this.#counts.get(pair) ?? 0) + sign * word.count;
      if (count === 0) {
        this.#counts.delete(pair);
        this.#words.delete(pair);
        continue;
      }
      this.#counts.set(pair, count);
      if (sign < 0) continue;
      const holders = this.#words.get(pair);
      if (holders === undefined) this.#words.set(pair, new Set([word]));
      else holders.add(word);
    }
  }

  /** A copy; a word may have lost the pair since, which does no harm. */
  wordsWith(pair: number): Word[] {
    return [...(this.#words.get(pair) ?? [])];
  }

  best(minFrequency: number): number | null {
    let best: number | null = null;
    let most = minFrequency;
    for (const [pair, count] of this.#counts) {
      if (count < most || (count === most && best !== null && pair > best)) continue;
      best = pair;
      most = count;
    }
    return best;
  }
}

/** @param added tokens behind the vocabulary */
export function tokenizerFiles(vocab: readonly string[], merges: readonly [string, string][], added: readonly string[]): TokenizerFiles {
  const marked = added.map((content, i) => ({
    id: vocab.length + i,
    content,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    // Tags are part of what a model says, so they must survive skip_special_tokens.
    special: content.startsWith("<|"),
  }));
  const bos = { id: ownTokens.bos, ids: [vocab.length + added.indexOf(ownTokens.bos)], tokens: [ownTokens.bos] };
  const start = { SpecialToken: { id: ownTokens.bos, type_id: 0 } };
  const sequence = (id: "A" | "B"): object => ({ Sequence: { id, type_id: 0 } });
  return {
    tokenizerJson: {
      version: "1.0",
      truncation: null,
      padding: null,
      added_tokens: marked,
      normalizer: null,
      pre_tokenizer: {
        type: "Sequence",
        pretokenizers: [
          { type: "Split", pattern: { Regex: llama3Split }, behavior: "Isolated", invert: false },
          { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: false },
        ],
      },
      post_processor: {
        type: "TemplateProcessing",
        single: [start, sequence("A")],
        pair: [start, sequence("A"), sequence("B")],
        special_tokens: { [ownTokens.bos]: bos },
      },
      decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
      model: {
        type: "BPE",
        dropout: null,
        unk_token: null,
        continuing_subword_prefix: null,
        end_of_word_suffix: null,
        fuse_unk: false,
        byte_fallback: false,
        // As llama.cpp does for this split.
        ignore_merges: true,
        vocab: Object.fromEntries(vocab.map((token, id) => [token, id])),
        merges,
      },
    },
    tokenizerConfig: {
      tokenizer_class: "PreTrainedTokenizerFast",
      bos_token: ownTokens.bos,
      eos_token: ownTokens.eos,
      pad_token: ownTokens.pad,
      add_bos_token: true,
      clean_up_tokenization_spaces: false,
      chat_template: longjingTemplate,
    },
  };
}

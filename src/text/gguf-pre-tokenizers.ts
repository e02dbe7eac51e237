import { llama3Split } from "./bpe.ts";

/** Of `tokenizer.ggml.token_type`. */
export const tokenTypes = { normal: 1, control: 3, userDefined: 4, unused: 5 };

/** What a pre-tokenizer of llama.cpp does, as tokenizer.json says it. */
export interface PreTokenizer {
  readonly normalizer?: object;
  /** Splits ahead of the bytes. */
  readonly splits: readonly object[];
  /** GPT-2's own split. */
  readonly gpt2?: true;
  /** A word that is in the vocabulary is one token, whatever the merges say. */
  readonly ignoreMerges?: true;
}

const split = (regex: string): object => ({ type: "Split", pattern: { Regex: regex }, behavior: "Isolated", invert: false });

/** What turns text into bytes, and at the end of GPT-2's own split. */
export const byteLevel = (use_regex: boolean): object => ({ type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex });

const llama3: PreTokenizer = { splits: [split(llama3Split)], ignoreMerges: true };
const qwen2: PreTokenizer = { normalizer: { type: "NFC" }, splits: [split(llama3Split.replace("{1,3}", ""))] };
const gpt2: PreTokenizer = { splits: [], gpt2: true };
const digitsApart: PreTokenizer = { splits: [{ type: "Digits", individual_digits: true }], gpt2: true };

/** By the names that llama.cpp gives them in `tokenizer.ggml.pre`; the first of several for one is the one that is written. */
export const preTokenizers: Readonly<Record<string, PreTokenizer>> = {
  "llama-bpe": llama3,
  llama3,
  "llama-v3": llama3,
  dbrx: { splits: llama3.splits },
  qwen2,
  "deepseek-r1-qwen": qwen2,
  "gpt-2": gpt2,
  "phi-2": gpt2,
  smollm: digitsApart,
  starcoder: digitsApart,
  refact: digitsApart,
  "command-r": digitsApart,
  "deepseek-coder": { splits: [String.raw`[\r\n]`, String.raw`\s?\p{L}+`, String.raw`\s?\p{P}+`, "[一-龥ࠀ-一가-퟿]+", String.raw`\p{N}`].map(split) },
  "deepseek-v3": {
    splits: [
      split(String.raw`\p{N}{1,3}`),
      split("[一-龥぀-ゟ゠-ヿ]+"),
      split(
        "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
      ),
    ],
  },
};

/** As llama.cpp: Llama 3's tokenizer begins a text with BOS unless the file says otherwise. */
export const startsWithBos = (pre: PreTokenizer): boolean => pre === llama3;

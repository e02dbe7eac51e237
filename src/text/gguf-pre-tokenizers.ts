import { llama3Split } from "./bpe.ts";

/** Of `tokenizer.ggml.token_type`. */
export const tokenTypes = { normal: 1, unknown: 2, control: 3, userDefined: 4, unused: 5, byte: 6 };

/** What a pre-tokenizer of llama.cpp does, as tokenizer.json says it. */
export interface PreTokenizer {
  readonly normalizer?: object;
  /** Splits ahead of the bytes. */
  readonly splits: readonly object[];
  /** GPT-2's own split. */
  readonly gpt2?: true;
  /** A word that is in the vocabulary is one token, whatever the merges say. */
  readonly ignoreMerges?: true;
  /** A text begins with BOS unless the file says otherwise. */
  readonly addBos?: true;
}

const split = (regex: string): object => ({ type: "Split", pattern: { Regex: regex }, behavior: "Isolated", invert: false });

/** What turns text into bytes, and at the end of GPT-2's own split. */
export const byteLevel = (use_regex: boolean): object => ({ type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex });

const llama3: PreTokenizer = { splits: [split(llama3Split)], ignoreMerges: true, addBos: true };
const qwen2: PreTokenizer = { normalizer: { type: "NFC" }, splits: [split(llama3Split.replace("{1,3}", ""))] };
const gpt2: PreTokenizer = { splits: [], gpt2: true };
const digitsApart: PreTokenizer = { splits: [{ type: "Digits", individual_digits: true }], gpt2: true };

/** GPT-2's own split, where others follow it. */
const gpt2Split = String.raw`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)`;
/** Mistral's: a word begins with its capitals and goes on in small letters. */
const tekkenSplit = String.raw`[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`;

/**
 * Letters with case, as DeepSeek's first tokenizers list them. By code point: composing or decomposing this file would change
 * some of them.
 */
const casedLetters = [
  "A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-\u02af\u0370-\u0373\u0376\u0377\u037b-\u037d\u037f",
  "\u0386\u0388-\u038a\u038c\u038e-\u03a1\u03a3-\u03f5\u03f7-\u0481\u048a-\u052f\u0531-\u0556\u10a0-\u10c5\u13a0-\u13f5\u13f8-\u13fd\u1c90-\u1cba\u1cbd-\u1cbf",
  "\u1d00-\u1d2b\u1d6b-\u1d77\u1d79-\u1d9a\u1e00-\u1f15\u1f18-\u1f1d\u1f20-\u1f45\u1f48-\u1f4d\u1f50-\u1f57\u1f59\u1f5b\u1f5d\u1f5f-\u1f7d\u1f80-\u1fb4",
  "\u1fb6-\u1fbc\u1fbe\u1fc2-\u1fc4\u1fc6-\u1fcc\u1fd0-\u1fd3\u1fd6-\u1fdb\u1fe0-\u1fec\u1ff2-\u1ff4\u1ff6-\u1ffc\u2102\u2107\u210a-\u2113\u2115",
  "\u2119-\u211d\u2124\u2126\u2128\u212a-\u212d\u212f-\u2134\u2139\u213c-\u213f\u2145-\u2149\u214e\u2183\u2184\u2c00-\u2c7b\u2c7e-\u2ce4\u2ceb-\u2cee\u2cf2\u2cf3",
  "\ua640-\ua66d\ua680-\ua69b\ua722-\ua76f\ua771-\ua787\ua78b-\ua78e\uab70-\uabbf\ufb00-\ufb06\ufb13-\ufb17\uff21-\uff3a\uff41-\uff5a",
  "\u{10400}-\u{1044f}\u{104b0}-\u{104d3}\u{104d8}-\u{104fb}\u{10c80}-\u{10cb2}\u{10cc0}-\u{10cf2}\u{118a0}-\u{118df}\u{1e900}-\u{1e943}",
].join("");

/** By the names that llama.cpp gives them in `tokenizer.ggml.pre`; the first of several for one is the one that is written. */
export const preTokenizers: Readonly<Record<string, PreTokenizer>> = {
  // What llama.cpp does for a file that names none.
  default: { splits: [String.raw`[\p{P}\$\+<=>\^~\|]+`, gpt2Split, String.raw`\p{N}+`, "[0-9][0-9][0-9]"].map(split) },
  tekken: { splits: [split(tekkenSplit)], ignoreMerges: true, addBos: true },
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
  "deepseek-llm": { splits: [String.raw`[\r\n]`, `\\s?[${casedLetters}]+`, "\\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+", String.raw`\s+$`, "[一-龥ࠀ-一가-퟿]+", String.raw`\p{N}+`].map(split) },
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

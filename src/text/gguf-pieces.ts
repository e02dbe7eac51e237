import { LongjingError } from "../errors/index.ts";
import type { TokenizerFiles } from "./bpe.ts";
import { tokenTypes as types } from "./gguf-pre-tokenizers.ts";
import type { GgufTokenizerKeys } from "./gguf-tokenizer-keys.ts";
import { byteToken, longestPiece, spaceMark, splitsOf, type PieceVocabulary } from "./piece-tokenizer.ts";
import { postProcessor } from "./tokenizer-file.ts";

/** The vocabulary of a GGUF file whose `tokenizer.ggml.model` is "llama", with what llama.cpp takes for a key that is missing. */
export function readPieces(given: GgufTokenizerKeys, tokens: readonly string[]): PieceVocabulary {
  const kinds = given["tokenizer.ggml.token_type"] ?? [];
  const id = (name: "bos" | "eos" | "unknown" | "padding", otherwise: number | null): number | null => {
    const found = given[`tokenizer.ggml.${name}_token_id`];
    return [found, otherwise].find((each) => each !== null && each !== undefined && tokens[each] !== undefined) ?? null;
  };
  const marked = tokens.flatMap((content, index) => {
    const special = kinds[index] === types.control || kinds[index] === types.unknown;
    return special || kinds[index] === types.userDefined ? [{ id: index, content, special }] : [];
  });
  return {
    tokens,
    order: { scores: given["tokenizer.ggml.scores"] ?? [] },
    byteFallback: true,
    added: marked,
    unknown: id("unknown", 0),
    bos: id("bos", 1),
    eos: id("eos", 2),
    pad: id("padding", null),
    addBos: given["tokenizer.ggml.add_bos_token"] ?? true,
    addEos: given["tokenizer.ggml.add_eos_token"],
    spacePrefix: given["tokenizer.ggml.add_space_prefix"],
    chatTemplate: given["tokenizer.chat_template"] ?? null,
  };
}

/** The two files of the hub for such a vocabulary, as transformers converts SentencePiece's own file. */
export function pieceFiles(vocabulary: PieceVocabulary): TokenizerFiles {
  const { tokens, added, unknown, bos, eos, pad, addBos, addEos, spacePrefix, chatTemplate } = vocabulary;
  const nameOf = (id: number | null): string | null => (id === null ? null : (tokens[id] ?? null));
  const ids = new Map(tokens.map((token, id) => [token, id]));
  const mark = { String: spaceMark };
  return {
    tokenizerJson: {
      version: "1.0",
      truncation: null,
      padding: null,
      added_tokens: added.map((token) => ({ ...token, single_word: false, lstrip: false, rstrip: false, normalized: false })),
      normalizer: { type: "Sequence", normalizers: [...(spacePrefix ? [{ type: "Prepend", prepend: spaceMark }] : []), { type: "Replace", pattern: { String: " " }, content: spaceMark }] },
      pre_tokenizer: null,
      post_processor: postProcessor(addBos ? nameOf(bos) : null, addEos ? nameOf(eos) : null, ids),
      decoder: {
        type: "Sequence",
        decoders: [{ type: "Replace", pattern: mark, content: " " }, { type: "ByteFallback" }, { type: "Fuse" }, ...(spacePrefix ? [{ type: "Strip", content: " ", start: 1, stop: 0 }] : [])],
      },
      model: {
        type: "BPE",
        dropout: null,
        unk_token: nameOf(unknown),
        continuing_subword_prefix: null,
        end_of_word_suffix: null,
        fuse_unk: true,
        byte_fallback: vocabulary.byteFallback && tokens.includes(byteToken(0)),
        ignore_merges: false,
        vocab: Object.fromEntries(ids),
        merges: mergesOf(vocabulary, ids),
      },
    },
    tokenizerConfig: {
      tokenizer_class: "PreTrainedTokenizerFast",
      bos_token: nameOf(bos),
      eos_token: nameOf(eos),
      pad_token: nameOf(pad),
      unk_token: nameOf(unknown),
      add_bos_token: addBos,
      add_eos_token: addEos,
      clean_up_tokenization_spaces: false,
      ...(chatTemplate !== null && { chat_template: chatTemplate }),
    },
  };
}

/** Every split of a piece into two others, the highest score of a piece first. */
function mergesOf({ tokens, order: ordered }: PieceVocabulary, ids: ReadonlyMap<string, number>): [string, string][] {
  const scores = "scores" in ordered ? ordered.scores : [];
  const long = tokens.find((token) => token.length > longestPiece);
  if (long !== undefined) throw new LongjingError("unsupported", "A piece is too long to be merged from others", { got: `${long.length} characters`, expected: `${longestPiece} at most`, where: "tokenizer.ggml.tokens" });
  const order = tokens.map((_, id) => id).toSorted((a, b) => (scores[b] ?? 0) - (scores[a] ?? 0));
  return order.flatMap((id) => splitsOf(tokens[id]!, ids).toSorted(([a, c], [b, d]) => ids.get(a)! - ids.get(b)! || ids.get(c)! - ids.get(d)!));
}

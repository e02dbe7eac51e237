import { LongjingError } from "../errors/index.ts";
import type { TokenizerFiles } from "./bpe.ts";
import { pieceFiles, readPieces } from "./gguf-pieces.ts";
import { readTokenizerKeys, type GgufTokenizerKeys } from "./gguf-tokenizer-keys.ts";
import { pieceTokenizer } from "./piece-tokenizer.ts";
import { assembleTokenizer, type Tokenizer } from "./tokenizer.ts";
import { postProcessor } from "./tokenizer-file.ts";
import { byteLevel, preTokenizers, tokenTypes as types, type PreTokenizer } from "./gguf-pre-tokenizers.ts";

/**
 * The two files of a tokenizer on the hub, from the metadata of a GGUF file.
 * @param where the file, for messages
 * @throws LongjingError "bad_file" for keys that are missing or malformed; "unsupported" for a tokenizer that is neither
 *   byte-level BPE nor SentencePiece's, or whose pre-tokenizer we do not know
 */
export function tokenizerFromGguf(metadata: ReadonlyMap<string, unknown>, where: string): TokenizerFiles {
  const given = readTokenizerKeys(metadata, where);
  if (isPieces(given)) return pieceFiles(readPieces(given, readTexts(given, where)));
  const { file, config, ids, merges } = readTokenizer(given, where);
  const pairs = merges.map((merge) => merge.split(" "));
  return { tokenizerJson: { ...file, model: { ...file.model, vocab: Object.fromEntries(ids), merges: pairs } }, tokenizerConfig: config };
}

/** The tokenizer of a GGUF file, ready to use: what `createTokenizer` makes of its two files, several times sooner. */
export const ggufTokenizer = (metadata: ReadonlyMap<string, unknown>, where: string): Tokenizer => readGgufTokenizer(metadata, where)();

/** The same in two steps of some length each, for who has something to do between them: what is read is checked, then made into a tokenizer. */
export function readGgufTokenizer(metadata: ReadonlyMap<string, unknown>, where: string): () => Tokenizer {
  const given = readTokenizerKeys(metadata, where);
  if (isPieces(given)) {
    const pieces = readPieces(given, readTexts(given, where));
    return () => pieceTokenizer(pieces);
  }
  const { merges, ...parts } = readTokenizer(given, where);
  return () => {
    const ranks = new Map<string, number>();
    for (let rank = 0; rank < merges.length; rank++) ranks.set(merges[rank]!, rank);
    return assembleTokenizer({ ...parts, ranks });
  };
}

/** SentencePiece's BPE: merges by score. */
const isPieces = (given: GgufTokenizerKeys): boolean => given["tokenizer.ggml.model"] === "llama";

/** The text of each token, once for those that are used. One without a text has the name that llama.cpp gives it. */
function readTexts(given: GgufTokenizerKeys, where: string): readonly string[] {
  const unused = (index: number): boolean => given["tokenizer.ggml.token_type"]?.[index] === types.unused;
  const tokens = given["tokenizer.ggml.tokens"].map((token, index) => (token === "" ? `[EMPTY_${index}]` : token));
  const used = new Set<string>();
  for (let index = 0; index < tokens.length; index++) {
    if (unused(index)) continue;
    if (used.has(tokens[index]!)) throw new LongjingError("bad_file", "A token is there twice", { got: tokens[index], expected: "each once", where: `${where}: tokenizer.ggml.tokens, ${index}` });
    used.add(tokens[index]!);
  }
  return tokens.map((token, index) => (unused(index) && used.has(token) ? `[UNUSED_${index}]` : token));
}

function readTokenizer(given: GgufTokenizerKeys, where: string) {
  const pre = preTokenizer(given["tokenizer.ggml.model"], given["tokenizer.ggml.pre"], where);
  const merges = given["tokenizer.ggml.merges"];
  if (merges === undefined) throw new LongjingError("bad_file", "The file has no merges, which byte-level BPE needs", { expected: "tokenizer.ggml.merges", where });
  for (const merge of merges) checkMerge(merge, where);
  const tokens = readTexts(given, where);
  const { ids, added } = readTokens(tokens, given["tokenizer.ggml.token_type"] ?? []);
  const token = (name: "bos" | "eos" | "padding"): string | null => {
    const index = given[`tokenizer.ggml.${name}_token_id`] ?? null;
    return index === null ? null : (tokens[index] ?? null);
  };
  const [bos, eos] = [token("bos"), token("eos")];
  // As llama.cpp: Llama 3's tokenizer begins with BOS unless the file says otherwise.
  const addBos = given["tokenizer.ggml.add_bos_token"] ?? (pre.addBos === true);
  const file = {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: added,
    normalizer: pre.normalizer ?? null,
    pre_tokenizer: { type: "Sequence", pretokenizers: [...pre.splits, byteLevel(pre.gpt2 === true)] },
    post_processor: postProcessor(addBos ? bos : null, given["tokenizer.ggml.add_eos_token"] ? eos : null, ids),
    decoder: { type: "ByteLevel" as const, add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: { type: "BPE" as const, dropout: null, unk_token: null, continuing_subword_prefix: null, end_of_word_suffix: null, fuse_unk: false, byte_fallback: false, ignore_merges: pre.ignoreMerges === true },
  };
  const config = {
    tokenizer_class: "PreTrainedTokenizerFast",
    bos_token: bos,
    eos_token: eos,
    pad_token: token("padding"),
    add_bos_token: addBos,
    clean_up_tokenization_spaces: false,
    chat_template: given["tokenizer.chat_template"],
  };
  return { file, config, ids, merges };
}

/** The id of each token that is used, and those that are found in a text before it is split. */
function readTokens(tokens: readonly string[], tokenTypes: readonly number[]) {
  const ids = new Map<string, number>();
  const added: object[] = [];
  for (let index = 0; index < tokens.length; index++) {
    const [content, type] = [tokens[index]!, tokenTypes[index]];
    if (type === types.unused) continue;
    ids.set(content, index);
    if (type === types.control || type === types.userDefined) added.push({ id: index, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: type === types.control });
  }
  return { ids, added: added as { id: number; content: string; special: boolean }[] };
}

function preTokenizer(model: string, name: string, where: string): PreTokenizer {
  if (model !== "gpt2") throw new LongjingError("unsupported", "The tokenizer is neither byte-level BPE nor SentencePiece's", { got: model, expected: "gpt2 | llama", where: `${where}: tokenizer.ggml.model` });
  const pre = Object.hasOwn(preTokenizers, name) ? preTokenizers[name] : undefined;
  if (pre !== undefined) return pre;
  throw new LongjingError("unsupported", "Unknown pre-tokenizer: texts would be split in another way than the model has learned", { got: name, expected: Object.keys(preTokenizers).join(" | "), where: `${where}: tokenizer.ggml.pre` });
}

/** "left right"; neither side is empty, and no byte's character is a space. */
function checkMerge(merge: string, where: string): void {
  const space = merge.indexOf(" ");
  if (space > 0 && space < merge.length - 1 && merge.indexOf(" ", space + 1) === -1) return;
  throw new LongjingError("bad_file", "A merge is not a pair", { got: merge, expected: "two texts with a space between", where: `${where}: tokenizer.ggml.merges` });
}

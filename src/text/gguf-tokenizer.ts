import { LongjingError } from "../errors/index.ts";
import type { TokenizerFiles } from "./bpe.ts";
import { pieceFiles, readPieces } from "./gguf-pieces.ts";
import { readTokenizerKeys, type GgufTokenizerKeys } from "./gguf-tokenizer-keys.ts";
import { byteLevel, preTokenizers, tokenTypes as types, type PreTokenizer } from "./gguf-pre-tokenizers.ts";
import { packTexts, type PackedTexts } from "./packed-texts.ts";
import { pieceTokenizer } from "./piece-tokenizer.ts";
import { firstNotPair, TextTable, type TextTables } from "./text-table.ts";
import { packedIds, type TokenIds } from "./token-ids.ts";
import { assembleTokenizer, type Tokenizer } from "./tokenizer.ts";
import { postProcessor } from "./tokenizer-file.ts";

/**
 * The two files of a tokenizer on the hub, from the metadata of a GGUF file.
 * @param where the file, for messages
 * @throws LongjingError "bad_file" for keys that are missing or malformed; "unsupported" for a tokenizer that is neither
 *   byte-level BPE nor SentencePiece's, or whose pre-tokenizer we do not know
 */
export function tokenizerFromGguf(metadata: ReadonlyMap<string, unknown>, where: string): TokenizerFiles {
  const given = readTokenizerKeys(metadata, where);
  if (isPieces(given)) return pieceFiles(readPieces(given, readTexts(given, where)));
  const pre = preTokenizer(given, where);
  const merges = readMerges(given, where);
  const ids = readIds(given, where);
  const { file, config } = readRules(given, pre, ids);
  const vocab = Object.fromEntries(ids.spellings().flatMap((token, id) => (token === undefined ? [] : [[token, id]])));
  const pairs = merges.strings().map((merge) => merge.split(" "));
  return { tokenizerJson: { ...file, model: { ...file.model, vocab, merges: pairs } }, tokenizerConfig: config };
}

/** The tokenizer of a GGUF file, ready to use: what `createTokenizer` makes of its two files, several times sooner. */
export function ggufTokenizer(metadata: ReadonlyMap<string, unknown>, where: string): Tokenizer {
  const steps = ggufTokenizerSteps(metadata, where);
  for (;;) {
    const step = steps.next();
    if (step.done) return step.value;
  }
}

/**
 * The same in steps of some milliseconds each, for who has something to do between them.
 * @param kernel looks through the long lists in a part of the time
 */
export function* ggufTokenizerSteps(metadata: ReadonlyMap<string, unknown>, where: string, kernel?: TextTables): Generator<void, Tokenizer, void> {
  const given = readTokenizerKeys(metadata, where);
  if (isPieces(given)) {
    const pieces = readPieces(given, readTexts(given, where));
    yield;
    return pieceTokenizer(pieces);
  }
  const pre = preTokenizer(given, where);
  const merges = readMerges(given, where, kernel);
  yield;
  const ids = readIds(given, where, kernel);
  yield;
  // Of a merge that is there twice, the later place counts.
  const ranks = new TextTable(merges, `${where}: tokenizer.ggml.merges`, { kernel });
  yield;
  return assembleTokenizer({ ...readRules(given, pre, ids), ids, ranks });
}

/** SentencePiece's BPE: merges by score. */
const isPieces = (given: GgufTokenizerKeys): boolean => given["tokenizer.ggml.model"] === "llama";

const unusedIn = (given: GgufTokenizerKeys): ((index: number) => boolean) => {
  const all = given["tokenizer.ggml.token_type"] ?? [];
  return (index) => all[index] === types.unused;
};

const isTwice = (token: string | undefined, index: number, where: string): LongjingError => new LongjingError("bad_file", "A token is there twice", { got: token, expected: "each once", where: `${where}: tokenizer.ggml.tokens, ${index}` });

/** One without a text has the name that llama.cpp gives it. */
const named = (texts: readonly string[]): readonly string[] => (texts.includes("") ? texts.map((token, index) => (token === "" ? `[EMPTY_${index}]` : token)) : texts);

/** The text of each token, once for those that are used. */
function readTexts(given: GgufTokenizerKeys, where: string): readonly string[] {
  const unused = unusedIn(given);
  const tokens = named(given["tokenizer.ggml.tokens"].strings());
  if (new Set(tokens).size === tokens.length) return tokens;
  const used = new Set<string>();
  for (let index = 0; index < tokens.length; index++) {
    if (unused(index)) continue;
    if (used.has(tokens[index]!)) throw isTwice(tokens[index], index, where);
    used.add(tokens[index]!);
  }
  return tokens.map((token, index) => (unused(index) && used.has(token) ? `[UNUSED_${index}]` : token));
}

/** The tokens that are used, each once. */
function readIds(given: GgufTokenizerKeys, where: string, kernel?: TextTables): TokenIds {
  const unused = idsOf(given, types.unused).length > 0 ? unusedIn(given) : undefined;
  const find = (texts: PackedTexts): TokenIds => {
    const onTwice = (id: number): void => {
      const [token] = texts.pick([id]);
      if (token !== "") throw isTwice(token, id, where);
    };
    return packedIds(texts, new TextTable(texts, `${where}: tokenizer.ggml.tokens`, { leftOut: unused, onTwice, kernel }), unused);
  };
  const ids = find(given["tokenizer.ggml.tokens"]);
  return ids.has("") ? find(packTexts(named(given["tokenizer.ggml.tokens"].strings()))) : ids;
}

/** The ids of all tokens of a type, in order. */
function idsOf(given: GgufTokenizerKeys, type: number): number[] {
  const all = given["tokenizer.ggml.token_type"] ?? [];
  const found: number[] = [];
  for (let id = all.indexOf(type); id !== -1; id = all.indexOf(type, id + 1)) found.push(id);
  return found;
}

/** Each "left right"; neither side is empty, and no byte's character is a space. */
function readMerges(given: GgufTokenizerKeys, where: string, kernel?: TextTables): PackedTexts {
  const merges = given["tokenizer.ggml.merges"];
  if (merges === undefined) throw new LongjingError("bad_file", "The file has no merges, which byte-level BPE needs", { expected: "tokenizer.ggml.merges", where });
  const { bytes, places } = merges;
  const strange = (kernel?.firstNotPair ?? firstNotPair)(bytes, places);
  if (2 * strange === places.length) return merges;
  throw new LongjingError("bad_file", "A merge is not a pair", { got: merges.pick([strange])[0], expected: "two texts with a space between", where: `${where}: tokenizer.ggml.merges` });
}

/** What the file says beside its two long lists, as tokenizer.json and tokenizer_config.json say it. */
function readRules(given: GgufTokenizerKeys, pre: PreTokenizer, ids: TokenIds) {
  const token = (name: "bos" | "eos" | "padding"): string | null => {
    const id = given[`tokenizer.ggml.${name}_token_id`] ?? null;
    return id === null ? null : (ids.spelling(id) ?? null);
  };
  const [bos, eos] = [token("bos"), token("eos")];
  // As llama.cpp: Llama 3's tokenizer begins with BOS unless the file says otherwise.
  const addBos = given["tokenizer.ggml.add_bos_token"] ?? (pre.addBos === true);
  const file = {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: readAdded(given, ids),
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
  return { file, config };
}

/** The tokens that are found in a text before it is split. */
function readAdded(given: GgufTokenizerKeys, ids: TokenIds) {
  const control = new Set(idsOf(given, types.control));
  const marked = [...control, ...idsOf(given, types.userDefined)].toSorted((a, b) => a - b);
  return marked.flatMap((id) => {
    const content = ids.spelling(id);
    return content === undefined ? [] : [{ id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: control.has(id) }];
  });
}

function preTokenizer(given: GgufTokenizerKeys, where: string): PreTokenizer {
  const { "tokenizer.ggml.model": model, "tokenizer.ggml.pre": name } = given;
  if (model !== "gpt2") throw new LongjingError("unsupported", "The tokenizer is neither byte-level BPE nor SentencePiece's", { got: model, expected: "gpt2 | llama", where: `${where}: tokenizer.ggml.model` });
  const pre = Object.hasOwn(preTokenizers, name) ? preTokenizers[name] : undefined;
  if (pre !== undefined) return pre;
  throw new LongjingError("unsupported", "Unknown pre-tokenizer: texts would be split in another way than the model has learned", { got: name, expected: Object.keys(preTokenizers).join(" | "), where: `${where}: tokenizer.ggml.pre` });
}

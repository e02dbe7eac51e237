import { z } from "zod";
import { LongjingError } from "../errors/index.ts";
import type { TokenizerFiles } from "./bpe.ts";
import { assembleTokenizer, type Tokenizer } from "./tokenizer.ts";
import { byteLevel, preTokenizers, startsWithBos, tokenTypes as types, type PreTokenizer } from "./gguf-pre-tokenizers.ts";

/** Files say in several ways that there is no such token: 2^32 - 1, -1. */
const id = z.int().nullish();

/** A loop of our own: a schema looks at each of a hundred thousand entries ten times as long. */
const list = <T>(type: "string" | "number") => z.custom<readonly T[]>((value) => Array.isArray(value) && value.length <= 2 ** 22 && value.every((each) => typeof each === type), `a list of ${type}s`);

const keys = z.object({
  "tokenizer.ggml.model": z.string(),
  "tokenizer.ggml.pre": z.string().default("none"),
  "tokenizer.ggml.tokens": list<string>("string"),
  "tokenizer.ggml.token_type": list<number>("number").optional(),
  "tokenizer.ggml.merges": list<string>("string"),
  "tokenizer.ggml.bos_token_id": id,
  "tokenizer.ggml.eos_token_id": id,
  "tokenizer.ggml.padding_token_id": id,
  "tokenizer.ggml.add_bos_token": z.boolean().optional(),
  "tokenizer.ggml.add_eos_token": z.boolean().default(false),
  "tokenizer.chat_template": z.string().optional(),
});

/**
 * The two files of a tokenizer on the hub, from the metadata of a GGUF file.
 * @param where the file, for messages
 * @throws LongjingError "bad_file" for keys that are missing or malformed; "unsupported" for a tokenizer that is not
 *   byte-level BPE, or whose pre-tokenizer we do not know
 */
export function tokenizerFromGguf(metadata: ReadonlyMap<string, unknown>, where: string): TokenizerFiles {
  const { file, config, ids, merges } = readTokenizer(metadata, where);
  const pairs = merges.map((merge) => merge.split(" "));
  return { tokenizerJson: { ...file, model: { ...file.model, vocab: Object.fromEntries(ids), merges: pairs } }, tokenizerConfig: config };
}

/** The tokenizer of a GGUF file, ready to use: what `createTokenizer` makes of its two files, several times sooner. */
export function ggufTokenizer(metadata: ReadonlyMap<string, unknown>, where: string): Tokenizer {
  const { merges, ...parts } = readTokenizer(metadata, where);
  const ranks = new Map<string, number>();
  for (let rank = 0; rank < merges.length; rank++) ranks.set(merges[rank]!, rank);
  return assembleTokenizer({ ...parts, ranks });
}

function readTokenizer(metadata: ReadonlyMap<string, unknown>, where: string) {
  const fields = Object.keys(keys.shape).flatMap((key) => (metadata.has(key) ? [[key, metadata.get(key)]] : []));
  const read = keys.safeParse(Object.fromEntries(fields));
  if (!read.success) throw new LongjingError("bad_file", "The file has no tokenizer that can be read", { got: z.prettifyError(read.error), where });
  const given = read.data;
  const pre = preTokenizer(given["tokenizer.ggml.model"], given["tokenizer.ggml.pre"], where);
  const merges = given["tokenizer.ggml.merges"];
  for (const merge of merges) checkMerge(merge, where);
  const tokens = given["tokenizer.ggml.tokens"];
  const { ids, added } = readTokens(tokens, given["tokenizer.ggml.token_type"] ?? [], where);
  const token = (name: "bos" | "eos" | "padding"): string | null => {
    const index = given[`tokenizer.ggml.${name}_token_id`] ?? null;
    return index === null ? null : (tokens[index] ?? null);
  };
  const [bos, eos] = [token("bos"), token("eos")];
  // As llama.cpp: Llama 3's tokenizer begins with BOS unless the file says otherwise.
  const addBos = given["tokenizer.ggml.add_bos_token"] ?? startsWithBos(pre);
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
function readTokens(tokens: readonly string[], tokenTypes: readonly number[], where: string) {
  const ids = new Map<string, number>();
  const added: object[] = [];
  let used = 0;
  for (let index = 0; index < tokens.length; index++) {
    const [content, type] = [tokens[index]!, tokenTypes[index]];
    if (type === types.unused) continue;
    ids.set(content, index);
    used++;
    if (type === types.control || type === types.userDefined) added.push({ id: index, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: type === types.control });
  }
  if (ids.size !== used) throw new LongjingError("bad_file", "A token is there twice", { where: `${where}: tokenizer.ggml.tokens` });
  return { ids, added: added as { id: number; content: string; special: boolean }[] };
}

function preTokenizer(model: string, name: string, where: string): PreTokenizer {
  if (model !== "gpt2") throw new LongjingError("unsupported", "The tokenizer is not byte-level BPE", { got: model, expected: "gpt2", where: `${where}: tokenizer.ggml.model` });
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

function postProcessor(bos: string | null, eos: string | null, ids: ReadonlyMap<string, number>): object | null {
  if (bos === null && eos === null) return null;
  const special = (id: string | null): object[] => (id === null ? [] : [{ SpecialToken: { id, type_id: 0 } }]);
  const sequence = (id: "A" | "B"): object[] => [...special(bos), { Sequence: { id, type_id: 0 } }, ...special(eos)];
  const used = [bos, eos].filter((token) => token !== null);
  return {
    type: "TemplateProcessing",
    single: sequence("A"),
    pair: [...sequence("A"), ...sequence("B")],
    special_tokens: Object.fromEntries(used.map((token) => [token, { id: token, ids: [ids.get(token)], tokens: [token] }])),
  };
}

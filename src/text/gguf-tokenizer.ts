import { z } from "zod";
import { LongjingError } from "../errors/index.ts";
import type { TokenizerFiles } from "./bpe.ts";
import { byteLevel, preTokenizers, startsWithBos, tokenTypes as types, type PreTokenizer } from "./gguf-pre-tokenizers.ts";

const id = z.int().nonnegative().nullish();

const keys = z.object({
  "tokenizer.ggml.model": z.string(),
  "tokenizer.ggml.pre": z.string().default("none"),
  "tokenizer.ggml.tokens": z.array(z.string()).max(2 ** 22),
  "tokenizer.ggml.token_type": z.array(z.int()).max(2 ** 22).optional(),
  "tokenizer.ggml.merges": z.array(z.string()).max(2 ** 22),
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
  const fields = Object.keys(keys.shape).flatMap((key) => (metadata.has(key) ? [[key, metadata.get(key)]] : []));
  const read = keys.safeParse(Object.fromEntries(fields));
  if (!read.success) throw new LongjingError("bad_file", "The file has no tokenizer that can be read", { got: z.prettifyError(read.error), where });
  const given = read.data;
  const pre = preTokenizer(given["tokenizer.ggml.model"], given["tokenizer.ggml.pre"], where);
  const tokens = given["tokenizer.ggml.tokens"];
  const tokenTypes = given["tokenizer.ggml.token_type"] ?? [];
  const entries = tokens.map((token, index) => [token, index] as const).filter(([, index]) => tokenTypes[index] !== types.unused);
  const vocab = Object.fromEntries(entries);
  if (Object.keys(vocab).length !== entries.length) throw new LongjingError("bad_file", "A token is there twice", { where: `${where}: tokenizer.ggml.tokens` });
  const token = (name: "bos" | "eos" | "padding"): string | null => {
    const index = given[`tokenizer.ggml.${name}_token_id`] ?? null;
    const text = index === null ? null : tokens[index];
    if (text === undefined) throw new LongjingError("bad_file", "There is no such token", { got: index, expected: `less than ${tokens.length}`, where: `${where}: tokenizer.ggml.${name}_token_id` });
    return text;
  };
  const [bos, eos] = [token("bos"), token("eos")];
  const added = entries.filter(([, index]) => tokenTypes[index] === types.control || tokenTypes[index] === types.userDefined);
  // As llama.cpp: Llama 3's tokenizer begins with BOS unless the file says otherwise.
  const addBos = given["tokenizer.ggml.add_bos_token"] ?? startsWithBos(pre);
  return {
    tokenizerJson: {
      version: "1.0",
      truncation: null,
      padding: null,
      added_tokens: added.map(([content, index]) => ({ id: index, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: tokenTypes[index] === types.control })),
      normalizer: pre.normalizer ?? null,
      pre_tokenizer: { type: "Sequence", pretokenizers: [...pre.splits, byteLevel(pre.gpt2 === true)] },
      post_processor: postProcessor(addBos ? bos : null, given["tokenizer.ggml.add_eos_token"] ? eos : null, vocab),
      decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
      model: { type: "BPE", dropout: null, unk_token: null, continuing_subword_prefix: null, end_of_word_suffix: null, fuse_unk: false, byte_fallback: false, ignore_merges: pre.ignoreMerges === true, vocab, merges: given["tokenizer.ggml.merges"].map((merge) => mergePair(merge, where)) },
    },
    tokenizerConfig: {
      tokenizer_class: "PreTrainedTokenizerFast",
      bos_token: bos,
      eos_token: eos,
      pad_token: token("padding"),
      add_bos_token: addBos,
      clean_up_tokenization_spaces: false,
      chat_template: given["tokenizer.chat_template"],
    },
  };
}

function preTokenizer(model: string, name: string, where: string): PreTokenizer {
  if (model !== "gpt2") throw new LongjingError("unsupported", "The tokenizer is not byte-level BPE", { got: model, expected: "gpt2", where: `${where}: tokenizer.ggml.model` });
  const pre = Object.hasOwn(preTokenizers, name) ? preTokenizers[name] : undefined;
  if (pre !== undefined) return pre;
  throw new LongjingError("unsupported", "Unknown pre-tokenizer: texts would be split in another way than the model has learned", { got: name, expected: Object.keys(preTokenizers).join(" | "), where: `${where}: tokenizer.ggml.pre` });
}

/** "left right"; neither side is empty, and no byte's character is a space. */
function mergePair(merge: string, where: string): [string, string] {
  const space = merge.indexOf(" ");
  if (space > 0 && space < merge.length - 1 && merge.indexOf(" ", space + 1) === -1) return [merge.slice(0, space), merge.slice(space + 1)];
  throw new LongjingError("bad_file", "A merge is not a pair", { got: merge, expected: "two texts with a space between", where: `${where}: tokenizer.ggml.merges` });
}

function postProcessor(bos: string | null, eos: string | null, vocab: Readonly<Record<string, number>>): object | null {
  if (bos === null && eos === null) return null;
  const special = (id: string | null): object[] => (id === null ? [] : [{ SpecialToken: { id, type_id: 0 } }]);
  const sequence = (id: "A" | "B"): object[] => [...special(bos), { Sequence: { id, type_id: 0 } }, ...special(eos)];
  const used = [bos, eos].filter((token) => token !== null);
  return {
    type: "TemplateProcessing",
    single: sequence("A"),
    pair: [...sequence("A"), ...sequence("B")],
    special_tokens: Object.fromEntries(used.map((token) => [token, { id: token, ids: [vocab[token]], tokens: [token] }])),
  };
}

import { z } from "zod";
import { LongjingError } from "../errors/index.ts";
import type { TokenizerFiles } from "./bpe.ts";
import { byteLevel, preTokenizers, tokenTypes, type PreTokenizer } from "./gguf-pre-tokenizers.ts";
import { piecesOfFiles } from "./piece-files.ts";
import { piecesToGguf, type TokenizerMetadata } from "./pieces-to-gguf.ts";
import { createTokenizer } from "./tokenizer.ts";

const tokenizerFile = z.looseObject({
  normalizer: z.unknown().optional(),
  pre_tokenizer: z.unknown(),
  model: z.looseObject({
    vocab: z.record(z.string(), z.int().nonnegative()),
    merges: z.array(z.union([z.string(), z.tuple([z.string(), z.string()])])),
    ignore_merges: z.boolean().default(false),
  }),
  added_tokens: z.array(z.looseObject({ id: z.int().nonnegative(), content: z.string(), special: z.boolean().default(false), lstrip: z.boolean().default(false), rstrip: z.boolean().default(false) })),
});

/** One of the things that are done to a text, or several in a `Sequence`. */
const step = z.looseObject({ type: z.string() });

/**
 * The `tokenizer.*` metadata of a GGUF file for the two files of a tokenizer on the hub: the inverse of `tokenizerFromGguf`.
 * llama.cpp knows the ways to split a text by name, so that only those can be written; it never normalises, which Qwen's
 * tokenizer does (NFC), and gives other ids for a text that is not normalised.
 * @param rows of the model's embeddings: ids without a token are written as unused ones
 * @throws LongjingError "bad_file" when they are neither a byte-level BPE tokenizer nor SentencePiece's; "bad_config" for more tokens than rows;
 *   "unsupported" for a split that llama.cpp has no name for, or other special tokens around a text than BOS and EOS,
 *   or an added token that takes the spaces beside it
 */
export function tokenizerToGguf(files: TokenizerFiles, rows: number): TokenizerMetadata {
  const pieces = piecesOfFiles(files.tokenizerJson, files.tokenizerConfig);
  if (pieces !== null) return piecesToGguf(pieces, rows);
  const tokenizer = createTokenizer(files.tokenizerJson, files.tokenizerConfig);
  const read = tokenizerFile.safeParse(files.tokenizerJson);
  if (!read.success) throw new LongjingError("bad_file", "not a byte-level BPE tokenizer", { got: z.prettifyError(read.error), where: "tokenizer.json" });
  const { model, added_tokens } = read.data;
  const tokens: string[] = Array.from({ length: rows }, (_, id) => `[PAD${id}]`);
  const types: number[] = tokens.map(() => tokenTypes.unused);
  const put = (token: string, id: number, type: number): void => {
    if (id >= rows) throw new LongjingError("bad_config", "The model has no row for a token", { got: id, expected: `less than ${rows}`, where: `tokenizer.json: ${token}` });
    [tokens[id], types[id]] = [token, type];
  };
  for (const [token, id] of Object.entries(model.vocab)) put(token, id, tokenTypes.normal);
  const stripping = added_tokens.find(({ lstrip, rstrip }) => lstrip || rstrip);
  if (stripping !== undefined) throw stripped(stripping.content);
  for (const { content, id, special } of added_tokens) put(content, id, special ? tokenTypes.control : tokenTypes.userDefined);
  const ids = { bos: tokenizer.bosId, eos: tokenizer.eosId, padding: tokenizer.padId };
  return {
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": nameOf(split(read.data.pre_tokenizer, read.data.normalizer, model.ignore_merges)),
    "tokenizer.ggml.tokens": tokens,
    "tokenizer.ggml.token_type": types,
    "tokenizer.ggml.merges": model.merges.map((merge) => (typeof merge === "string" ? merge : merge.join(" "))),
    ...Object.fromEntries(Object.entries(ids).flatMap(([name, id]) => (id === null ? [] : [[`tokenizer.ggml.${name}_token_id`, id]]))),
    ...surroundings(tokenizer.encode("a"), tokenizer.encode("a", { addSpecialTokens: true }), ids),
    ...(tokenizer.chatTemplate !== null && { "tokenizer.chat_template": tokenizer.chatTemplate }),
  };
}

const stripped = (got: string): LongjingError =>
  new LongjingError("unsupported", "A GGUF file cannot say that an added token takes the spaces beside it", {
    got,
    expected: "lstrip: false, rstrip: false",
    where: "tokenizer.json: added_tokens",
    hint: "With both set to false the file is written, and spaces beside that token become tokens of their own.",
  });

/** Which special tokens a text gets: those that a word has with them and lacks without. */
function surroundings(plain: readonly number[], whole: readonly number[], { bos, eos }: { bos: number | null; eos: number | null }): TokenizerMetadata {
  const begins = bos !== null && whole[0] === bos && plain[0] !== bos;
  const ends = eos !== null && whole.at(-1) === eos && plain.at(-1) !== eos;
  if (whole.length === plain.length + Number(begins) + Number(ends)) return { "tokenizer.ggml.add_bos_token": begins, "tokenizer.ggml.add_eos_token": ends };
  throw new LongjingError("unsupported", "The tokenizer adds other tokens than BOS and EOS", { got: whole, expected: [bos, ...plain, eos], where: "tokenizer.json: post_processor" });
}

/** Canonical text of what happens to a text before its bytes are merged. */
function split(preTokenizer: unknown, normalizer: unknown, ignoreMerges: boolean): string {
  return JSON.stringify({ normalizer: flat(normalizer, "normalizers"), preTokenizer: flat(preTokenizer, "pretokenizers"), ignoreMerges });
}

/** The name of each split; made for the first that is written, since most who load this write none. */
let known: ReadonlyMap<string, string> | undefined;

function splitOf({ normalizer, splits, gpt2, ignoreMerges }: PreTokenizer): string {
  return split({ type: "Sequence", pretokenizers: [...splits, byteLevel(gpt2 === true)] }, normalizer, ignoreMerges === true);
}

function nameOf(wanted: string): string {
  known ??= new Map(Object.entries(preTokenizers).toReversed().map(([name, pre]) => [splitOf(pre), name]));
  const name = known.get(wanted);
  if (name !== undefined) return name;
  throw new LongjingError("unsupported", "llama.cpp has no name for how this tokenizer splits a text", { got: wanted, expected: Object.keys(preTokenizers).join(" | "), where: "tokenizer.json: pre_tokenizer, normalizer, ignore_merges" });
}

/** The steps of a sequence, each without what does not bear on the result, its escapes spelt one way. */
function flat(value: unknown, parts: "normalizers" | "pretokenizers"): unknown[] {
  const read = step.nullish().safeParse(value).data ?? null;
  if (read === null) return value === null || value === undefined ? [] : [value];
  if (read.type === "Sequence" && Array.isArray(read[parts])) return read[parts].flatMap((part) => flat(part, parts));
  const { type, trim_offsets: _offsets, ...rest } = read;
  const sorted = Object.entries(rest).toSorted(([a], [b]) => (a < b ? -1 : 1));
  return [{ type, ...Object.fromEntries(sorted.map(([key, item]) => [key, key === "pattern" ? spelt(item) : item])) }];
}

/** A line break in a regular expression may be written as itself. */
function spelt(pattern: unknown): unknown {
  const kinds = z.record(z.string(), z.string()).safeParse(pattern).data ?? {};
  return Object.fromEntries(Object.entries(kinds).map(([kind, text]) => [kind, text.replaceAll("\r", "\\r").replaceAll("\n", "\\n")]));
}

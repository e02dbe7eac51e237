import { z } from "zod";
import { LongjingError } from "../errors/index.ts";
import { isPacked, packTexts, type PackedTexts } from "./packed-texts.ts";

/** Files say in several ways that there is no such token: 2^32 - 1, -1. */
const id = z.int().nullish();

const most = 2 ** 22;

/** Loops of our own: a schema looks at each of a hundred thousand entries ten times as long. */
const isList = (value: unknown, type: "string" | "number"): boolean => Array.isArray(value) && value.length <= most && value.every((each) => typeof each === type);
const isNumbers = (value: unknown): boolean => value instanceof Int32Array || value instanceof Uint32Array || value instanceof Float32Array;
const numbers = z.custom<readonly number[] | Int32Array | Uint32Array | Float32Array>((value) => (isNumbers(value) ? (value as Int32Array).length <= most : isList(value, "number")), "a list of numbers");
const texts = z
  .custom<readonly string[] | PackedTexts>((value) => (isPacked(value) ? value.places.length <= 2 * most : isList(value, "string")), "a list of strings")
  .transform((value) => (isPacked(value) ? value : packTexts(value)));

const keys = z.object({
  "tokenizer.ggml.model": z.string(),
  "tokenizer.ggml.pre": z.string().default("default"),
  "tokenizer.ggml.tokens": texts,
  "tokenizer.ggml.token_type": numbers.optional(),
  "tokenizer.ggml.scores": numbers.optional(),
  "tokenizer.ggml.merges": texts.optional(),
  "tokenizer.ggml.bos_token_id": id,
  "tokenizer.ggml.eos_token_id": id,
  "tokenizer.ggml.unknown_token_id": id,
  "tokenizer.ggml.padding_token_id": id,
  "tokenizer.ggml.add_bos_token": z.boolean().optional(),
  "tokenizer.ggml.add_eos_token": z.boolean().default(false),
  "tokenizer.ggml.add_space_prefix": z.boolean().default(true),
  "tokenizer.chat_template": z.string().optional(),
});

export type GgufTokenizerKeys = z.infer<typeof keys>;

/**
 * The keys of a GGUF file's metadata that say what its tokenizer does.
 * @param where the file, for messages
 * @throws LongjingError "bad_file" for those that are missing or malformed
 */
export function readTokenizerKeys(metadata: ReadonlyMap<string, unknown>, where: string): GgufTokenizerKeys {
  const fields = Object.keys(keys.shape).flatMap((key) => (metadata.has(key) ? [[key, metadata.get(key)]] : []));
  const read = keys.safeParse(Object.fromEntries(fields));
  if (read.success) return read.data;
  throw new LongjingError("bad_file", "The file has no tokenizer that can be read", { got: z.prettifyError(read.error), where });
}

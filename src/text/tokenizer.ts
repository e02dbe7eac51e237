import { Tokenizer as HubTokenizer } from "@huggingface/tokenizers";
import { z } from "zod";
import { LongjingError } from "../errors/index.ts";
import { tokenBytes } from "./bytes.ts";
import { tokenOffsets, type Offset } from "./offsets.ts";

/** Text to ids and back, by the rules of a Hugging Face `tokenizer.json` with byte-level BPE. */
export interface Tokenizer {
  /** Ids in the vocabulary, added tokens included. A model may have more rows. */
  readonly vocabSize: number;
  readonly bosId: number | null;
  readonly eosId: number | null;
  readonly padId: number | null;
  /** The texts of the same three, under the names that chat templates use. */
  readonly specialTokens: SpecialTokens;
  /** Jinja source from `tokenizer_config.json`, if it is there. */
  readonly chatTemplate: string | null;
  /** `addSpecialTokens` adds what the post-processor adds, usually BOS. Default false. */
  encode(text: string, options?: { readonly addSpecialTokens?: boolean }): number[];
  /** The ids of `encode`, and where each lies in the text. Nothing is added by the post-processor. */
  encodeWithOffsets(text: string): { ids: number[]; offsets: Offset[] };
  /** Bytes that are not UTF-8 become U+FFFD; ids that the vocabulary lacks are skipped. */
  decode(ids: readonly number[], options?: DecodeOptions): string;
  /** Decodes a growing sequence; the pieces concatenate to what `decode` gives for the whole. */
  stream(options?: DecodeOptions): TokenStream;
  /** Bytes of each token by id; null for tokens that are marked special, which stand for no text, and where there is no token. */
  readonly tokenBytes: readonly (Uint8Array | null)[];
  /** Id of a token as the vocabulary spells it, or null. */
  idOf(token: string): number | null;
}

export interface DecodeOptions {
  /** Leaves out tokens that are marked special. Think tags are not: they are part of what a model says. Default false. */
  readonly skipSpecialTokens?: boolean;
}

export interface TokenStream {
  /** The text that is complete with this id: never half a character. */
  push(id: number): string;
  /** What is left: U+FFFD for a character that was never completed. */
  end(): string;
}

export interface SpecialTokens {
  readonly bos_token: string | null;
  readonly eos_token: string | null;
  readonly pad_token: string | null;
}

/** What we use of the hub's tokenizer, whose own types do not resolve under Node's module rules. */
interface HubEncoder {
  encode(text: string, options: { add_special_tokens: boolean }): { ids: number[] };
}

const tokenizerFile = z.looseObject({
  pre_tokenizer: z.unknown().optional(),
  model: z.looseObject({ type: z.literal("BPE"), vocab: z.record(z.string(), z.int().nonnegative()) }),
  decoder: z.looseObject({ type: z.literal("ByteLevel") }),
  added_tokens: z.array(
    z.looseObject({ id: z.int().nonnegative(), content: z.string(), special: z.boolean().default(false) }),
  ),
});

const tokenName = z
  .union([z.string(), z.looseObject({ content: z.string() }).transform(({ content }) => content)])
  .nullish();

const configFile = z.looseObject({
  bos_token: tokenName,
  eos_token: tokenName,
  pad_token: tokenName,
  // A list of named templates is allowed on the hub; its reader picks one and passes a string.
  chat_template: z.unknown().optional(),
});

/**
 * A tokenizer from the parsed `tokenizer.json` and `tokenizer_config.json`.
 * @throws LongjingError `bad_file` when they are not a byte-level BPE tokenizer.
 */
export function createTokenizer(tokenizerJson: unknown, tokenizerConfig: unknown): Tokenizer {
  const file = parse(tokenizerFile, tokenizerJson, "tokenizer.json");
  const config = parse(configFile, tokenizerConfig, "tokenizer_config.json");
  const hub: HubEncoder = new HubTokenizer({ ...file, pre_tokenizer: withEveryDigit(file.pre_tokenizer) }, tokenizerConfig as object);

  const ids = new Map(Object.entries(file.model.vocab));
  const special = new Set<number>();
  for (const token of file.added_tokens) {
    ids.set(token.content, token.id);
    if (token.special) special.add(token.id);
  }
  const bytes: Uint8Array[] = [];
  for (const [token, id] of ids) bytes[id] = tokenBytes(token);

  const idOf = (token: string | null): number | null => (token === null ? null : (ids.get(token) ?? null));
  const specialTokens: SpecialTokens = {
    bos_token: config.bos_token ?? null,
    eos_token: config.eos_token ?? null,
    pad_token: config.pad_token ?? null,
  };
  const stream = ({ skipSpecialTokens = false }: DecodeOptions = {}): TokenStream => {
    const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
    return {
      push(id) {
        const piece = skipSpecialTokens && special.has(id) ? undefined : bytes[id];
        return piece === undefined ? "" : decoder.decode(piece, { stream: true });
      },
      end: () => decoder.decode(),
    };
  };

  const encode: Tokenizer["encode"] = (text, { addSpecialTokens = false } = {}) => hub.encode(text, { add_special_tokens: addSpecialTokens }).ids;

  return {
    vocabSize: ids.size,
    bosId: idOf(specialTokens.bos_token),
    eosId: idOf(specialTokens.eos_token),
    padId: idOf(specialTokens.pad_token),
    specialTokens,
    chatTemplate: typeof config.chat_template === "string" ? config.chat_template : null,
    encode,
    encodeWithOffsets(text) {
      const sequence = encode(text);
      return { ids: sequence, offsets: tokenOffsets(text, sequence.map((id) => bytes[id] ?? new Uint8Array(0))) };
    },
    decode(sequence, options) {
      const { push, end } = stream(options);
      return sequence.map(push).join("") + end();
    },
    stream,
    tokenBytes: Array.from(bytes, (piece, id) => (special.has(id) ? null : (piece ?? null))),
    idOf,
  };
}

const digits = z.looseObject({ type: z.literal("Digits"), individual_digits: z.boolean().default(false) });
const sequence = z.looseObject({ type: z.literal("Sequence"), pretokenizers: z.array(z.unknown()) });

/** A digit is any character of Unicode's category N, as Rust's `is_numeric` has it; the hub's JavaScript knows ASCII's alone. */
function withEveryDigit(preTokenizer: unknown): unknown {
  const all = sequence.safeParse(preTokenizer).data;
  if (all !== undefined) return { ...all, pretokenizers: all.pretokenizers.map(withEveryDigit) };
  const found = digits.safeParse(preTokenizer).data;
  if (found === undefined) return preTokenizer;
  return { type: "Split", pattern: { Regex: found.individual_digits ? String.raw`\p{N}` : String.raw`\p{N}+` }, behavior: "Isolated", invert: false };
}

function parse<T>(schema: z.ZodType<T>, value: unknown, where: string): T {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  throw new LongjingError("bad_file", "not a byte-level BPE tokenizer", { got: z.prettifyError(result.error), where });
}

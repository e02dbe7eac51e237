import { Tokenizer as HubTokenizer } from "@huggingface/tokenizers";
import { z } from "zod";
import { LongjingError } from "../errors/index.ts";
import { tokenBytes } from "./bytes.ts";
import { tokenOffsets, type Offset } from "./offsets.ts";
import { chatTemplateOf } from "./named-templates.ts";
import { piecesOfFiles } from "./piece-files.ts";
import { pieceTokenizer } from "./piece-tokenizer.ts";
import { preTokenizer, type PreTokenizer } from "./pre-tokenizer.ts";
import { configFile, mergeList, ranksOf, tokenId, vocabulary } from "./tokenizer-file.ts";
import { mappedIds, type TokenIds } from "./token-ids.ts";
import { checkRules } from "./tokenizer-rules.ts";

/** Text to ids and back, by the rules of a Hugging Face `tokenizer.json` with BPE over bytes or over SentencePiece's pieces. */
export interface Tokenizer {
  /** Ids in the vocabulary, added tokens included. A model may have more rows. */
  readonly vocabSize: number;
  readonly bosId: number | null;
  readonly eosId: number | null;
  readonly padId: number | null;
  /** The texts of the same three, under the names that chat templates use. */
  readonly specialTokens: SpecialTokens;
  /** Jinja source from `tokenizer_config.json`, if it is there; a template for tools and the default are one. */
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
  pre_tokenizer: PreTokenizer;
  readonly model: {
    tokens_to_ids: Pick<TokenIds, "get" | "has">;
    unk_token_id: number | undefined;
    add_node(queue: { push(node: HubNode): void }, node: HubNode): void;
  };
}

/** A part of a word that may be merged with the next; the lowest score goes first, the leftmost of equals. */
interface HubNode {
  readonly token: string;
  readonly bias: number;
  readonly next: HubNode;
  score?: number;
}

const tokenizerFile = z.looseObject({
  pre_tokenizer: z.unknown().optional(),
  model: z.looseObject({ type: z.literal("BPE"), vocab: vocabulary, merges: mergeList, unk_token: z.string().nullish() }),
  decoder: z.looseObject({ type: z.literal("ByteLevel") }),
  added_tokens: z.array(z.looseObject({ id: tokenId, content: z.string().min(1), special: z.boolean().default(false) })),
});

/**
 * A tokenizer from the parsed `tokenizer.json` and `tokenizer_config.json`.
 * @throws LongjingError `bad_file` when they are neither a byte-level BPE tokenizer nor SentencePiece's; `unsupported`
 */
export function createTokenizer(tokenizerJson: unknown, tokenizerConfig: unknown): Tokenizer {
  const pieces = piecesOfFiles(tokenizerJson, tokenizerConfig);
  if (pieces !== null) return pieceTokenizer(pieces);
  const { model, ...file } = parse(tokenizerFile, tokenizerJson, "tokenizer.json");
  const { vocab, merges, ...rest } = model;
  const ids = new Map(Object.entries(vocab));
  for (const { content, id } of file.added_tokens) ids.set(content, id);
  return assembleTokenizer({ file: { ...file, model: rest }, config: tokenizerConfig, ids: mappedIds(ids), ranks: ranksOf(merges) });
}

export interface TokenizerRules {
  readonly added_tokens: readonly { readonly id: number; readonly content: string; readonly special: boolean }[];
  readonly normalizer?: unknown;
  readonly pre_tokenizer?: unknown;
  readonly model: { readonly unk_token?: string | null | undefined };
}

/** A tokenizer taken apart into its rules and its two long lists. */
export interface TokenizerParts {
  /** tokenizer.json, checked, without vocabulary and merges. */
  readonly file: TokenizerRules;
  /** tokenizer_config.json */
  readonly config: unknown;
  /** Added tokens among them. */
  readonly ids: TokenIds;
  /** "left right" → when the two are merged; the lowest goes first. */
  readonly ranks: { get(pair: string): number | undefined };
}

/** @throws LongjingError `bad_file` */
export function assembleTokenizer({ file, config: tokenizerConfig, ids, ranks }: TokenizerParts): Tokenizer {
  const config = parse(configFile, tokenizerConfig, "tokenizer_config.json");
  const special = new Set<number>();
  for (const token of file.added_tokens) if (token.special) special.add(token.id);
  const hub = hubEncoder(file, tokenizerConfig, ids, ranks);
  const known: Uint8Array[] = [];
  let table: readonly (Uint8Array | null)[] | undefined;
  const bytesOf = (id: number): Uint8Array | undefined => {
    if (known[id] !== undefined) return known[id];
    const token = ids.spelling(id);
    return token === undefined ? undefined : (known[id] = tokenBytes(token));
  };

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
        const piece = skipSpecialTokens && special.has(id) ? undefined : bytesOf(id);
        return piece === undefined ? "" : decoder.decode(piece, { stream: true });
      },
      end: () => decoder.decode(),
    };
  };
  const encode: Tokenizer["encode"] = (text, { addSpecialTokens = false } = {}) => following(() => hub.encode(text, { add_special_tokens: addSpecialTokens }).ids);

  return {
    vocabSize: ids.size,
    bosId: idOf(specialTokens.bos_token),
    eosId: idOf(specialTokens.eos_token),
    padId: idOf(specialTokens.pad_token),
    specialTokens,
    chatTemplate: chatTemplateOf(config.chat_template),
    encode,
    encodeWithOffsets(text) {
      const sequence = encode(text);
      return { ids: sequence, offsets: tokenOffsets(text, sequence.map((id) => bytesOf(id) ?? new Uint8Array(0))) };
    },
    decode(sequence, options) {
      const { push, end } = stream(options);
      return sequence.map(push).join("") + end();
    },
    stream,
    get tokenBytes() {
      return (table ??= Array.from(ids.spellings(), (token, id) => (token === undefined || special.has(id) ? null : (known[id] ??= tokenBytes(token)))));
    },
    idOf,
  };
}

/** The hub's tokenizer over our lists: it would make a key of JSON of every merge, once for each as it loads and for each that it looks up. */
function hubEncoder(file: TokenizerRules, config: unknown, ids: TokenIds, ranks: TokenizerParts["ranks"]): HubEncoder {
  checkRules(file, (token) => ids.get(token));
  const rules = { ...file, model: { ...file.model, vocab: {}, merges: [] }, pre_tokenizer: null };
  const hub = following(() => new HubTokenizer(rules, config as object) as unknown as HubEncoder);
  hub.pre_tokenizer = following(() => preTokenizer(file.pre_tokenizer));
  hub.model.tokens_to_ids = ids;
  hub.model.unk_token_id = ids.get(file.model.unk_token ?? "");
  hub.model.add_node = (queue, node) => {
    const rank = ranks.get(`${node.token} ${node.next.token}`);
    if (rank === undefined) return;
    node.score = rank + node.bias;
    queue.push(node);
  };
  return hub;
}

/** The hub's code takes the form of a rule on trust. */
function following<T>(action: () => T): T {
  try {
    return action();
  } catch (cause) {
    if (LongjingError.is(cause)) throw cause;
    throw new LongjingError("bad_file", "The tokenizer has a rule that cannot be followed", { got: cause instanceof Error ? cause.message : cause, where: "tokenizer.json" }, { cause });
  }
}

function parse<T>(schema: z.ZodType<T>, value: unknown, where: string): T {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  throw new LongjingError("bad_file", "not a byte-level BPE tokenizer", { got: z.prettifyError(result.error), where });
}

import { z } from "zod";
import { LongjingError } from "../errors/index.ts";
import { chatTemplateOf } from "./named-templates.ts";
import { spaceMark, type PieceVocabulary } from "./piece-tokenizer.ts";
import { configFile, mergeList, ranksOf, tokenId, vocabulary } from "./tokenizer-file.ts";

const kind = z.looseObject({ model: z.looseObject({ type: z.literal("BPE") }), decoder: z.looseObject({ type: z.literal("Sequence"), decoders: z.array(z.looseObject({ type: z.string() })) }) });

const replaced = z.looseObject({ type: z.literal("Replace"), pattern: z.strictObject({ String: z.literal(" ") }), content: z.literal(spaceMark) });
const prepended = z.looseObject({ type: z.literal("Prepend"), prepend: z.literal(spaceMark) });
const plain = z.literal(false).default(false);
const special = z.looseObject({ SpecialToken: z.looseObject({ id: z.string() }) });
const sequence = z.looseObject({ Sequence: z.looseObject({ id: z.literal("A") }) });
/** What transformers makes of SentencePiece's BPE: spaces are marked ahead of the merges, and nothing else happens to a text. */
const file = z.looseObject({
  normalizer: z.looseObject({ type: z.literal("Sequence"), normalizers: z.union([z.tuple([prepended, replaced]), z.tuple([replaced])]) }),
  pre_tokenizer: z.null().optional(),
  post_processor: z.looseObject({ type: z.literal("TemplateProcessing"), single: z.array(z.union([special, sequence])), special_tokens: z.record(z.string(), z.looseObject({ ids: z.array(tokenId) })) }).nullish(),
  model: z.looseObject({ vocab: vocabulary, merges: mergeList, unk_token: z.string().nullish(), fuse_unk: z.literal(true), byte_fallback: z.boolean().default(false), ignore_merges: plain, dropout: z.null().optional() }),
  added_tokens: z.array(z.looseObject({ id: tokenId, content: z.string().min(1), special: z.boolean().default(false), normalized: plain, lstrip: plain, rstrip: plain, single_word: plain })),
});
type PieceFile = z.infer<typeof file>;

/**
 * The vocabulary of SentencePiece's BPE, as Llama 2's and Mistral's, from the two files of a tokenizer on the hub.
 * @returns null for files of another kind: those whose decoder does not put bytes together
 * @throws LongjingError "unsupported" for rules that transformers' converter does not write
 */
export function piecesOfFiles(tokenizerJson: unknown, tokenizerConfig: unknown): PieceVocabulary | null {
  if (kind.safeParse(tokenizerJson).data?.decoder.decoders.some(({ type }) => type === "ByteFallback") !== true) return null;
  const read = file.safeParse(tokenizerJson);
  const config = configFile.safeParse(tokenizerConfig);
  if (!read.success || !config.success) throw refused(z.prettifyError((read.error ?? config.error)!), "SentencePiece's BPE as transformers converts it", "tokenizer.json");
  const { model, added_tokens, normalizer, post_processor } = read.data;
  const ids = new Map([...Object.entries(model.vocab), ...added_tokens.map(({ content, id: at }) => [content, at] as const)]);
  const tokens: string[] = [];
  for (const [token, at] of ids) tokens[at] = token;
  const idOf = (token: string | null | undefined): number | null => (token === null || token === undefined ? null : (ids.get(token) ?? null));
  const [bos, eos] = [idOf(config.data.bos_token), idOf(config.data.eos_token)];
  return {
    tokens: Array.from(tokens, (token, at) => token ?? `[UNUSED_${at}]`),
    order: { ranks: ranksOf(model.merges) },
    byteFallback: model.byte_fallback,
    added: added_tokens.map(({ id: at, content, special: isSpecial }) => ({ id: at, content, special: isSpecial })),
    unknown: idOf(model.unk_token),
    bos,
    eos,
    pad: idOf(config.data.pad_token),
    ...around(post_processor, bos, eos),
    spacePrefix: normalizer.normalizers.length === 2,
    chatTemplate: chatTemplateOf(config.data.chat_template),
  };
}

/** Whether a text gets BOS before it and EOS behind it. */
function around(given: PieceFile["post_processor"], bos: number | null, eos: number | null): Pick<PieceVocabulary, "addBos" | "addEos"> {
  if (given === null || given === undefined) return { addBos: false, addEos: false };
  const found = given.single.map((part) => ("SpecialToken" in part ? (given.special_tokens[(part as z.infer<typeof special>).SpecialToken.id]?.ids ?? []) : "text"));
  const at = found.indexOf("text");
  const [before, behind] = [found.slice(0, at).flat(), found.slice(at + 1).flat()];
  const [addBos, addEos] = [before.length > 0, behind.length > 0];
  const same = JSON.stringify([before, behind]) === JSON.stringify([addBos ? [bos] : [], addEos ? [eos] : []]);
  if (at === -1 || !same) throw refused(JSON.stringify(given.single), "BOS, the text, EOS", "tokenizer.json: post_processor");
  return { addBos, addEos };
}

const refused = (got: string, expected: string, where: string): LongjingError => new LongjingError("unsupported", "The tokenizer has a rule that is not followed", { got, expected, where });

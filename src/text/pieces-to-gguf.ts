import { LongjingError } from "../errors/index.ts";
import { tokenTypes as types } from "./gguf-pre-tokenizers.ts";
import { byteToken, longestPiece, splitsOf, type PieceVocabulary } from "./piece-tokenizer.ts";

/** Metadata for `writeGguf`: a number is an id or a count; a list of numbers holds integers, unless it is said to hold float32. */
export type TokenizerMetadata = Record<string, string | number | boolean | readonly string[] | readonly number[] | { readonly f32s: readonly number[] }>;

/**
 * The `tokenizer.*` metadata of a GGUF file for a SentencePiece vocabulary: the inverse of `readPieces`.
 * @param rows of the model's embeddings: ids without a token are written as unused ones
 * @throws LongjingError "bad_config" for more tokens than rows; "unsupported" for merges that no scores give, and without bytes
 */
export function piecesToGguf(vocabulary: PieceVocabulary, rows: number): TokenizerMetadata {
  const { tokens, added, unknown, bos, eos, pad, addBos, addEos, spacePrefix, chatTemplate } = vocabulary;
  if (tokens.some(({ length }) => length > longestPiece)) throw refused("A piece is too long to be merged from others", `more than ${longestPiece} characters`, `${longestPiece} at most`);
  if (tokens.length > rows) throw new LongjingError("bad_config", "The model has no row for a token", { got: tokens.length - 1, expected: `less than ${rows}`, where: "tokenizer.json" });
  const bytes = new Set(Array.from({ length: 256 }, (_, byte) => byteToken(byte)));
  const spelled = new Set(tokens);
  const missing = vocabulary.byteFallback ? [...bytes].find((token) => !spelled.has(token)) : byteToken(0);
  if (missing !== undefined) throw refused("llama.cpp has no other way to spell a character that is no piece", missing, "a token for each byte, and byte_fallback");
  const markers = new Map(added.map(({ id, special }) => [id, special ? types.control : types.userDefined]));
  const typeOf = (token: string, id: number): number => (id === unknown ? types.unknown : (markers.get(id) ?? (bytes.has(token) ? types.byte : types.normal)));
  const unused = Array.from({ length: rows - tokens.length }, (_, i) => `[PAD${tokens.length + i}]`);
  const ids = { bos, eos, unknown, padding: pad };
  return {
    "tokenizer.ggml.model": "llama",
    "tokenizer.ggml.tokens": [...tokens, ...unused],
    "tokenizer.ggml.scores": { f32s: [...scoresOf(vocabulary), ...unused.map(() => -tokens.length)] },
    "tokenizer.ggml.token_type": [...tokens.map(typeOf), ...unused.map(() => types.unused)],
    ...Object.fromEntries(Object.entries(ids).flatMap(([name, id]) => (id === null ? [] : [[`tokenizer.ggml.${name}_token_id`, id]]))),
    "tokenizer.ggml.add_bos_token": addBos,
    "tokenizer.ggml.add_eos_token": addEos,
    "tokenizer.ggml.add_space_prefix": spacePrefix,
    ...(chatTemplate !== null && { "tokenizer.chat_template": chatTemplate }),
  };
}

/** Scores by which pieces are merged in the order of the merges, which must hold every split of a piece together. */
function scoresOf({ tokens, order, added }: PieceVocabulary): number[] {
  if ("scores" in order) return tokens.map((_, id) => order.scores[id] ?? 0);
  const ids = new Map(tokens.map((token, id) => [token, id]));
  const markers = new Set(added.map(({ id }) => id));
  const scores = tokens.map(() => -tokens.length);
  const splits = tokens.map(() => 0);
  let [last, score] = [-1, 0];
  for (const pair of order.ranks.keys()) {
    const made = pair.replace(" ", "");
    const id = ids.get(made);
    if (id === undefined || (id !== last && splits[id]! > 0)) throw refused("The merges are in an order that scores of the pieces do not give", pair, "every split of a piece behind the other");
    if (id !== last) scores[id] = score--;
    splits[id]!++;
    last = id;
  }
  const other = tokens.findIndex((token, id) => !markers.has(id) && splits[id] !== splitsOf(token, ids).length);
  if (other !== -1) throw refused("A piece is made in fewer ways than its score allows", tokens[other], "a merge for every split into two pieces");
  return scores;
}

const refused = (message: string, got: unknown, expected: string): LongjingError => new LongjingError("unsupported", message, { got, expected, where: "tokenizer.json: model" });

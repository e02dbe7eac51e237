import { mergePieces, type PieceScores, type PlacedToken } from "./piece-merging.ts";
import type { DecodeOptions, Tokenizer, TokenStream } from "./tokenizer.ts";

/** A SentencePiece vocabulary of BPE, as Llama 2's and Mistral's. */
export interface PieceVocabulary {
  /** By id. A piece has U+2581 for each space. */
  readonly tokens: readonly string[];
  /** What is merged first: what has the highest score, by id; or a pair that is ahead of another, by "left right". */
  readonly order: { readonly scores: ArrayLike<number> } | { readonly ranks: ReadonlyMap<string, number> };
  /** A character that is no piece becomes its bytes. */
  readonly byteFallback: boolean;
  /** Tokens that are found in a text before it is merged, by their own spelling. */
  readonly added: readonly { readonly id: number; readonly content: string; readonly special: boolean }[];
  readonly unknown: number | null;
  readonly bos: number | null;
  readonly eos: number | null;
  readonly pad: number | null;
  readonly addBos: boolean;
  readonly addEos: boolean;
  /** Whether a text begins with a space that is not its own, and goes on with one behind an added token. */
  readonly spacePrefix: boolean;
  readonly chatTemplate: string | null;
}

/** What stands for a space. */
export const spaceMark = "\u2581";

/** A real piece has some dozens of characters; where merges are asked for, every split of one is looked at. */
export const longestPiece = 2 ** 9;

/** Every split of a piece into two others. */
export function splitsOf(piece: string, ids: ReadonlyMap<string, number>): [left: string, right: string][] {
  const splits: [string, string][] = [];
  for (let at = 1; at < piece.length; at++) if (ids.has(piece.slice(0, at)) && ids.has(piece.slice(at))) splits.push([piece.slice(0, at), piece.slice(at)]);
  return splits;
}

export const byteToken = (byte: number): string => `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`;
const bytePattern = /^<0x([0-9A-F]{2})>$/;

/**
 * Encodes as llama.cpp and SentencePiece do: pairs are merged by the score of what they make, and characters that are no piece
 * become their bytes, or the unknown token. Ids behind an added token are read as they were written: without the space that the
 * encoder puts there.
 */
export function pieceTokenizer(vocabulary: PieceVocabulary): Tokenizer {
  const { tokens, added, spacePrefix, unknown, bos, eos, pad } = vocabulary;
  const ids = new Map(tokens.map((token, id) => [token, id]));
  const byteIds = Array.from({ length: vocabulary.byteFallback ? 256 : 0 }, (_, byte) => ids.get(byteToken(byte)));
  const merging = { ids, score: scoring(vocabulary, ids), byteIds, unknown };
  const contents = new Map(added.map((token) => [token.content, token]));
  const addedIds = new Set(added.map(({ id }) => id));
  const special = new Set(added.filter((token) => token.special).map(({ id }) => id));
  const segments = splitAt(new Set(contents.keys()));
  const place = (text: string): PlacedToken[] => {
    const out: PlacedToken[] = [];
    let at = 0;
    let prefix = spacePrefix ? spaceMark : "";
    for (const part of segments(text)) {
      const marker = contents.get(part);
      if (marker === undefined) {
        for (const { id, start, end } of mergePieces(prefix + part.replaceAll(" ", spaceMark), merging)) out.push({ id, start: at + Math.max(0, start - prefix.length), end: at + end - prefix.length });
      } else out.push({ id: marker.id, start: at, end: at + part.length });
      prefix = marker !== undefined && spacePrefix ? spaceMark : "";
      at += part.length;
    }
    return out;
  };
  const known: Uint8Array[] = [];
  const bytesAt = (id: number): Uint8Array | undefined => {
    const token = tokens[id];
    return token === undefined ? undefined : (known[id] ??= addedIds.has(id) ? encoder.encode(token) : bytesOf(token));
  };
  let table: readonly (Uint8Array | null)[] | undefined;
  const around = (wanted: boolean, id: number | null): number[] => (wanted && id !== null ? [id] : []);
  const nameOf = (id: number | null): string | null => (id === null ? null : (tokens[id] ?? null));
  const stream = (options: DecodeOptions = {}): TokenStream => decoding(bytesAt, spacePrefix ? addedIds : new Set(), options.skipSpecialTokens === true ? special : new Set());
  return {
    vocabSize: ids.size,
    bosId: bos,
    eosId: eos,
    padId: pad,
    specialTokens: { bos_token: nameOf(bos), eos_token: nameOf(eos), pad_token: nameOf(pad) },
    chatTemplate: vocabulary.chatTemplate,
    encode: (text, { addSpecialTokens = false } = {}) => [...around(addSpecialTokens && vocabulary.addBos, bos), ...place(text).map(({ id }) => id), ...around(addSpecialTokens && vocabulary.addEos, eos)],
    encodeWithOffsets(text) {
      const found = place(text);
      return { ids: found.map(({ id }) => id), offsets: found.map(({ start, end }) => [start, end]) };
    },
    decode(sequence, options) {
      const { push, end } = stream(options);
      return sequence.map(push).join("") + end();
    },
    stream,
    get tokenBytes() {
      return (table ??= tokens.map((_, id) => (special.has(id) ? null : bytesAt(id)!)));
    },
    idOf: (token) => ids.get(token) ?? null,
  };
}

const encoder = new TextEncoder();

function bytesOf(piece: string): Uint8Array {
  const byte = bytePattern.exec(piece)?.[1];
  return byte === undefined ? encoder.encode(piece.replaceAll(spaceMark, " ")) : Uint8Array.of(Number.parseInt(byte, 16));
}

function scoring({ order }: PieceVocabulary, ids: ReadonlyMap<string, number>): PieceScores["score"] {
  if ("ranks" in order) {
    return (text, start, middle, end) => {
      const rank = order.ranks.get(`${text.slice(start, middle)} ${text.slice(middle, end)}`);
      return rank === undefined ? undefined : -rank;
    };
  }
  return (text, start, _, end) => {
    const id = ids.get(text.slice(start, end));
    return id === undefined ? undefined : (order.scores[id] ?? 0);
  };
}

/** @param prefixed tokens behind which the encoder puts a space */
function decoding(bytesAt: (id: number) => Uint8Array | undefined, prefixed: ReadonlySet<number>, skipped: ReadonlySet<number>): TokenStream {
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  let behind = false;
  return {
    push(id) {
      const piece = bytesAt(id);
      if (piece === undefined) return "";
      const whole = behind && piece[0] === 0x20 ? piece.subarray(1) : piece;
      behind = prefixed.has(id);
      return skipped.has(id) ? "" : decoder.decode(whole, { stream: true });
    },
    end: () => decoder.decode(),
  };
}

/** Parts a text at the longest marker that begins at each place. However many there are, only their lengths are tried. */
function splitAt(markers: ReadonlySet<string>): (text: string) => string[] {
  const lengths = new Map<string, Set<number>>();
  for (const marker of markers) {
    const first = marker.charAt(0);
    const known = lengths.get(first);
    if (known === undefined) lengths.set(first, new Set([marker.length]));
    else known.add(marker.length);
  }
  const longestFirst = new Map(Array.from(lengths, ([first, sizes]) => [first, [...sizes].toSorted((a, b) => b - a)]));
  return (text) => {
    const parts: string[] = [];
    let from = 0;
    for (let at = 0; at < text.length; at++) {
      const size = longestFirst.get(text.charAt(at))?.find((length) => markers.has(text.slice(at, at + length)));
      if (size === undefined) continue;
      parts.push(text.slice(from, at), text.slice(at, at + size));
      from = at + size;
      at = from - 1;
    }
    return [...parts, text.slice(from)].filter((part) => part !== "");
  };
}

import * as hub from "@huggingface/tokenizers";
import { z } from "zod";
import { LongjingError } from "../errors/index.ts";
import { toByteChars } from "./bytes.ts";
import { waysThrough } from "./pattern-work.ts";

/** The library's own split, which its types leave out: it puts a pattern into JavaScript's syntax. */
const { SplitPreTokenizer } = hub as unknown as { SplitPreTokenizer: new (rule: object) => { readonly pattern: RegExp } };

/** A text in pieces, each of which is merged by itself. */
export type PreTokenizer = (text: string) => string[];

/** What becomes of what a pattern finds: dropped, a piece of its own, or joined to a neighbour. */
type Behavior = "Removed" | "Isolated" | "MergedWithPrevious" | "MergedWithNext" | "Contiguous";

const behaviors = ["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"] as const;

const rule = z.discriminatedUnion("type", [
  z.looseObject({ type: z.literal("Sequence"), pretokenizers: z.array(z.unknown()) }),
  z.looseObject({
    type: z.literal("Split"),
    pattern: z.union([z.strictObject({ Regex: z.string() }), z.strictObject({ String: z.string() })]),
    behavior: z.enum(behaviors),
    invert: z.boolean().default(false),
  }),
  z.looseObject({ type: z.literal("ByteLevel"), add_prefix_space: z.boolean().default(true), use_regex: z.boolean().default(true) }),
  z.looseObject({ type: z.literal("Digits"), individual_digits: z.boolean().default(false) }),
  z.looseObject({ type: z.literal("Punctuation"), behavior: z.enum(behaviors).default("Isolated") }),
  z.looseObject({ type: z.literal("Whitespace") }),
  z.looseObject({ type: z.literal("WhitespaceSplit") }),
  z.looseObject({ type: z.literal("BertPreTokenizer") }),
  z.looseObject({ type: z.literal("CharDelimiterSplit"), delimiter: z.string().min(1) }),
  z.looseObject({ type: z.literal("FixedLength"), length: z.int().positive() }),
]);
type Rule = z.infer<typeof rule>;

/** White space, digits and punctuation as Rust's `char` has them, which JavaScript's `\s` and `\d` do not. */
const gpt2 = /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\p{White_Space}\p{L}\p{N}]+|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+/gu;
const whiteSpace = /\p{White_Space}/gu;
const digit = /\p{N}/gu;
const punctuation = /[\p{P}!-/:-@[-`{-~]/gu;
const words = /[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]+|[^\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}\p{White_Space}]+/gu;

/**
 * The `pre_tokenizer` of a tokenizer.json. A file may come from anyone, and its regular expressions run in this process, so that
 * those that could take for ever are refused.
 * @throws LongjingError "unsupported" for a rule that is not known or could take for ever; a SyntaxError for a pattern that is none
 */
export function preTokenizer(given: unknown): PreTokenizer {
  if (given === null || given === undefined) return (text) => [text];
  const read = rule.safeParse(given);
  if (!read.success) throw unsupported("The tokenizer splits a text in a way that is not followed", JSON.stringify(given).slice(0, 200), z.prettifyError(read.error));
  return follow(read.data);
}

function follow(given: Rule): PreTokenizer {
  switch (given.type) {
    case "Sequence":
      return inTurn(given.pretokenizers.map(preTokenizer));
    case "Split":
      return splitter(compiled(given.pattern), given.behavior, given.invert);
    case "ByteLevel":
      return byteLevel(given.add_prefix_space, given.use_regex);
    case "Digits":
      return splitter(digit, given.individual_digits ? "Isolated" : "Contiguous");
    case "Punctuation":
      return splitter(punctuation, given.behavior);
    case "Whitespace":
      return splitter(words, "Removed", true);
    case "WhitespaceSplit":
      return splitter(whiteSpace, "Removed");
    case "BertPreTokenizer":
      return inTurn([splitter(whiteSpace, "Removed"), splitter(punctuation, "Isolated")]);
    case "CharDelimiterSplit":
      return splitter(compiled({ String: given.delimiter }), "Removed");
    case "FixedLength":
      return (text) => inLengths([...text], given.length);
  }
}

const inTurn =
  (steps: readonly PreTokenizer[]): PreTokenizer =>
  (text) =>
    steps.reduce((pieces, step) => pieces.flatMap(step), [text]);

function byteLevel(prefixed: boolean, split: boolean): PreTokenizer {
  const parts = split ? splitter(gpt2, "Isolated") : (text: string) => [text];
  return (text) => parts(prefixed && !text.startsWith(" ") ? ` ${text}` : text).map(toByteChars);
}

function inLengths(characters: readonly string[], length: number): string[] {
  return Array.from({ length: Math.ceil(characters.length / length) }, (_, i) => characters.slice(i * length, (i + 1) * length).join(""));
}

const longestPattern = 2 ** 13;
/** A search begins at each of a text's characters, so that one degree more makes it cubic. */
const most = { degree: 1, factor: 2 ** 8 };

/** @param pattern in Oniguruma's syntax; what is counted is what runs */
function compiled(pattern: { readonly Regex: string } | { readonly String: string }): RegExp {
  const text = Object.values(pattern)[0] as string;
  if (text.length > longestPattern) throw unsupported("A split's pattern is too long", `${text.length} characters`, `${longestPattern} at most`);
  if ("Regex" in pattern && possessive.test(text)) throw unsupported("A split repeats without going back", text, "no ++, *+ or ?+");
  const { pattern: found } = new SplitPreTokenizer({ pattern, invert: true });
  const ways = waysThrough(found.source);
  if (ways === null || ways.degree > most.degree || ways.factor > most.factor) {
    throw unsupported("A split could take for ever", text, `one repetition without end ahead of what may fail, of what matches in one way; ${most.factor} ways through optional parts and alternatives`);
  }
  return found;
}

/** A repetition with a plus behind it, outside of classes; JavaScript has no such thing. */
const possessive = /^(?:\\[\s\S]|\[(?:\\[\s\S]|[^\]\\])*\]|[*+?](?!\+)|[^\\[*+?])*[*+?]\+/u;

interface Piece {
  readonly text: string;
  readonly found: boolean;
}

function splitter(pattern: RegExp, behavior: Behavior, invert = false): PreTokenizer {
  return (text) => joined(piecesOf(text, pattern, invert), behavior).filter((piece) => piece !== "");
}

function piecesOf(text: string, pattern: RegExp, invert: boolean): Piece[] {
  const pieces: Piece[] = [];
  let end = 0;
  for (const { 0: match, index } of text.matchAll(pattern)) {
    if (end < index) pieces.push({ text: text.slice(end, index), found: invert });
    pieces.push({ text: match, found: !invert });
    end = index + match.length;
  }
  if (end < text.length) pieces.push({ text: text.slice(end), found: invert });
  return pieces;
}

function joined(pieces: readonly Piece[], behavior: Behavior): string[] {
  switch (behavior) {
    case "Isolated":
      return pieces.map(({ text }) => text);
    case "Removed":
      return pieces.filter(({ found }) => !found).map(({ text }) => text);
    case "Contiguous":
      return runs(pieces, (piece, last) => piece.found === last.found);
    case "MergedWithPrevious":
      return runs(pieces, (piece, last) => piece.found && !last.found);
    case "MergedWithNext":
      return runs(pieces.toReversed(), (piece, last) => piece.found && !last.found, true).toReversed();
  }
}

/** Joins each piece to the one before where `joins` says so of the two. */
function runs(pieces: readonly Piece[], joins: (piece: Piece, last: Piece) => boolean, backwards = false): string[] {
  const out: string[] = [];
  let last: Piece | undefined;
  for (const piece of pieces) {
    if (last === undefined || !joins(piece, last)) out.push(piece.text);
    else out.push(backwards ? piece.text + out.pop()! : out.pop()! + piece.text);
    last = piece;
  }
  return out;
}

const unsupported = (message: string, got: string, expected: string): LongjingError => new LongjingError("unsupported", message, { got, expected, where: "tokenizer.json: pre_tokenizer" });

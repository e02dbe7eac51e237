import { LongjingError } from "../errors/index.ts";
import { random, type Random } from "../random/index.ts";
import { beforeMiddle, documentEncoder, middleMarks, middleTokens, type TokenDocument, type Tokenizer } from "../text/index.ts";
import type { TextPair } from "./pretrain.ts";

/** A text as it stands, without a chat around it: the loss counts all of it. */
export interface PlainText {
  readonly text: string;
}

/**
 * Document `index` of a seed to token ids. Of plain texts, a share of `fim_rate` is told with its middle last (DeepSeek-V3, section
 * 4.1, "prefix, suffix, middle"): the two cuts lie between any characters, each as likely as any other.
 * @throws LongjingError "bad_config" when middles are wanted and the vocabulary has no tokens for them
 */
export function documentReader(tokenizer: Tokenizer, seed: number, document: (seed: number, index: number) => TextPair | PlainText, fim_rate: number): (index: number) => TokenDocument {
  const encoder = documentEncoder(tokenizer);
  const marks = middleTokens(tokenizer);
  if (fim_rate > 0 && marks === null)
    throw new LongjingError("bad_config", "The vocabulary has no tokens for a gap in a text", { where: "fim_rate", got: fim_rate, expected: middleMarks[1].join(" "), hint: "Train the vocabulary with fim: true" });
  const start = tokenizer.encode("", { addSpecialTokens: true });
  return (index) => {
    const read = document(seed, index);
    if (!("text" in read)) return encoder.document(read);
    const stream = random("fim", seed, index);
    if (marks === null || stream.next() >= fim_rate) return { prompt: start, completion: [...tokenizer.encode(read.text), encoder.eos] };
    const [prefix, middle, suffix] = threeParts(read.text, stream).map((part) => tokenizer.encode(part)) as [number[], number[], number[]];
    return { prompt: start, completion: [...beforeMiddle(marks, prefix, suffix), ...middle, encoder.eos] };
  };
}

/** Prefix, middle and suffix. */
function threeParts(text: string, stream: Random): [string, string, string] {
  const characters = [...text];
  const [from, to] = [stream.below(characters.length + 1), stream.below(characters.length + 1)].sort((a, b) => a - b) as [number, number];
  const part = (begin: number, end: number): string => characters.slice(begin, end).join("");
  return [part(0, from), part(from, to), part(to, characters.length)];
}

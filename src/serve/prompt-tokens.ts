import { LongjingError } from "../errors/index.ts";
import type { Tokenizer } from "../text/index.ts";
import type { ServedModel } from "./model.ts";

/** Characters that most texts have for each token. */
const charactersPerToken = 4;
/** Pieces of a text have more tokens than the whole, but never so many more. */
const mostSplit = 2;

/**
 * The tokens of a text. A long one is encoded in pieces first, until they are far more than the context holds: to encode all of
 * it would keep everybody waiting for a refusal.
 * @throws LongjingError "bad_argument" for a text that cannot fit
 */
export function encodePrompt(model: Pick<ServedModel, "tokenizer" | "engine">, text: string, options?: Parameters<Tokenizer["encode"]>[1]): number[] {
  const { tokenizer, engine: { max_model_len } } = model;
  const piece = max_model_len * charactersPerToken;
  let tokens = 0;
  for (let at = 0; text.length > piece && at < text.length; at += piece) {
    tokens += tokenizer.encode(text.slice(at, at + piece)).length;
    if (tokens > mostSplit * max_model_len)
      throw new LongjingError("bad_argument", `This model's maximum context length is ${max_model_len} tokens. However, your text has ${text.length} characters, whose first ${Math.min(at + piece, text.length)} are too many. Please reduce its length.`);
  }
  return tokenizer.encode(text, options);
}

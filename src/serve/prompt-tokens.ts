import { LongjingError } from "../errors/index.ts";
import type { Tokenizer } from "../text/index.ts";
import type { ServedModel } from "./model.ts";

/** A normaliser may make a text shorter before it is cut into tokens: characters are composed, spaces and accents go. */
const mostShrinking = 4;

const longest = new WeakMap<ServedModel["tokenizer"], number>();

/**
 * The tokens of a text. One that is too long for the context, whatever its tokens, is refused before it is encoded: that would
 * keep all others waiting.
 * @throws LongjingError "bad_argument" for a text with more bytes than the longest token repeated can fill the context with
 */
export function encodePrompt({ tokenizer, engine: { max_model_len } }: Pick<ServedModel, "tokenizer" | "engine">, text: string, options?: Parameters<Tokenizer["encode"]>[1]): number[] {
  const bytes = Buffer.byteLength(text);
  const perToken = longestToken(tokenizer) * mostShrinking;
  if (bytes > max_model_len * perToken)
    throw new LongjingError("bad_argument", `This model's maximum context length is ${max_model_len} tokens. However, your text has ${bytes} bytes, which are at least ${Math.ceil(bytes / perToken)} tokens. Please reduce its length.`);
  return tokenizer.encode(text, options);
}

/** Bytes of the longest token, special ones included. */
function longestToken(tokenizer: ServedModel["tokenizer"]): number {
  let most = longest.get(tokenizer);
  if (most === undefined) {
    most = 1;
    for (const [id, bytes] of tokenizer.tokenBytes.entries()) most = Math.max(most, bytes?.length ?? Buffer.byteLength(tokenizer.decode([id])));
    longest.set(tokenizer, most);
  }
  return most;
}

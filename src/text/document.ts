import { LongjingError } from "../errors/index.ts";
import { chatRenderer, longjingTemplate } from "./chat-template.ts";
import type { Tokenizer } from "./tokenizer.ts";

/** A prompt and what should follow it, as token ids; `completion` ends with EOS. */
export interface TokenDocument {
  readonly prompt: readonly number[];
  readonly completion: readonly number[];
}

/** Texts to token ids and back by a tokenizer's chat template: the same ids in training, rollout and serving. */
export interface DocumentEncoder {
  /** Ends every completion. */
  readonly eos: number;
  prompt(text: string): number[];
  document(prompt: string, completion: string): TokenDocument;
  /** A completion's text, without its EOS. */
  decode(completion: readonly number[]): string;
}

/** @throws LongjingError "bad_config" when the tokenizer has no end-of-sequence token */
export function documentEncoder(tokenizer: Tokenizer): DocumentEncoder {
  const render = chatRenderer(tokenizer.chatTemplate ?? longjingTemplate);
  const eos = tokenizer.eosId;
  if (eos === null) throw new LongjingError("bad_config", "The tokenizer has no end-of-sequence token", { expected: "eos_token in tokenizer_config.json" });
  const prompt = (text: string): number[] => tokenizer.encode(render([{ role: "user", content: text }], { ...tokenizer.specialTokens, add_generation_prompt: true }));
  return {
    eos,
    prompt,
    document: (text, completion) => ({ prompt: prompt(text), completion: [...tokenizer.encode(completion), eos] }),
    decode: (ids) => tokenizer.decode(ids.at(-1) === eos ? ids.slice(0, -1) : ids),
  };
}

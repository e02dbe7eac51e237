import type { Engine, SamplingParams } from "../engine/types.ts";
import type { TranscriptDelta } from "../text/splitter.ts";

export type ChatMessage = {
  readonly role: "system" | "user" | "assistant";
  readonly content: string;
};

/** Turns one sequence of token ids into text, holding back bytes that do not yet make a whole character. */
export interface TokenStream {
  push(id: number): string;
  end(): string;
}

/** What serving needs of a tokenizer. */
export interface ServedTokenizer {
  encode(text: string): readonly number[];
  decode(ids: readonly number[]): string;
  stream(): TokenStream;
}

/** What serving needs of `TranscriptSplitter`. */
export interface ServedSplitter {
  push(text: string): readonly TranscriptDelta[];
  end(): readonly TranscriptDelta[];
}

/** A model that answers requests. The caller owns it and disposes its engine. */
export interface ServedModel {
  readonly id: string;
  /** Unix time in seconds. */
  readonly created: number;
  /** Names the weights: it changes when they do. */
  readonly system_fingerprint: string;
  readonly engine: Engine;
  readonly tokenizer: ServedTokenizer;
  /** Tokens that end a completion and are not part of its text. */
  readonly stop_token_ids: readonly number[];
  /** Used where a request is silent, as `generation_config.json` asks. */
  readonly sampling?: Pick<SamplingParams, "temperature" | "top_p" | "top_k" | "min_p" | "repetition_penalty">;
  /** Prompts that show what the model was trained for. */
  readonly examples?: readonly string[];
  /** The text that the model continues with its turn. */
  renderChat(messages: readonly ChatMessage[]): string;
  /** A new splitter for one completion of that text: whether it starts inside the thinking is the template's choice. */
  splitter(): ServedSplitter;
}

import type { Constrainer } from "../constrain/index.ts";
import type { Engine, SamplingParams } from "../engine/types.ts";
import type { ChatMessage, ChatVariables, Tokenizer } from "../text/index.ts";

/** What serving needs of a tokenizer. */
export type ServedTokenizer = Pick<Tokenizer, "encode" | "decode" | "stream" | "idOf" | "tokenBytes">;

/** A model that answers requests. The caller owns it and disposes its engine. */
export interface ServedModel {
  readonly id: string;
  /** Unix time in seconds. */
  readonly created: number;
  /** Names the weights: it changes when they do. */
  readonly system_fingerprint: string;
  readonly engine: Engine;
  readonly tokenizer: ServedTokenizer;
  /** Makes its answers follow a schema, an expression or a grammar. */
  readonly constrainer: Constrainer;
  /** Tokens that end a completion and are not part of its text. */
  readonly stop_token_ids: readonly number[];
  /** Used where a request is silent, as `generation_config.json` asks. */
  readonly sampling?: Pick<SamplingParams, "temperature" | "top_p" | "top_k" | "min_p" | "repetition_penalty">;
  /** Prompts that show what the model was trained for. */
  readonly examples?: readonly string[];
  /** Source of the chat template, or null for a model that only completes text. */
  readonly chatTemplate: string | null;
  /** Renders the template with the model's special tokens. Throws "bad_argument" when it refuses, or when there is none. */
  renderChat(messages: readonly ChatMessage[], variables?: ChatVariables): string;
}

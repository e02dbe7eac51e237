/** How one sequence is sampled. Names and meaning are vLLM's. */
export interface SamplingParams {
  /** 0 is greedy. Default 1. */
  readonly temperature?: number;
  /** Keep the k most likely tokens; 0 keeps all. Default 0. */
  readonly top_k?: number;
  /** Keep the smallest set whose probability reaches this. Default 1. */
  readonly top_p?: number;
  /** Drop tokens below this share of the most likely one. Default 0. */
  readonly min_p?: number;
  /** Above 1 discourages tokens that were seen (prompt and completion). Default 1. */
  readonly repetition_penalty?: number;
  readonly presence_penalty?: number;
  readonly frequency_penalty?: number;
  /** token id → added to its logit. */
  readonly logit_bias?: ReadonlyMap<number, number>;
  /** Equal seeds and equal prompts give equal completions, whatever else is in the batch. */
  readonly seed?: number;
  /** Most tokens to generate. */
  readonly max_tokens: number;
  /** Generation ends with, and includes, any of these. */
  readonly stop_token_ids?: readonly number[];
  /** Report how likely each token was: a look at the whole vocabulary. Without it `logprob` is NaN. Default true. */
  readonly logprobs?: boolean;
  /** Number of most likely alternatives to report with each token. Default 0. */
  readonly top_logprobs?: number;
  /**
   * Also report how likely each token of the prompt was after those before it, with so many alternatives. The prompt is then
   * computed in whole, whatever is cached, and `max_tokens` may be 0. Default: not.
   */
  readonly prompt_logprobs?: number;
}

/**
 * What a completion may say, token by token: a grammar, a schema, a forced end of thinking. One object belongs to one sequence.
 */
export interface TokenConstraint {
  /** Writes which tokens may come next: bit i % 32 of word i >> 5 is set for token i. [ceil(vocabulary / 32)] */
  mask(into: Uint32Array): void;
  /** Moves on by a token that was allowed. */
  accept(token_id: number): void;
}

/** What the model has said since its sequence began, or last went on. */
export interface Turn {
  readonly token_ids: readonly number[];
  readonly finish_reason: FinishReason;
}

/** How a sequence goes on after a turn: with tokens that the model has not said, then with its next turn. */
export interface Continuation {
  readonly token_ids: readonly number[];
  /** Most tokens of the next turn. */
  readonly max_tokens: number;
}

export interface EngineRequest {
  readonly prompt_ids: readonly number[];
  readonly sampling: SamplingParams;
  readonly signal?: AbortSignal;
  /** Name of a LoRA adapter that the engine holds. Default: the model as it is. */
  readonly adapter?: string;
  /** Cached prefixes are shared among requests of equal salt only, so that no time tells what others asked. Default "". */
  readonly cache_salt?: string;
  /** Whose request it is: waiting requests take turns by user. Default "". */
  readonly user?: string;
  readonly constraint?: TokenConstraint;
  /**
   * Asked when a turn of the model has ended: how the sequence goes on, or null where it is over. Meanwhile it keeps all that it has
   * computed, and others go on; afterwards nothing is computed again, and no token is made text and tokens once more. Not together
   * with a constraint, which is for one turn.
   */
  readonly next?: (turn: Turn) => Continuation | null | Promise<Continuation | null>;
}

export type FinishReason = "stop" | "length" | "abort";

/** A token and how likely it was: the natural log of its probability under the unprocessed logits at temperature 1. */
export interface TokenLogprob {
  readonly token_id: number;
  readonly logprob: number;
}

/** What happens to one sequence, in order: the prompt, if its log-probabilities were asked for; any number of tokens; one finish. */
export type EngineEvent =
  | {
      readonly type: "prompt";
      /** Of each token but the first, which nothing predicts: null. */
      readonly logprobs: readonly ((TokenLogprob & { readonly top_logprobs?: readonly TokenLogprob[] }) | null)[];
    }
  | {
      readonly type: "token";
      readonly token_id: number;
      /** Natural log of the probability under the unprocessed logits at temperature 1; NaN where `logprobs` is false. */
      readonly logprob: number;
      readonly top_logprobs?: readonly { readonly token_id: number; readonly logprob: number }[];
    }
  | {
      readonly type: "finish";
      readonly reason: FinishReason;
      readonly prompt_tokens: number;
      /** Tokens of the prompt that came from the prefix cache. */
      readonly cached_tokens: number;
      /** What the model said. */
      readonly completion_tokens: number;
    };

/** Counts since the engine began, and what is so now; named as vLLM's metrics are, without their prefix. */
export interface EngineStats {
  readonly num_requests_running: number;
  readonly num_requests_waiting: number;
  /** Share of the cache's tokens that running sequences fill, 0 to 1. */
  readonly kv_cache_usage_perc: number;
  readonly prompt_tokens: number;
  readonly generation_tokens: number;
  /** Tokens of prompts that were looked up in the prefix cache, and those that were found. */
  readonly prefix_cache_queries: number;
  readonly prefix_cache_hits: number;
  /** Steps that checked guessed tokens, the guesses, and those that were right. */
  readonly spec_decode_num_drafts: number;
  readonly spec_decode_num_draft_tokens: number;
  readonly spec_decode_num_accepted_tokens: number;
}

export interface Engine {
  /** Longest prompt plus completion, in tokens. */
  readonly max_model_len: number;
  /** Queues a sequence; its events follow as the scheduler reaches it. Ending the iteration early frees its slot. */
  submit(request: EngineRequest): AsyncIterable<EngineEvent>;
  /** A text as a vector of unit length, [hidden]; absent where a model does not offer it. */
  readonly embed?: (prompt_ids: readonly number[], signal?: AbortSignal) => Promise<Float32Array>;
  stats(): EngineStats;
  dispose(): void;
}

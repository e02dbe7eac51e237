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
  /** Number of most likely alternatives to report with each token. Default 0. */
  readonly top_logprobs?: number;
}

export interface EngineRequest {
  readonly prompt_ids: readonly number[];
  readonly sampling: SamplingParams;
  readonly signal?: AbortSignal;
}

export type FinishReason = "stop" | "length" | "abort";

/** What happens to one sequence, in order: any number of tokens, then one finish. */
export type EngineEvent =
  | {
      readonly type: "token";
      readonly token_id: number;
      /** Natural log of the probability under the unprocessed logits at temperature 1. */
      readonly logprob: number;
      readonly top_logprobs?: readonly { readonly token_id: number; readonly logprob: number }[];
    }
  | { readonly type: "finish"; readonly reason: FinishReason; readonly prompt_tokens: number; readonly completion_tokens: number };

export interface Engine {
  /** Longest prompt plus completion, in tokens. */
  readonly max_model_len: number;
  /** Queues a sequence; its events follow as the scheduler reaches it. Ending the iteration early frees its slot. */
  submit(request: EngineRequest): AsyncIterable<EngineEvent>;
  dispose(): void;
}

import type { EndEvent } from "./chat-events.ts";

/** Token counts as OpenAI and DeepSeek both name them. */
export interface Usage {
  readonly prompt_tokens: number;
  readonly completion_tokens: number;
  readonly total_tokens: number;
  readonly prompt_tokens_details: { readonly cached_tokens: number };
  readonly completion_tokens_details: { readonly reasoning_tokens: number };
  readonly prompt_cache_hit_tokens: number;
  readonly prompt_cache_miss_tokens: number;
}

/** The prompt is shared by the choices and counts once; what one choice has left in the cache is no hit for another. */
export function usageOf(ends: readonly EndEvent[]): Usage {
  const sum = (field: "completion_tokens" | "reasoning_tokens"): number => ends.reduce((total, end) => total + end[field], 0);
  const prompt_tokens = ends[0]?.prompt_tokens ?? 0;
  const cached_tokens = ends.length === 0 ? 0 : Math.min(...ends.map((end) => end.cached_tokens));
  const completion_tokens = sum("completion_tokens");
  return {
    prompt_tokens,
    completion_tokens,
    total_tokens: prompt_tokens + completion_tokens,
    prompt_tokens_details: { cached_tokens },
    completion_tokens_details: { reasoning_tokens: sum("reasoning_tokens") },
    prompt_cache_hit_tokens: cached_tokens,
    prompt_cache_miss_tokens: prompt_tokens - cached_tokens,
  };
}

export type UsagePlace = "chunk" | "finish" | "nowhere";

/**
 * Where a stream tells its usage. Asked for by `stream_options.include_usage`: in a chunk of its own behind the others, without
 * choices, as OpenAI has it. Told not to: nowhere. Where nothing is said: in the chunk that finishes the last choice, as DeepSeek
 * sends it.
 */
export const usagePlace = (include_usage: boolean | undefined): UsagePlace => (include_usage === undefined ? "finish" : include_usage ? "chunk" : "nowhere");

/** The usage of several prompts. */
export function addUsage(usages: readonly Usage[]): Usage {
  const sum = (read: (usage: Usage) => number): number => usages.reduce((total, usage) => total + read(usage), 0);
  return {
    prompt_tokens: sum((usage) => usage.prompt_tokens),
    completion_tokens: sum((usage) => usage.completion_tokens),
    total_tokens: sum((usage) => usage.total_tokens),
    prompt_tokens_details: { cached_tokens: sum((usage) => usage.prompt_tokens_details.cached_tokens) },
    completion_tokens_details: { reasoning_tokens: sum((usage) => usage.completion_tokens_details.reasoning_tokens) },
    prompt_cache_hit_tokens: sum((usage) => usage.prompt_cache_hit_tokens),
    prompt_cache_miss_tokens: sum((usage) => usage.prompt_cache_miss_tokens),
  };
}

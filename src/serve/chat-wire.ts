import type { ChatEvent, TokenLogprob } from "./chat-events.ts";

/** What every chunk and the completion begin with. */
export interface ChatHead {
  readonly id: string;
  readonly created: number;
  readonly model: string;
  readonly system_fingerprint: string;
}

export interface Usage {
  readonly prompt_tokens: number;
  readonly completion_tokens: number;
  readonly total_tokens: number;
  readonly prompt_tokens_details: { readonly cached_tokens: number };
  readonly completion_tokens_details: { readonly reasoning_tokens: number };
  readonly prompt_cache_hit_tokens: number;
  readonly prompt_cache_miss_tokens: number;
}

export interface ChoiceLogprobs {
  readonly content: readonly TokenLogprob[] | null;
  readonly reasoning_content: readonly TokenLogprob[] | null;
}

export interface ChatChunk extends ChatHead {
  readonly object: "chat.completion.chunk";
  readonly choices: readonly [
    {
      readonly index: number;
      readonly delta: { readonly role?: "assistant"; readonly content: string | null; readonly reasoning_content: string | null };
      readonly logprobs: ChoiceLogprobs | null;
      readonly finish_reason: "stop" | "length" | null;
    },
  ];
  readonly usage: Usage | null;
}

export interface ChatCompletion extends ChatHead {
  readonly object: "chat.completion";
  readonly choices: readonly {
    readonly index: number;
    readonly message: { readonly role: "assistant"; readonly content: string; readonly reasoning_content: string | null };
    readonly logprobs: ChoiceLogprobs | null;
    readonly finish_reason: "stop" | "length";
  }[];
  readonly usage: Usage;
}

type End = Extract<ChatEvent, { type: "end" }>;
type Delta = Exclude<ChatEvent, End>;

/** The prompt is shared by the choices and counts once. No prefix is cached between requests. */
function usageOf(ends: readonly End[]): Usage {
  const prompt_tokens = ends[0]?.prompt_tokens ?? 0;
  const completion_tokens = ends.reduce((sum, end) => sum + end.completion_tokens, 0);
  const reasoning_tokens = ends.reduce((sum, end) => sum + end.reasoning_tokens, 0);
  return {
    prompt_tokens,
    completion_tokens,
    total_tokens: prompt_tokens + completion_tokens,
    prompt_tokens_details: { cached_tokens: 0 },
    completion_tokens_details: { reasoning_tokens },
    prompt_cache_hit_tokens: 0,
    prompt_cache_miss_tokens: prompt_tokens,
  };
}

/**
 * The stream form, as DeepSeek sends it: a first chunk with the role and an empty `reasoning_content`; then either thinking
 * or answer in a chunk, the other null; the usage inside the chunk that finishes the last choice.
 */
export async function* toChunks(head: ChatHead, n: number, events: AsyncIterable<ChatEvent>): AsyncGenerator<ChatChunk, void> {
  const chunk = (index: number, choice: Partial<ChatChunk["choices"][0]>, usage: Usage | null = null): ChatChunk => ({
    ...head,
    object: "chat.completion.chunk",
    choices: [{ index, delta: { content: null, reasoning_content: null }, logprobs: null, finish_reason: null, ...choice }],
    usage,
  });
  for (let index = 0; index < n; index++) yield chunk(index, { delta: { role: "assistant", content: null, reasoning_content: "" } });
  const ends: End[] = [];
  for await (const event of events) {
    if (event.type === "end") {
      ends.push(event);
      const usage = ends.length === n ? usageOf(ends) : null;
      yield chunk(event.index, { delta: { content: "", reasoning_content: null }, finish_reason: event.finish_reason }, usage);
      continue;
    }
    const thinks = event.type === "reasoning-delta";
    yield chunk(event.index, {
      delta: thinks ? { content: null, reasoning_content: event.text } : { content: event.text, reasoning_content: null },
      logprobs: event.logprobs ? { content: thinks ? null : event.logprobs, reasoning_content: thinks ? event.logprobs : null } : null,
    });
  }
}

/** The form without a stream. `reasoning_content` is null where nothing was thought. */
export async function toCompletion(head: ChatHead, events: AsyncIterable<ChatEvent>): Promise<ChatCompletion> {
  const deltas: Delta[] = [];
  const ends: End[] = [];
  for await (const event of events) {
    if (event.type === "end") ends.push(event);
    else deltas.push(event);
  }
  ends.sort((a, b) => a.index - b.index);
  return {
    ...head,
    object: "chat.completion",
    choices: ends.map(({ index, finish_reason }) => {
      const own = deltas.filter((delta) => delta.index === index);
      return { index, message: messageOf(own), logprobs: logprobsOf(own), finish_reason };
    }),
    usage: usageOf(ends),
  };
}

function messageOf(deltas: readonly Delta[]): ChatCompletion["choices"][number]["message"] {
  const text = (type: Delta["type"]): string => deltas.filter((delta) => delta.type === type).map((delta) => delta.text).join("");
  return { role: "assistant", content: text("text-delta"), reasoning_content: text("reasoning-delta") || null };
}

function logprobsOf(deltas: readonly Delta[]): ChoiceLogprobs | null {
  const of = (type: Delta["type"]): readonly TokenLogprob[] | null => {
    const lists = deltas.flatMap((delta) => (delta.type === type && delta.logprobs ? [delta.logprobs] : []));
    return lists.length === 0 ? null : lists.flat();
  };
  const content = of("text-delta");
  const reasoning_content = of("reasoning-delta");
  return content === null && reasoning_content === null ? null : { content, reasoning_content };
}

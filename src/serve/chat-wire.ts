import type { ChatEvent, EndEvent, TokenLogprob } from "./chat-events.ts";
import type { ToolCall } from "./chat-messages.ts";
import { usageOf, usagePlace, type Usage, type UsagePlace } from "./usage.ts";

/** What every chunk and the completion begin with. */
export interface ChatHead {
  readonly id: string;
  readonly created: number;
  readonly model: string;
  readonly system_fingerprint: string;
}

export interface ChoiceLogprobs {
  readonly content: readonly TokenLogprob[] | null;
  readonly reasoning_content: readonly TokenLogprob[] | null;
}

/** The start of a call, with its id and name, or more of its arguments. */
export type ToolCallDelta =
  | { readonly index: number; readonly id: string; readonly type: "function"; readonly function: { readonly name: string; readonly arguments: "" } }
  | { readonly index: number; readonly function: { readonly arguments: string } };

export interface ChatDelta {
  readonly role?: "assistant";
  readonly content: string | null;
  readonly reasoning_content: string | null;
  readonly tool_calls?: readonly [ToolCallDelta];
}

export interface ChatChunk extends ChatHead {
  readonly object: "chat.completion.chunk";
  /** One, but for the chunk that only tells the usage. */
  readonly choices: readonly ChunkChoice[];
  readonly usage?: Usage | null | undefined;
}

interface ChunkChoice {
  readonly index: number;
  readonly delta: ChatDelta;
  readonly logprobs: ChoiceLogprobs | null;
  readonly finish_reason: EndEvent["finish_reason"] | null;
}

export interface ChatCompletion extends ChatHead {
  readonly object: "chat.completion";
  readonly choices: readonly {
    readonly index: number;
    readonly message: {
      readonly role: "assistant";
      readonly content: string;
      readonly reasoning_content: string | null;
      readonly tool_calls?: readonly (ToolCall & { readonly index: number })[];
    };
    readonly logprobs: ChoiceLogprobs | null;
    readonly finish_reason: EndEvent["finish_reason"];
  }[];
  readonly usage: Usage;
}

type TextEvent = Extract<ChatEvent, { type: "reasoning-delta" | "text-delta" }>;

/**
 * The stream form, as DeepSeek sends it: a first chunk with the role and an empty `reasoning_content`; then either thinking,
 * answer or a part of a call in a chunk, the others null; the usage where `usagePlace` says.
 */
export async function* toChunks(head: ChatHead, n: number, events: AsyncIterable<ChatEvent>, include_usage?: boolean): AsyncGenerator<ChatChunk, void> {
  const place = usagePlace(include_usage);
  const whole = chunkMaker(head, "chat.completion.chunk", place);
  const chunk = (index: number, delta: ChatDelta, logprobs: ChoiceLogprobs | null = null, finish_reason: ChunkChoice["finish_reason"] = null, usage: Usage | null = null): ChatChunk => whole([{ index, delta, logprobs, finish_reason }], usage);
  for (let index = 0; index < n; index++) yield chunk(index, { role: "assistant", content: null, reasoning_content: "" });
  const ends: EndEvent[] = [];
  for await (const event of events) {
    if (event.type === "end") {
      ends.push(event);
      const usage = ends.length === n ? usageOf(ends) : null;
      yield chunk(event.index, { content: "", reasoning_content: null }, null, event.finish_reason, place === "finish" ? usage : null);
      if (place === "chunk" && usage !== null) yield whole([], usage);
    } else yield chunk(event.index, toDelta(event), logprobsOf([event]));
  }
}

/**
 * Makes a stream's chunks. Their fields are named one by one: an object that is spread together takes V8 several times as long to
 * make and to write as JSON, and there is one for each token. JSON leaves out a usage that is undefined.
 */
export function chunkMaker<const O extends string>({ id, created, model, system_fingerprint }: ChatHead, object: O, place: UsagePlace) {
  return <C>(choices: readonly C[], usage: Usage | null = null): ChatHead & { readonly object: O; readonly choices: readonly C[]; readonly usage: Usage | null | undefined } => ({
    id,
    created,
    model,
    system_fingerprint,
    object,
    choices,
    usage: place === "nowhere" ? undefined : usage,
  });
}

function toDelta(event: Exclude<ChatEvent, EndEvent>): ChatDelta {
  switch (event.type) {
    case "reasoning-delta":
      return { content: null, reasoning_content: event.text };
    case "text-delta":
      return { content: event.text, reasoning_content: null };
    case "tool-call":
      return { content: null, reasoning_content: null, tool_calls: [{ index: event.call, id: event.id, type: "function", function: { name: event.name, arguments: "" } }] };
    case "tool-arguments-delta":
      return { content: null, reasoning_content: null, tool_calls: [{ index: event.call, function: { arguments: event.text } }] };
  }
}

/** The form without a stream. `reasoning_content` is null where nothing was thought. */
export async function toCompletion(head: ChatHead, events: AsyncIterable<ChatEvent>): Promise<ChatCompletion> {
  const { parts, ends } = await collect(events);
  return {
    ...head,
    object: "chat.completion",
    choices: ends.map(({ index, finish_reason }) => {
      const own = parts.filter((event) => event.index === index);
      const calls = toolCallsOf(own);
      const message = { role: "assistant" as const, content: textOf(own, "text-delta"), reasoning_content: textOf(own, "reasoning-delta") || null };
      return { index, message: calls.length === 0 ? message : { ...message, tool_calls: calls.map((call, at) => ({ index: at, ...call })) }, logprobs: logprobsOf(own), finish_reason };
    }),
    usage: usageOf(ends),
  };
}

export type PartEvent = Exclude<ChatEvent, EndEvent>;

/** Every event of a request: the parts as they came, the ends in the order of the choices. */
export async function collect(events: AsyncIterable<ChatEvent>): Promise<{ readonly parts: PartEvent[]; readonly ends: EndEvent[] }> {
  const parts: PartEvent[] = [];
  const ends: EndEvent[] = [];
  for await (const event of events) {
    if (event.type === "end") ends.push(event);
    else parts.push(event);
  }
  return { parts, ends: ends.sort((a, b) => a.index - b.index) };
}

export function textOf(parts: readonly PartEvent[], type: TextEvent["type"]): string {
  return parts.map((part) => (part.type === type ? part.text : "")).join("");
}

export function toolCallsOf(parts: readonly PartEvent[]): ToolCall[] {
  return parts.flatMap((part) => {
    if (part.type !== "tool-call") return [];
    const args = parts.map((other) => (other.type === "tool-arguments-delta" && other.call === part.call ? other.text : "")).join("");
    return [{ id: part.id, type: "function" as const, function: { name: part.name, arguments: args } }];
  });
}

function logprobsOf(parts: readonly PartEvent[]): ChoiceLogprobs | null {
  const of = (type: TextEvent["type"]): readonly TokenLogprob[] | null => {
    const lists = parts.flatMap((part) => (part.type === type && part.logprobs ? [part.logprobs] : []));
    return lists.length === 0 ? null : lists.flat();
  };
  const content = of("text-delta");
  const reasoning_content = of("reasoning-delta");
  return content === null && reasoning_content === null ? null : { content, reasoning_content };
}

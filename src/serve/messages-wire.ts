import { collectBlocks, toBlocks, type Block } from "./blocks.ts";
import type { ChatEvent, EndEvent } from "./chat-events.ts";
import type { SseMessage } from "./sse.ts";

/** What a message of Anthropic's begins with. */
export interface MessageHead {
  readonly id: string;
  readonly model: string;
}

type ContentBlock =
  | { readonly type: "thinking"; readonly thinking: string; readonly signature: string }
  | { readonly type: "text"; readonly text: string }
  | { readonly type: "tool_use"; readonly id: string; readonly name: string; readonly input: unknown };

export interface Message extends MessageHead {
  readonly type: "message";
  readonly role: "assistant";
  readonly content: readonly ContentBlock[];
  readonly stop_reason: "end_turn" | "max_tokens" | "stop_sequence" | "tool_use" | null;
  readonly stop_sequence: string | null;
  /** `input_tokens` are those that came from no cache. */
  readonly usage: { readonly input_tokens: number; readonly cache_creation_input_tokens: number; readonly cache_read_input_tokens: number; readonly output_tokens: number };
}

export async function toMessage(head: MessageHead, events: AsyncIterable<ChatEvent>): Promise<Message> {
  const { blocks, end } = await collectBlocks(events);
  return { ...head, type: "message", role: "assistant", content: blocks.map(toContent), ...ending(end), usage: usageOf(end) };
}

/** The stream form: every event is named, and says its name again. */
export async function* toMessageEvents(head: MessageHead, prompt_tokens: number, events: AsyncIterable<ChatEvent>): AsyncGenerator<SseMessage, void> {
  const usage = { input_tokens: prompt_tokens, cache_creation_input_tokens: 0, cache_read_input_tokens: 0, output_tokens: 0 };
  const message: Message = { ...head, type: "message", role: "assistant", content: [], stop_reason: null, stop_sequence: null, usage };
  yield named({ type: "message_start", message });
  for await (const event of toBlocks(events)) {
    if (event.type === "open") yield named({ type: "content_block_start", index: event.at, content_block: toContent(event.block) });
    if (event.type === "grow") yield named({ type: "content_block_delta", index: event.at, delta: toDelta(event.block, event.text) });
    if (event.type === "close") {
      // Clients wait for a signature with every thought; there is nothing to sign here.
      if (event.block.type === "reasoning") yield named({ type: "content_block_delta", index: event.at, delta: { type: "signature_delta", signature: "" } });
      yield named({ type: "content_block_stop", index: event.at });
    }
    if (event.type === "end") yield named({ type: "message_delta", delta: ending(event.end), usage: usageOf(event.end) });
  }
  yield named({ type: "message_stop" });
}

function named(data: { readonly type: string } & Readonly<Record<string, unknown>>): SseMessage {
  return { event: data.type, data: JSON.stringify(data) };
}

function toContent(block: Block): ContentBlock {
  switch (block.type) {
    case "reasoning":
      return { type: "thinking", thinking: block.text, signature: "" };
    case "text":
      return { type: "text", text: block.text };
    case "call":
      return { type: "tool_use", id: block.id, name: block.name, input: inputOf(block.text) };
  }
}

/** Arguments that were cut off are no JSON; then nothing of them is shown. */
function inputOf(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return {};
  }
}

function toDelta({ type }: Block, text: string): object {
  if (type === "reasoning") return { type: "thinking_delta", thinking: text };
  return type === "text" ? { type: "text_delta", text } : { type: "input_json_delta", partial_json: text };
}

function ending({ finish_reason, stop_sequence }: EndEvent): Pick<Message, "stop_reason" | "stop_sequence"> {
  const stop_reason = stop_sequence === null ? ({ stop: "end_turn", length: "max_tokens", tool_calls: "tool_use" } as const)[finish_reason] : "stop_sequence";
  return { stop_reason, stop_sequence };
}

function usageOf({ prompt_tokens, cached_tokens, completion_tokens }: EndEvent): Message["usage"] {
  return { input_tokens: prompt_tokens - cached_tokens, cache_creation_input_tokens: 0, cache_read_input_tokens: cached_tokens, output_tokens: completion_tokens };
}

import { collectBlocks, toBlocks, type Block } from "./blocks.ts";
import type { SamplingParams } from "../engine/types.ts";
import type { ChatEvent, EndEvent, TokenLogprob } from "./chat-events.ts";
import type { ResponsesFields } from "./responses-request.ts";
import type { SseMessage } from "./sse.ts";

type Status = "in_progress" | "completed" | "incomplete";

/** A part of the output. */
type OutputItem = { readonly id: string; readonly type: "reasoning" | "message" | "function_call" } & Readonly<Record<string, unknown>>;

/** Everything about a response that is known before the model says anything. */
export interface ResponseHead {
  readonly id: string;
  readonly created_at: number;
  readonly model: string;
  readonly fields: ResponsesFields;
  /** What the model uses where the request is silent. */
  readonly sampling: Pick<SamplingParams, "temperature" | "top_p">;
}

function toResponse({ id, created_at, model, fields, sampling }: ResponseHead, output: readonly OutputItem[], end: EndEvent | undefined): object {
  const status: Status = end === undefined ? "in_progress" : end.finish_reason === "length" ? "incomplete" : "completed";
  return {
    id,
    object: "response",
    created_at,
    completed_at: status === "completed" ? Math.floor(Date.now() / 1000) : null,
    status,
    background: false,
    error: null,
    incomplete_details: status === "incomplete" ? { reason: "max_output_tokens" } : null,
    instructions: fields.instructions ?? null,
    max_output_tokens: fields.max_output_tokens ?? null,
    max_tool_calls: null,
    metadata: fields.metadata ?? {},
    model,
    output,
    parallel_tool_calls: fields.parallel_tool_calls ?? true,
    presence_penalty: fields.presence_penalty ?? 0,
    frequency_penalty: fields.frequency_penalty ?? 0,
    previous_response_id: null,
    prompt_cache_key: null,
    reasoning: { effort: fields.reasoning?.effort ?? null, summary: null },
    safety_identifier: null,
    service_tier: "default",
    store: false,
    temperature: fields.temperature ?? sampling.temperature ?? 1,
    text: { format: fields.text?.format ?? { type: "text" } },
    tool_choice: fields.tool_choice ?? "auto",
    tools: (fields.tools ?? []).map((tool) => ({ type: "function", name: tool.name, description: tool.description ?? null, parameters: tool.parameters ?? null, strict: tool.strict ?? false })),
    top_logprobs: fields.top_logprobs ?? 0,
    top_p: fields.top_p ?? sampling.top_p ?? 1,
    truncation: "disabled",
    usage: end === undefined ? null : usageOf(end),
    user: fields.user ?? null,
  };
}

function usageOf({ prompt_tokens, cached_tokens, completion_tokens, reasoning_tokens }: EndEvent): object {
  return {
    input_tokens: prompt_tokens,
    input_tokens_details: { cached_tokens },
    output_tokens: completion_tokens,
    output_tokens_details: { reasoning_tokens },
    total_tokens: prompt_tokens + completion_tokens,
  };
}

const prefixes = { reasoning: "rs", text: "msg", call: "fc" } as const;

function toItem(head: ResponseHead, at: number, block: Block, status: Status): OutputItem {
  const id = `${prefixes[block.type]}_${head.id.slice("resp_".length)}_${at}`;
  switch (block.type) {
    case "reasoning":
      return { id, type: "reasoning", status, summary: [], content: status === "in_progress" ? [] : [toPart(block)] };
    case "text":
      return { id, type: "message", status, role: "assistant", content: status === "in_progress" ? [] : [toPart(block)] };
    case "call":
      return { id, type: "function_call", status, call_id: block.id, name: block.name, arguments: block.text };
  }
}

function toPart({ type, text, logprobs }: Exclude<Block, { type: "call" }>): object {
  return type === "reasoning" ? { type: "reasoning_text", text } : { type: "output_text", text, annotations: [], logprobs: listed(logprobs) };
}

/** A list also where nobody asked, and of no bytes for a special token. */
function listed(logprobs: readonly TokenLogprob[] = []): object[] {
  return logprobs.map((token) => ({ ...withBytes(token), top_logprobs: token.top_logprobs.map(withBytes) }));
}

function withBytes({ token, logprob, bytes }: Omit<TokenLogprob, "top_logprobs">): object {
  return { token, logprob, bytes: bytes ?? [] };
}

/** An item that was cut off is incomplete; only the last one can be. */
function lastStatus(end: EndEvent): Status {
  return end.finish_reason === "length" ? "incomplete" : "completed";
}

export async function toWholeResponse(head: ResponseHead, events: AsyncIterable<ChatEvent>): Promise<object> {
  const { blocks, end } = await collectBlocks(events);
  const output = blocks.map((block, at) => toItem(head, at, block, at === blocks.length - 1 ? lastStatus(end) : "completed"));
  return toResponse(head, output, end);
}

/** The stream form: each event is named and numbered, and `[DONE]` follows the last. */
export async function* toResponseEvents(head: ResponseHead, events: AsyncIterable<ChatEvent>): AsyncGenerator<SseMessage, void> {
  let sequence_number = 0;
  const event = (type: string, data: object): SseMessage => ({ event: type, data: JSON.stringify({ type, sequence_number: sequence_number++, ...data }) });
  const output: OutputItem[] = [];
  yield event("response.created", { response: toResponse(head, [], undefined) });
  yield event("response.in_progress", { response: toResponse(head, [], undefined) });
  let closed: { readonly at: number; readonly block: Block } | undefined;
  const done = function* (status: Status): Generator<SseMessage, void> {
    if (closed === undefined) return;
    const item = toItem(head, closed.at, closed.block, status);
    output.push(item);
    for (const [type, data] of closing(item, closed.at, closed.block)) yield event(type, data);
    closed = undefined;
  };
  for await (const part of toBlocks(events)) {
    if (part.type === "open") {
      yield* done("completed");
      const item = toItem(head, part.at, part.block, "in_progress");
      yield event("response.output_item.added", { output_index: part.at, item });
      if (part.block.type !== "call") yield event("response.content_part.added", { item_id: item.id, output_index: part.at, content_index: 0, part: toPart(part.block) });
    } else if (part.type === "grow") {
      const { id } = toItem(head, part.at, part.block, "in_progress");
      yield event(`response.${streams[part.block.type]}.delta`, { item_id: id, output_index: part.at, ...(part.block.type === "call" ? {} : { content_index: 0 }), delta: part.text, ...(part.block.type === "text" ? { logprobs: listed(part.logprobs) } : {}) });
    } else if (part.type === "close") {
      closed = { at: part.at, block: part.block }; // how it ended is told by what comes next
    } else if (part.type === "end") {
      yield* done(lastStatus(part.end));
      yield event(part.end.finish_reason === "length" ? "response.incomplete" : "response.completed", { response: toResponse(head, output, part.end) });
    }
  }
  yield { data: "[DONE]" };
}

const streams = { reasoning: "reasoning_text", text: "output_text", call: "function_call_arguments" } as const;

function closing(item: OutputItem, output_index: number, block: Block): [string, object][] {
  const of = { item_id: item.id, output_index };
  const ended: [string, object][] =
    block.type === "call"
      ? [["response.function_call_arguments.done", { ...of, name: block.name, arguments: block.text }]]
      : [
          [`response.${streams[block.type]}.done`, { ...of, content_index: 0, text: block.text, ...(block.type === "text" ? { logprobs: listed(block.logprobs) } : {}) }],
          ["response.content_part.done", { ...of, content_index: 0, part: toPart(block) }],
        ];
  return [...ended, ["response.output_item.done", { output_index, item }]];
}

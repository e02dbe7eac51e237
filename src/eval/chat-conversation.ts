import { z } from "zod";
import { LongjingError } from "../errors/index.ts";
import type { Episode } from "../tasks/index.ts";
import type { ChatMessage, ToolCall } from "../text/index.ts";
import { parsedJson } from "./parsed-json.ts";
import type { Ask, ChatAnswer, ChatBody, ChatToolCall, Message, Usage } from "./chat-answers.ts";

/** A model that always calls a tool is asked no more than so often for one answer. */
export const mostTurns = 64;

/**
 * Asks until what answers the model's turns has no more to say: its calls are made here, as an application makes them. The answer is the
 * last turn's, with the tokens and the time of all. `max_tokens` is of the conversation, results included; what it has cut, or the number
 * of turns, has the finish reason "length".
 */
export async function conversation(ask: Ask, request: ChatBody, episode: Episode): Promise<ChatAnswer> {
  const all: ChatAnswer[] = [];
  let messages = request.messages;
  const limit = typeof request["max_tokens"] === "number" ? request["max_tokens"] : Number.POSITIVE_INFINITY;
  let left = limit;
  try {
    for (;;) {
      const answer = await ask({ ...request, messages, ...(Number.isFinite(left) && { max_tokens: left }) });
      all.push(answer);
      left = limit - usedBy(all);
      if (answer.finish_reason === "length") return joined(all);
      const step = await episode.step({ text: answer.content, calls: (answer.tool_calls ?? []).map(callOf) });
      if (step === null) return joined(all);
      if (left < 1 || all.length === mostTurns) return { ...joined(all), finish_reason: "length" };
      messages = [...messages, said(answer), ...step.messages.map((message, i) => answered(message, answer.tool_calls?.[i]))];
    }
  } finally {
    await episode.close?.();
  }
}

/** Tokens that were said, or by which the conversation has grown: some templates leave earlier thoughts out, and results come in. */
function usedBy(all: readonly ChatAnswer[]): number {
  const [first, last] = [all[0]!.usage, all.at(-1)!.usage];
  const grown = first && last ? last.prompt_tokens + last.completion_tokens - first.prompt_tokens : 0;
  return Math.max(grown, all.reduce((sum, { usage }) => sum + (usage?.completion_tokens ?? 0), 0));
}

const argumentsOf = z.string().transform(parsedJson).pipe(z.record(z.string(), z.unknown()));

/** Arguments that are no object are a call that cannot be done. */
const callOf = ({ function: { name, arguments: json } }: ChatToolCall): ToolCall => ({ name, arguments: argumentsOf.safeParse(json).data ?? null });

const said = ({ content, reasoning_content, tool_calls }: ChatAnswer): Message => ({ role: "assistant", content, ...(reasoning_content !== null && { reasoning_content }), ...(tool_calls?.length && { tool_calls }) });

function answered({ role, content: said }: ChatMessage, call: ChatToolCall | undefined): Message {
  const content = typeof said === "string" ? said : JSON.stringify(said);
  if (role !== "tool") return { role: "user", content };
  if (call === undefined) throw new LongjingError("bad_argument", "An environment answers no more calls than were made", { got: content });
  return { role: "tool", tool_call_id: call.id, content };
}

function joined(all: readonly ChatAnswer[]): ChatAnswer {
  const last = all.at(-1)!;
  const sum = (values: readonly (number | null)[]): number | null => values.reduce<number | null>((a, b) => (a === null || b === null ? null : a + b), 0);
  const of = (key: keyof Usage): number | null => sum(all.map(({ usage }) => usage?.[key] ?? null));
  const [prompt_tokens, cached_tokens, completion_tokens] = [of("prompt_tokens"), of("cached_tokens"), of("completion_tokens")];
  const usage = prompt_tokens === null || cached_tokens === null || completion_tokens === null ? null : { prompt_tokens, cached_tokens, completion_tokens };
  return { ...last, usage, core_seconds: sum(all.map(({ core_seconds }) => core_seconds)) };
}

import { z } from "zod";
import { LongjingError } from "../errors/index.ts";

export interface ToolCall {
  readonly id: string;
  readonly type: "function";
  /** `arguments` is JSON text. */
  readonly function: { readonly name: string; readonly arguments: string };
}

export interface AssistantMessage {
  readonly role: "assistant";
  readonly content: string;
  /** What it thought; the chat template decides whether the model sees it again. */
  readonly reasoning_content?: string;
  readonly tool_calls?: readonly ToolCall[];
  /** The model goes on with this message, the last one. */
  readonly prefix?: boolean;
}

/** One turn of a conversation; every wire format becomes these. */
export type ServedMessage =
  | { readonly role: "system" | "user"; readonly content: string }
  | AssistantMessage
  | { readonly role: "tool"; readonly content: string; readonly tool_call_id: string };

const part = z.union([z.object({ type: z.literal("text"), text: z.string() }), z.object({ type: z.literal("refusal"), refusal: z.string() }).transform(({ refusal }) => ({ text: refusal }))]);
const content = z.union([z.string(), z.array(part).transform((parts) => parts.map(({ text }) => text).join(""))], { error: "must be a string or a list of text parts" });
const emptyOr = content.nullish().transform((text) => text ?? "");

export const toolName = z.string().regex(/^[A-Za-z0-9_-]{1,64}$/, "must be 1 to 64 of A-Z, a-z, 0-9, _ and -");

const toolCall = z.object({
  id: z.string().min(1),
  type: z.literal("function").default("function"),
  function: z.object({ name: toolName, arguments: z.string().transform((text) => (text.trim() === "" ? "{}" : text)) }),
});

/** A message in OpenAI's or DeepSeek's form. */
export const message: z.ZodType<ServedMessage> = z.union(
  [
    z.object({ role: z.enum(["system", "developer"]), content }).transform(({ content: text }) => ({ role: "system" as const, content: text })),
    z.object({ role: z.literal("user"), content }),
    z
      .object({
        role: z.literal("assistant"),
        content: emptyOr,
        reasoning_content: z.string().nullish(),
        reasoning: z.string().nullish(),
        tool_calls: z.array(toolCall).max(128).nullish(),
        prefix: z.boolean().nullish(),
      })
      .transform(({ content: text, reasoning_content, reasoning, tool_calls, prefix }): AssistantMessage => {
        const thought = reasoning_content ?? reasoning;
        return { role: "assistant", content: text, ...(thought ? { reasoning_content: thought } : {}), ...(tool_calls?.length ? { tool_calls } : {}), ...(prefix ? { prefix } : {}) };
      }),
    z.object({ role: z.literal("tool"), content: emptyOr, tool_call_id: z.string() }),
  ],
  { error: "must be a system, developer, user, assistant or tool message with text content" },
);

/** Throws `bad_argument` for turns that cannot follow each other. `where` names the list in the request. */
export function checkMessages(messages: readonly ServedMessage[], where = "messages"): void {
  const open = new Set<string>();
  for (const [at, turn] of messages.entries()) {
    if (turn.role === "assistant") for (const { id } of turn.tool_calls ?? []) open.add(id);
    if (turn.role === "assistant" && turn.prefix && at < messages.length - 1)
      throw new LongjingError("bad_argument", "Only the last message can be a prefix", { where: `${where}.${at}.prefix` });
    if (turn.role === "tool" && !open.has(turn.tool_call_id))
      throw new LongjingError("bad_argument", "Messages with role 'tool' must be a response to a preceding message with 'tool_calls'", { where: `${where}.${at}.tool_call_id`, got: turn.tool_call_id });
  }
}

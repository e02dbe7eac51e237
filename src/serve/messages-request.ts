import { z } from "zod";
import { checkMessages, toolName, type ServedMessage, type ToolCall } from "./chat-messages.ts";
import { withPrefix, type ChatRequest } from "./chat-request.ts";
import { modelName, parseBody, settingsOf, unknownFields, whole } from "./request-fields.ts";
import { effort, thinkingByEffort } from "./thinking.ts";
import { ignoredOfTools, tool, toolUse, type ToolUse } from "./tools.ts";

const textBlock = z.object({ type: z.literal("text"), text: z.string() });
const text = z.union([z.string(), z.array(textBlock).transform((blocks) => blocks.map((block) => block.text).join(""))], { error: "must be a string or a list of text blocks" });

const block = z.discriminatedUnion(
  "type",
  [
    textBlock,
    z.object({ type: z.literal("thinking"), thinking: z.string() }),
    z.object({ type: z.literal("redacted_thinking") }),
    z.object({ type: z.literal("tool_use"), id: z.string().min(1), name: toolName, input: z.record(z.string(), z.unknown()) }),
    z.object({ type: z.literal("tool_result"), tool_use_id: z.string(), content: text.nullish(), is_error: z.boolean().nullish() }),
  ],
  { error: "must be a text, thinking, tool_use or tool_result block" },
);

const content = z.union([z.string().transform((value) => [{ type: "text" as const, text: value }]), z.array(block)], { error: "must be a string or a list of text, thinking, tool_use and tool_result blocks" });

const tools = z
  .array(z.object({ type: z.literal("custom", { error: "only functions of yours are supported" }).nullish(), name: toolName, description: z.string().nullish(), input_schema: z.record(z.string(), z.unknown()), strict: z.boolean().nullish() }))
  .max(128);

const known = z.object({
  model: modelName,
  max_tokens: z.int().min(1).max(2 ** 31),
  messages: z.array(z.object({ role: z.enum(["user", "assistant"]), content })).min(1).max(2048),
  system: text.nullish(),
  stream: z.boolean().nullish(),
  stop_sequences: z.array(z.string().min(1)).max(16).nullish(),
  temperature: z.number().min(0).max(2).nullish(),
  top_p: z.number().gt(0).max(1).nullish(),
  top_k: whole(-1, 2 ** 31),
  metadata: z.object({ user_id: z.string().nullish() }).nullish(),
  tools: tools.nullish(),
  tool_choice: z
    .object({ type: z.enum(["auto", "any", "tool", "none"]), name: z.string().nullish(), disable_parallel_tool_use: z.boolean().nullish() })
    .refine(({ type, name }) => type !== "tool" || typeof name === "string", { error: "must name the tool", path: ["name"] })
    .nullish(),
  thinking: z.object({ type: z.enum(["enabled", "disabled", "adaptive"]), budget_tokens: whole(0, 2 ** 31) }).nullish(),
  output_config: z
    .object({ effort: effort.nullish(), format: z.object({ type: z.literal("json_schema"), schema: z.record(z.string(), z.unknown()) }).nullish() })
    .nullish(),
});

/** What has to be known to count a prompt; the rest may be missing. */
const countable = known.partial({ max_tokens: true });

type Fields = z.infer<typeof known>;

/** A request in Anthropic's form. Throws `bad_argument` that names the field. */
export function parseMessagesRequest(body: unknown): ChatRequest {
  return toChatRequest(parseBody(known, body), body);
}

export function parseCountRequest(body: unknown): ChatRequest {
  return toChatRequest({ ...parseBody(countable, body), max_tokens: 1 }, body);
}

function toChatRequest(data: Fields, body: unknown): ChatRequest {
  const turns = data.messages.flatMap(({ role, content: blocks }) => (role === "user" ? userTurns(blocks) : assistantTurn(blocks)));
  const messages: ServedMessage[] = [...(data.system ? [{ role: "system" as const, content: data.system }] : []), ...turns];
  const { stream, temperature, top_p, top_k, stop_sequences: stop, metadata } = data;
  const asked = thinkingByEffort(data.output_config?.effort ?? undefined, data.model);
  checkMessages(messages);
  const use = toolUseOf(data);
  return {
    ...settingsOf({ stream, temperature, top_p, top_k, stop, user: metadata?.user_id }, undefined),
    model: data.model,
    // An answer that the client has begun is gone on with.
    messages: messages.at(-1)?.role === "assistant" ? withPrefix(messages) : messages,
    logprobs: false,
    max_tokens: data.max_tokens,
    thinking: !data.thinking ? asked : { ...asked, enabled: { enabled: true, disabled: false, adaptive: undefined }[data.thinking.type], budget: data.thinking.budget_tokens ?? asked.budget },
    tools: use,
    format: data.output_config?.format ? { type: "json_schema", schema: data.output_config.format.schema } : { type: "text" },
    template: {},
    ignored: [...unknownFields(known, body), ...ignoredOfTools(use)],
  };
}

function toolUseOf({ tools: given, tool_choice: choice }: Fields): ToolUse | undefined {
  const all = (given ?? []).map(({ name, description, input_schema, strict }) => tool(name, description, input_schema, strict));
  if (choice?.type === "none") return undefined;
  const named = choice?.type === "tool" && choice.name ? [choice.name] : undefined;
  const free = !choice || choice.type === "auto";
  return toolUse(all, free ? "auto" : "required", named, named === undefined && choice?.disable_parallel_tool_use !== true);
}

type Content = z.infer<typeof block>;

/** Results of calls are turns of their own, and come before what the user says. */
function userTurns(blocks: readonly Content[]): ServedMessage[] {
  const results = blocks.flatMap((one): ServedMessage[] => (one.type === "tool_result" ? [{ role: "tool", content: one.content ?? "", tool_call_id: one.tool_use_id }] : []));
  const said = textIn(blocks);
  return said === "" && results.length > 0 ? results : [...results, { role: "user", content: said }];
}

function assistantTurn(blocks: readonly Content[]): ServedMessage[] {
  const thought = blocks.map((one) => (one.type === "thinking" ? one.thinking : "")).join("");
  const calls = blocks.flatMap((one): ToolCall[] => (one.type === "tool_use" ? [{ id: one.id, type: "function", function: { name: one.name, arguments: JSON.stringify(one.input) } }] : []));
  return [{ role: "assistant", content: textIn(blocks), ...(thought === "" ? {} : { reasoning_content: thought }), ...(calls.length === 0 ? {} : { tool_calls: calls }) }];
}

function textIn(blocks: readonly Content[]): string {
  return blocks.map((one) => (one.type === "text" ? one.text : "")).join("");
}

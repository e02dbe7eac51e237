import { z } from "zod";
import { LongjingError } from "../errors/index.ts";
import type { AnswerFormat } from "./answer-format.ts";
import { checkMessages, toolName, type AssistantMessage, type ServedMessage } from "./chat-messages.ts";
import type { ChatRequest } from "./chat-request.ts";
import { modelName, parseBody, samplingFields, settingsOf, unknownFields, whole } from "./request-fields.ts";
import { effort, thinkingByEffort } from "./thinking.ts";
import { ignoredOfTools, tool, toolUse, type ToolUse } from "./tools.ts";

const refusal = z.object({ type: z.literal("refusal"), refusal: z.string() }).transform((part) => ({ text: part.refusal }));
const textPart = z.object({ type: z.enum(["input_text", "output_text", "text", "summary_text", "reasoning_text"]), text: z.string() });
const text = z.union([z.string(), z.array(z.union([textPart, refusal])).transform((parts) => parts.map((part) => part.text).join(""))], { error: "must be a string or a list of text parts" });

const item = z.union(
  [
    z.object({ type: z.literal("message").default("message"), role: z.enum(["user", "assistant", "system", "developer"]), content: text }),
    z.object({ type: z.literal("reasoning"), content: text.nullish(), summary: text.nullish() }),
    z.object({ type: z.literal("function_call"), call_id: z.string().min(1), name: toolName, arguments: z.string() }),
    z.object({ type: z.literal("function_call_output"), call_id: z.string(), output: text }),
  ],
  { error: "must be a message, reasoning, function_call or function_call_output" },
);

const functionTool = z.object({
  type: z.literal("function", { error: "only functions are supported" }),
  name: toolName,
  description: z.string().nullish(),
  parameters: z.record(z.string(), z.unknown()).nullish(),
  strict: z.boolean().nullish(),
});

const stateless = "cannot be had: this server keeps no responses";

const { stream, temperature, top_p, top_k, seed, presence_penalty, frequency_penalty, user, user_id } = samplingFields;

const known = z.object({
  model: modelName,
  input: z.union([z.string().transform((content) => [{ type: "message" as const, role: "user" as const, content }]), z.array(item).min(1).max(2048)], { error: "must be a text or a list of items" }),
  instructions: z.string().nullish(),
  max_output_tokens: whole(1, 2 ** 31),
  reasoning: z.object({ effort: effort.nullish() }).nullish(),
  tools: z.array(functionTool).max(128).nullish(),
  tool_choice: z
    .union(
      [
        z.enum(["none", "auto", "required"]),
        z.object({ type: z.literal("function"), name: z.string() }),
        z.object({ type: z.literal("allowed_tools"), mode: z.enum(["auto", "required"]), tools: z.array(z.object({ type: z.literal("function"), name: z.string() })).min(1) }),
      ],
      { error: "must be none, auto, required, or name a function" },
    )
    .nullish(),
  parallel_tool_calls: z.boolean().nullish(),
  text: z
    .object({
      format: z
        .discriminatedUnion("type", [z.object({ type: z.literal("text") }), z.object({ type: z.literal("json_object") }), z.object({ type: z.literal("json_schema"), name: z.string().nullish(), schema: z.record(z.string(), z.unknown()), strict: z.boolean().nullish() })])
        .nullish(),
    })
    .nullish(),
  top_logprobs: whole(0, 20),
  include: z.array(z.string()).nullish(),
  metadata: z.record(z.string(), z.unknown()).nullish(),
  truncation: z.literal("disabled", { error: "must be disabled: nothing is ever cut to fit" }).nullish(),
  store: z.literal(false, { error: stateless }).nullish(),
  background: z.literal(false, { error: stateless }).nullish(),
  previous_response_id: z.null({ error: stateless }).optional(),
  conversation: z.null({ error: stateless }).optional(),
  stream,
  temperature,
  top_p,
  top_k,
  seed,
  presence_penalty,
  frequency_penalty,
  user,
  user_id,
});

export type ResponsesFields = z.infer<typeof known>;

/** A request in the form of OpenAI's Responses, and what the response repeats of it. Throws `bad_argument` that names the field. */
export function parseResponsesRequest(body: unknown): { readonly request: ChatRequest; readonly fields: ResponsesFields } {
  const fields = parseBody(known, body);
  const { model, instructions } = fields;
  const messages: ServedMessage[] = [...(instructions ? [{ role: "system" as const, content: instructions }] : []), ...turnsOf(fields.input)];
  checkMessages(messages, "input");
  const logprobs = typeof fields.top_logprobs === "number" || (fields.include ?? []).includes("message.output_text.logprobs");
  const tools = toolUseOf(fields);
  const request: ChatRequest = {
    ...settingsOf(fields, logprobs ? (fields.top_logprobs ?? 0) : undefined),
    model,
    messages,
    logprobs,
    max_tokens: fields.max_output_tokens ?? undefined,
    thinking: thinkingByEffort(fields.reasoning?.effort ?? undefined, model),
    tools,
    format: formatOf(fields),
    template: {},
    ignored: [...unknownFields(known, body), ...ignoredOfTools(tools)],
  };
  if (messages.every(({ role }) => role === "system")) throw new LongjingError("bad_argument", "The request is not acceptable: nobody says anything", { where: "input" });
  return { request, fields };
}

/** What the assistant thought, said and called belongs to one turn, until somebody else says something. */
function turnsOf(items: ResponsesFields["input"]): ServedMessage[] {
  const turns: ServedMessage[] = [];
  const assistant = (more: Partial<AssistantMessage>): void => {
    const last = turns.at(-1);
    if (last?.role === "assistant" && more.reasoning_content === undefined) turns[turns.length - 1] = { ...last, ...more, content: last.content + (more.content ?? "") };
    else turns.push({ role: "assistant", content: "", ...more });
  };
  for (const one of items) {
    if (one.type === "function_call_output") turns.push({ role: "tool", content: one.output, tool_call_id: one.call_id });
    else if (one.type === "reasoning") assistant({ reasoning_content: one.content || one.summary || "" });
    else if (one.type === "function_call") {
      const last = turns.at(-1);
      const before = last?.role === "assistant" ? (last.tool_calls ?? []) : [];
      assistant({ tool_calls: [...before, { id: one.call_id, type: "function", function: { name: one.name, arguments: one.arguments || "{}" } }] });
    } else if (one.role === "assistant") assistant({ content: one.content });
    else turns.push({ role: one.role === "user" ? "user" : "system", content: one.content });
  }
  return turns;
}

function toolUseOf({ tools, tool_choice: choice, parallel_tool_calls }: ResponsesFields): ToolUse | undefined {
  const all = (tools ?? []).map(({ name, description, parameters, strict }) => tool(name, description, parameters, strict));
  const parallel = parallel_tool_calls ?? true;
  if (choice === "none") return undefined;
  if (choice === null || choice === undefined || typeof choice === "string") return toolUse(all, choice ?? "auto", undefined, parallel);
  if (choice.type === "function") return toolUse(all, "required", [choice.name], false);
  return toolUse(all, choice.mode, choice.tools.map(({ name }) => name), parallel);
}

function formatOf({ text: options }: ResponsesFields): AnswerFormat {
  const format = options?.format;
  if (format?.type === "json_schema") return { type: "json_schema", schema: format.schema };
  return format ?? { type: "text" };
}

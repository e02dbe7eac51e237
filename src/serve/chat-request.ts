import { z } from "zod";
import { LongjingError } from "../errors/index.ts";
import { answerFormatOf, formatFields, ignoredOfFormat, type AnswerFormat } from "./answer-format.ts";
import { checkMessages, message, type ServedMessage } from "./chat-messages.ts";
import { modelName, parseBody, samplingFields, settingsOf, unknownFields, whole, type CompletionSettings } from "./request-fields.ts";
import { thinkingFields, thinkingOf, type Thinking } from "./thinking.ts";
import { ignoredOfTools, toolFields, toolUseOf, type ToolUse } from "./tools.ts";

/** A request for an answer after parsing: every field has one form and the caller's silence is `undefined`. */
export interface ChatRequest extends CompletionSettings {
  readonly model: string;
  readonly messages: readonly ServedMessage[];
  readonly logprobs: boolean;
  readonly max_tokens: number | undefined;
  readonly thinking: Thinking;
  readonly tools: ToolUse | undefined;
  readonly format: AnswerFormat;
  /** More variables for the chat template. */
  readonly template: Readonly<Record<string, unknown>>;
  /** Fields of the body that this server does not know and has not used. */
  readonly ignored: readonly string[];
}

const known = z.object({
  model: modelName,
  messages: z.array(message).min(1).max(2048),
  max_completion_tokens: whole(1, 2 ** 31),
  logprobs: z.boolean().nullish(),
  top_logprobs: whole(0, 20),
  continue_final_message: z.boolean().nullish(),
  ...samplingFields,
  ...formatFields,
  ...thinkingFields,
  ...toolFields,
});

/** A chat completion in OpenAI's or DeepSeek's form. Throws `bad_argument` that names the field. */
export function parseChatRequest(body: unknown): ChatRequest {
  const data = parseBody(known, body);
  const messages = data.continue_final_message ? withPrefix(data.messages) : data.messages;
  checkMessages(messages);
  const tools = toolUseOf(data);
  const format = answerFormatOf(data);
  if (tools?.choice === "required" && format.type !== "text") throw new LongjingError("bad_argument", "An answer that must be a tool call has no other format", { where: "response_format", got: format.type });
  return {
    ...settingsOf(data, data.logprobs === true ? (data.top_logprobs ?? undefined) : undefined),
    model: data.model,
    messages,
    logprobs: data.logprobs ?? false,
    max_tokens: data.max_completion_tokens ?? data.max_tokens ?? undefined,
    thinking: thinkingOf(data, data.model),
    tools,
    format,
    template: data.chat_template_kwargs ?? {},
    ignored: [...unknownFields(known, body), ...ignoredOfTools(tools), ...ignoredOfFormat(data)],
  };
}

/** The conversation with its last message as the beginning of the answer. */
export function withPrefix(messages: readonly ServedMessage[]): readonly ServedMessage[] {
  const last = messages.at(-1);
  if (last?.role !== "assistant") throw new LongjingError("bad_argument", "Only a message of the assistant can be continued", { where: "messages", got: last?.role });
  return [...messages.slice(0, -1), { ...last, prefix: true }];
}

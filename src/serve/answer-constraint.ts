import type { ConstraintSpec } from "../constrain/index.ts";
import type { TokenConstraint } from "../engine/types.ts";
import { LongjingError } from "../errors/index.ts";
import { toolSyntaxOf } from "../text/index.ts";
import { thinks, type ChatPrompt } from "./chat-prompt.ts";
import type { ChatRequest } from "./chat-request.ts";
import type { ServedModel } from "./model.ts";

type Asked = Pick<ChatRequest, "tools" | "format" | "thinking" | "messages">;

/** What keeps an answer to its format, its calls to their functions and its thinking to its budget; one for each sequence. */
export async function answerConstraint(model: ServedModel, request: Asked, prompt: ChatPrompt): Promise<(() => TokenConstraint) | undefined> {
  const spec = specOf(model, request);
  const budget = request.thinking.budget;
  const last = request.messages.at(-1);
  return await model.constrainer.constraintFor({
    thinking: prompt.thinking ? "inside" : prompt.answering || request.thinking.enabled === false || !thinks(model) ? "none" : "before",
    ...(spec === undefined ? {} : { spec }),
    ...(budget === undefined ? {} : { thinking_budget: budget }),
    ...(prompt.answering && last !== undefined ? { begun: last.content } : {}),
  });
}

function specOf(model: ServedModel, { tools, format }: Asked): ConstraintSpec | undefined {
  if (tools === undefined) return format.type === "text" ? undefined : format;
  if (format.type !== "text") throw new LongjingError("unsupported", "An answer has a format or may call tools, not both", { where: "response_format", got: format.type });
  return {
    type: "tool_calls",
    syntax: toolSyntaxOf(model.chatTemplate ?? ""),
    required: tools.choice === "required",
    parallel: tools.parallel,
    tools: tools.tools.map(({ name, parameters, strict }) => ({ name, parameters, strict: strict || tools.choice === "required" })),
  };
}

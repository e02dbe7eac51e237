import { enforceable, type ConstraintSpec } from "../constrain/index.ts";
import type { TokenConstraint } from "../engine/types.ts";
import { LongjingError } from "../errors/index.ts";
import { toolSyntaxOf } from "../text/index.ts";
import { thinks, type ChatPrompt } from "./chat-prompt.ts";
import type { ChatRequest } from "./chat-request.ts";
import type { ServedModel } from "./model.ts";

type Asked = Pick<ChatRequest, "tools" | "format" | "thinking">;

/**
 * What keeps an answer to its format, its calls to their functions and its thinking to its budget; one for each sequence. Where
 * nothing else is said, an answer that has a form is left half of the tokens.
 */
export async function answerConstraint(model: ServedModel, request: Asked, prompt: ChatPrompt, max_tokens: number): Promise<(() => TokenConstraint) | undefined> {
  const spec = specOf(model, request);
  const formal = spec !== undefined && (spec.type !== "tool_calls" || spec.required || spec.instead !== undefined);
  const budget = request.thinking.budget ?? (formal ? Math.floor(max_tokens / 2) : undefined);
  return await model.constrainer.constraintFor({
    thinking: prompt.thinking ? "inside" : prompt.begun !== "" || request.thinking.enabled === false || !thinks(model) ? "none" : "before",
    ...(spec === undefined ? {} : { spec }),
    ...(budget === undefined ? {} : { thinking_budget: budget }),
    begun: prompt.begun,
  });
}

function specOf(model: ServedModel, { tools, format }: Asked): ConstraintSpec | undefined {
  if (tools === undefined) return format.type === "text" ? undefined : format;
  const instead = format.type === "text" ? undefined : format;
  if (instead !== undefined && instead.type !== "json_object" && instead.type !== "json_schema")
    throw new LongjingError("unsupported", "Beside tools an answer is text or JSON", { where: "response_format", got: instead.type });
  return {
    type: "tool_calls",
    syntax: toolSyntaxOf(model.chatTemplate ?? ""),
    required: tools.choice === "required",
    parallel: tools.parallel,
    ...(instead === undefined ? {} : { instead }),
    tools: tools.tools.map(({ name, parameters, strict }) => ({ name, parameters: strict ? parameters : enforceable(parameters).schema, strict: strict || tools.choice === "required" })),
  };
}

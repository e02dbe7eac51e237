import { z } from "zod";
import { LongjingError } from "../errors/index.ts";
import { enforceable } from "../constrain/index.ts";
import type { ToolDefinition } from "../text/index.ts";
import { toolName } from "./chat-messages.ts";

/** The functions of a request and how free the model is to call them. */
export interface ToolUse {
  readonly tools: readonly Tool[];
  /** `required`: the answer is one call or more and nothing else. */
  readonly choice: "auto" | "required";
  /** Whether one answer may hold several calls. */
  readonly parallel: boolean;
}

export interface Tool extends ToolDefinition {
  /** The arguments must follow the schema to the letter; a schema that cannot be enforced is refused. */
  readonly strict: boolean;
}

export const toolSchema = z.object({
  type: z.literal("function", { error: "only functions are supported" }),
  function: z.object({
    name: toolName,
    description: z.string().nullish(),
    parameters: z.record(z.string(), z.unknown()).nullish(),
    strict: z.boolean().nullish(),
  }),
});

export const toolFields = {
  tools: z.array(toolSchema).max(128, "must have at most 128 functions").nullish(),
  tool_choice: z
    .union(
      [
        z.enum(["none", "auto", "required"]),
        z.object({ type: z.literal("function"), function: z.object({ name: z.string() }) }),
        z.object({
          type: z.literal("allowed_tools"),
          allowed_tools: z.object({ mode: z.enum(["auto", "required"]), tools: z.array(z.object({ function: z.object({ name: z.string() }) })).min(1) }),
        }),
      ],
      { error: "must be none, auto, required, or name a function" },
    )
    .nullish(),
  parallel_tool_calls: z.boolean().nullish(),
  functions: z.null({ error: "is no longer read; send tools" }).optional(),
  function_call: z.null({ error: "is no longer read; send tool_choice" }).optional(),
};

type Fields = z.infer<z.ZodObject<typeof toolFields>>;

/** Undefined when no tool may be called. @throws LongjingError "bad_argument" for a choice that cannot be made */
export function toolUseOf(data: Fields): ToolUse | undefined {
  const tools = (data.tools ?? []).map(({ function: { name, description, parameters, strict } }) => tool(name, description, parameters, strict));
  const choice = data.tool_choice ?? "auto";
  const parallel = data.parallel_tool_calls ?? true;
  if (choice === "none") return undefined;
  if (typeof choice === "string") return toolUse(tools, choice, undefined, parallel);
  if (choice.type === "function") return toolUse(tools, "required", [choice.function.name], false);
  return toolUse(tools, choice.allowed_tools.mode, choice.allowed_tools.tools.map((one) => one.function.name), parallel);
}

export function tool(name: string, description: string | null | undefined, parameters: Readonly<Record<string, unknown>> | null | undefined, strict: boolean | null | undefined): Tool {
  return { name, ...(description ? { description } : {}), parameters: parameters ?? { type: "object", properties: {} }, strict: strict ?? false };
}

/** Keywords that are not enforced where a call is required by a tool that is not strict, as fields that have no effect. */
export function ignoredOfTools(use: ToolUse | undefined): string[] {
  if (use?.choice !== "required") return [];
  const left = use.tools.flatMap(({ strict, parameters }) => (strict ? [] : enforceable(parameters).left_out));
  return [...new Set(left)].map((keyword) => `tools.${keyword}`);
}

/** `allowed`: the only names that may be called. */
export function toolUse(tools: readonly Tool[], choice: "auto" | "required", allowed: readonly string[] | undefined, parallel: boolean): ToolUse | undefined {
  const names = tools.map(({ name }) => name);
  const twice = names.find((name, at) => names.indexOf(name) !== at);
  if (twice !== undefined) throw new LongjingError("bad_argument", "Two tools have one name", { where: "tools", got: twice });
  const stray = allowed?.find((name) => !names.includes(name));
  if (stray !== undefined) throw new LongjingError("bad_argument", "tool_choice names a function that is not in tools", { where: "tool_choice", got: stray, expected: names.join(", ") });
  if (tools.length === 0 && choice === "required") throw new LongjingError("bad_argument", "A tool must be called, and there is none", { where: "tool_choice", expected: "tools" });
  if (tools.length === 0) return undefined;
  return { tools: allowed === undefined ? tools : tools.filter(({ name }) => allowed.includes(name)), choice, parallel };
}

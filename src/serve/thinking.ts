import { z } from "zod";
import { whole } from "./request-fields.ts";

/** What a request says of the thinking before the answer. */
export interface Thinking {
  /** Undefined leaves it to the chat template. */
  readonly enabled: boolean | undefined;
  /** Most tokens to think; then the thinking is ended and the answer begins. */
  readonly budget: number | undefined;
  /** As it was asked for; templates may read it. */
  readonly effort: Effort | undefined;
}

const efforts = ["none", "minimal", "low", "medium", "high", "xhigh", "max", "ultra"] as const;

export type Effort = (typeof efforts)[number];

export const effort = z.enum(efforts, { error: `must be one of ${efforts.join(", ")}` });

/** An effort as a number of tokens: DeepSeek reads minimal as low, medium and xhigh as high, ultra as max; max has no end. */
const budgets: Readonly<Record<Effort, number | undefined>> = { none: 0, minimal: 512, low: 512, medium: 2048, high: 2048, xhigh: 2048, max: undefined, ultra: undefined };

export const thinkingFields = {
  thinking: z
    .object({ type: z.enum(["enabled", "disabled", "adaptive"], { error: "must be enabled, disabled or adaptive" }), budget_tokens: whole(0, 2 ** 31) })
    .nullish(),
  reasoning_effort: effort.nullish(),
  thinking_token_budget: whole(0, 2 ** 31),
  enable_thinking: z.boolean().nullish(),
  chat_template_kwargs: z.record(z.string(), z.unknown()).nullish(),
};

type Fields = z.infer<z.ZodObject<typeof thinkingFields>>;

/** What was said most plainly counts: `thinking`, then the switches of Qwen's and vLLM's users, then the name of the model. */
export function thinkingOf(data: Fields, model: string): Thinking {
  const asked = data.reasoning_effort ?? undefined;
  const { enable_thinking, thinking } = data.chat_template_kwargs ?? {};
  const [template] = [enable_thinking, thinking].filter((value) => typeof value === "boolean");
  const enabled = byType(data.thinking?.type) ?? data.enable_thinking ?? template ?? (asked === undefined ? byAlias(model) : asked !== "none");
  return { enabled, budget: data.thinking?.budget_tokens ?? data.thinking_token_budget ?? (asked === undefined ? undefined : budgets[asked]), effort: asked };
}

export function thinkingByEffort(asked: Effort | undefined, model: string): Thinking {
  return thinkingOf({ reasoning_effort: asked }, model);
}

function byType(type: "enabled" | "disabled" | "adaptive" | undefined): boolean | undefined {
  return type === "enabled" ? true : type === "disabled" ? false : undefined;
}

function byAlias(model: string): boolean | undefined {
  return model === "deepseek-reasoner" ? true : model === "deepseek-chat" ? false : undefined;
}

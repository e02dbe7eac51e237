import { z } from "zod";
import { LongjingError } from "../errors/index.ts";
import type { SamplingParams } from "../engine/types.ts";
import type { ChatMessage } from "./model.ts";

/** A chat completion request after parsing: every field has one form and the caller's silence is `undefined`. */
export interface ChatRequest {
  readonly model: string;
  readonly messages: readonly ChatMessage[];
  readonly stream: boolean;
  readonly n: number;
  readonly stop: readonly string[];
  readonly logprobs: boolean;
  readonly sampling: Omit<SamplingParams, "max_tokens" | "stop_token_ids">;
  readonly max_tokens: number | undefined;
  /** Fields of the body that this server does not know and has not used. */
  readonly ignored: readonly string[];
}

const textPart = z.object({ type: z.literal("text"), text: z.string() });
const content = z.union([z.string(), z.array(textPart).transform((parts) => parts.map((part) => part.text).join(""))], {
  error: "must be a string or a list of text parts",
});

const message = z.union(
  [
    z.object({ role: z.enum(["system", "developer"]), content }).transform(({ content: text }) => ({ role: "system" as const, content: text })),
    z.object({ role: z.literal("user"), content }),
    // What an assistant thought earlier is not part of the conversation: R1 is never shown its old reasoning.
    z.object({ role: z.literal("assistant"), content: content.nullish().transform((text) => text ?? "") }),
  ],
  { error: "must be a system, developer, user or assistant message with text content" },
);

const between = (low: number, high: number) => z.number().min(low).max(high).nullish();
const whole = (low: number, high: number) => z.int().min(low).max(high).nullish();

const known = z.object({
  model: z.string().min(1),
  messages: z.array(message).min(1).max(2048),
  stream: z.boolean().nullish(),
  stream_options: z.object({ include_usage: z.boolean().nullish() }).nullish(),
  n: whole(1, 16),
  max_tokens: whole(1, 2 ** 31),
  max_completion_tokens: whole(1, 2 ** 31),
  temperature: between(0, 2),
  top_p: z.number().gt(0).max(1).nullish(),
  top_k: whole(0, 2 ** 31),
  min_p: between(0, 1),
  repetition_penalty: z.number().gt(0).max(10).nullish(),
  presence_penalty: between(-2, 2),
  frequency_penalty: between(-2, 2),
  seed: whole(Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER),
  stop: z
    .union([z.string().min(1), z.array(z.string().min(1)).max(16)], { error: "must be a string or up to 16 of them, none empty" })
    .nullish(),
  logprobs: z.boolean().nullish(),
  top_logprobs: whole(0, 20),
  logit_bias: z.record(z.string().regex(/^\d+$/, "must be a token id"), z.number().min(-100).max(100)).nullish(),
  // These change what the answer means, so they are refused and not ignored.
  response_format: z.object({ type: z.literal("text", { error: "only text is supported" }) }).nullish(),
  tools: z.array(z.unknown()).max(0, "tools are not supported").nullish(),
});

const knownFields = new Set(Object.keys(known.shape));

/** Throws `bad_argument` that names the field. */
export function parseChatRequest(body: unknown): ChatRequest {
  const parsed = known.safeParse(body);
  if (!parsed.success) throw badField(parsed.error, body);
  const { data } = parsed;
  return {
    model: data.model,
    messages: data.messages,
    stream: data.stream ?? false,
    n: data.n ?? 1,
    stop: typeof data.stop === "string" ? [data.stop] : (data.stop ?? []),
    logprobs: data.logprobs ?? false,
    sampling: samplingOf(data),
    max_tokens: data.max_completion_tokens ?? data.max_tokens ?? undefined,
    ignored: Object.keys(body as object).filter((field) => !knownFields.has(field)),
  };
}

function samplingOf(data: z.infer<typeof known>): ChatRequest["sampling"] {
  const given = {
    temperature: data.temperature,
    top_p: data.top_p,
    top_k: data.top_k,
    min_p: data.min_p,
    repetition_penalty: data.repetition_penalty,
    presence_penalty: data.presence_penalty,
    frequency_penalty: data.frequency_penalty,
    seed: data.seed,
    top_logprobs: data.logprobs === true ? data.top_logprobs : undefined,
    logit_bias: data.logit_bias ? new Map(Object.entries(data.logit_bias).map(([id, bias]) => [Number(id), bias])) : undefined,
  };
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined && value !== null));
}

/** The first issue of a failed parse as one of our errors. */
export function badField(error: z.ZodError, body: unknown): LongjingError {
  const [issue] = error.issues;
  const path = issue?.path.map(String) ?? [];
  const got = path.reduce<unknown>((value, key) => (Object(value) === value ? (value as Record<string, unknown>)[key] : undefined), body);
  const where = path.length > 0 ? path.join(".") : "request body";
  return new LongjingError("bad_argument", `The request is not acceptable: ${issue?.message ?? "malformed"}`, { where, got: got ?? "nothing" });
}

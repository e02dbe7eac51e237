import { z } from "zod";
import type { SamplingParams } from "../engine/types.ts";
import { LongjingError } from "../errors/index.ts";

/** Choices of one prompt. */
const mostChoices = 16;

const between = (low: number, high: number) => z.number().min(low).max(high).nullish();

export const whole = (low: number, high: number) => z.int().min(low).max(high).nullish();

/** Silence, here "", means the first model, as the names in `aliases` do. */
export const modelName = z.string().nullish().transform((name) => name ?? "");

/** Fields that chat and text completions share, under the names of OpenAI and vLLM. */
export const samplingFields = {
  stream: z.boolean().nullish(),
  stream_options: z.object({ include_usage: z.boolean().nullish() }).nullish(),
  n: whole(1, mostChoices),
  max_tokens: whole(1, 2 ** 31),
  temperature: between(0, 2),
  top_p: z.number().gt(0).max(1).nullish(),
  top_k: whole(-1, 2 ** 31),
  min_p: between(0, 1),
  repetition_penalty: between(0.01, 10),
  presence_penalty: between(-2, 2),
  frequency_penalty: between(-2, 2),
  // Each choice has the next seed, which must be another number.
  seed: whole(Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER - mostChoices),
  stop: z
    .union([z.string().min(1), z.array(z.string().min(1)).max(16)], { error: "must be a string or up to 16 of them, none empty" })
    .nullish(),
  logit_bias: z.record(z.string().regex(/^\d+$/, "must be a token id"), z.number().min(-100).max(100)).nullish(),
  ignore_eos: z.boolean().nullish(),
  user: z.string().nullish(),
  user_id: z.string().regex(/^[A-Za-z0-9_-]{0,512}$/, "must be at most 512 of A-Z, a-z, 0-9, _ and -").nullish(),
  cache_salt: z.string().max(512).nullish(),
};

type Fields = z.infer<z.ZodObject<typeof samplingFields>>;

/** What a request says of sampling; its silence is left to the model's own defaults. */
export type RequestSampling = Omit<SamplingParams, "max_tokens" | "stop_token_ids">;

/** Settings of a completion that are no part of its sampling. */
export interface CompletionSettings {
  readonly stream: boolean;
  /** Whether a stream was asked to tell its usage; undefined where nothing was said. */
  readonly include_usage: boolean | undefined;
  readonly n: number;
  readonly stop: readonly string[];
  readonly sampling: RequestSampling;
  /** Goes on behind the end-of-sequence token, for measurements. */
  readonly ignore_eos: boolean;
  readonly user: string;
  /** Who shares cached prefixes: the user and the salt, so that neither can be taken for the other; "" where neither is named. */
  readonly cache_salt: string;
}

export function settingsOf(data: Fields, top_logprobs: number | undefined): CompletionSettings {
  const given = {
    temperature: data.temperature,
    top_p: data.top_p,
    top_k: data.top_k === -1 ? 0 : data.top_k,
    min_p: data.min_p,
    repetition_penalty: data.repetition_penalty,
    presence_penalty: data.presence_penalty,
    frequency_penalty: data.frequency_penalty,
    seed: data.seed,
    top_logprobs,
    logit_bias: data.logit_bias ? new Map(Object.entries(data.logit_bias).map(([id, bias]) => [Number(id), bias])) : undefined,
  };
  const user = data.user_id ?? data.user ?? "";
  const salt = data.cache_salt ?? "";
  return {
    stream: data.stream ?? false,
    include_usage: data.stream_options?.include_usage ?? undefined,
    n: data.n ?? 1,
    stop: typeof data.stop === "string" ? [data.stop] : (data.stop ?? []),
    sampling: Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined && value !== null)),
    ignore_eos: data.ignore_eos ?? false,
    user,
    cache_salt: user === "" && salt === "" ? "" : JSON.stringify([user, salt]),
  };
}

/** Parses `body`, or throws `bad_argument` that names the field. */
export function parseBody<T>(schema: z.ZodType<T>, body: unknown): T {
  const parsed = schema.safeParse(body);
  if (parsed.success) return parsed.data;
  throw badField(parsed.error, body);
}

/** The first issue of a failed parse as one of our errors. */
export function badField(error: z.ZodError, body: unknown): LongjingError {
  const [issue] = error.issues;
  const path = issue?.path.map(String) ?? [];
  const got = path.reduce<unknown>((value, key) => (Object(value) === value ? (value as Record<string, unknown>)[key] : undefined), body);
  const where = path.length > 0 ? path.join(".") : "request body";
  return new LongjingError("bad_argument", `The request is not acceptable: ${issue?.message ?? "malformed"}`, { where, got: got ?? "nothing" });
}

/** Fields of an object that `schema` does not know. */
export function unknownFields(schema: z.ZodObject, body: unknown): string[] {
  return Object.keys(body as object).filter((field) => !Object.hasOwn(schema.shape, field));
}

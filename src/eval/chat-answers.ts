import { z } from "zod";
import { LongjingError } from "../errors/index.ts";
import { createPost, type PostOptions } from "../tasks/remote/post.ts";

/** How answers are sampled. Null leaves a setting to the model or endpoint. */
export interface ChatSampling {
  readonly temperature: number | null;
  readonly top_p: number | null;
  readonly max_tokens: number;
}

/** A request for one chat completion, in OpenAI's form. */
export interface ChatBody {
  readonly model: string;
  readonly messages: readonly { readonly role: "system" | "user"; readonly content: string }[];
  readonly [field: string]: unknown;
}

export interface Usage {
  /** Those from a cache included. */
  readonly prompt_tokens: number;
  readonly cached_tokens: number;
  /** Those of the thinking included. */
  readonly completion_tokens: number;
}

/** One completion, as it was got. */
export interface ChatAnswer {
  readonly content: string;
  readonly reasoning_content: string | null;
  readonly finish_reason: string | null;
  /** Null where the endpoint says none, or none that makes sense. */
  readonly usage: Usage | null;
  /** Processor time of the own engine; null for an endpoint. */
  readonly core_seconds: number | null;
}

/** Answers a request. @throws LongjingError */
export type Ask = (body: ChatBody) => Promise<ChatAnswer>;

export interface RequestFields extends ChatSampling {
  readonly model: string;
  readonly system: string | null;
  readonly prompt: string;
  readonly seed: number;
  /** Fields that are added, or with null taken away. */
  readonly extra: Readonly<Record<string, unknown>>;
}

export function chatBody({ model, system, prompt, extra, ...sampling }: RequestFields): ChatBody {
  const messages = [...(system === null ? [] : [{ role: "system", content: system }]), { role: "user", content: prompt }];
  const fields = Object.entries({ ...sampling, ...extra }).filter(([, value]) => value !== null);
  return { model, messages, ...Object.fromEntries(fields) } as ChatBody;
}

const text = z.string().nullish();
const count = z.int().min(0).max(2 ** 40);
const usage = z.object({
  prompt_tokens: count,
  completion_tokens: count,
  prompt_cache_hit_tokens: count.nullish(),
  prompt_tokens_details: z.object({ cached_tokens: count.nullish() }).nullish(),
});
const completion = z.object({
  choices: z.array(z.object({ finish_reason: text, message: z.object({ content: text, reasoning_content: text, reasoning: text }) })).length(1),
  usage: z.unknown(),
});
const failure = z.object({ error: z.object({ message: z.string() }) });

/**
 * A chat completion in OpenAI's form, with the thinking where DeepSeek, vLLM and others put it.
 * @throws LongjingError "network" for anything else, an error in a successful answer included: asking again may help
 */
export function readCompletion(json: unknown, where: string): ChatAnswer {
  const { data } = completion.safeParse(json);
  const [choice] = data?.choices ?? [];
  if (data === undefined || choice === undefined) {
    const { data: failed } = failure.safeParse(json);
    throw new LongjingError("network", failed === undefined ? "The endpoint's answer is no completion" : "The endpoint fails", { where, ...(failed !== undefined && { got: failed.error.message }), expected: '{"choices": [{"message": {"content": …}, …}]}' });
  }
  const { message, finish_reason = null } = choice;
  return {
    content: message.content ?? "",
    reasoning_content: message.reasoning_content ?? message.reasoning ?? null,
    finish_reason,
    usage: readUsage(data.usage),
    core_seconds: null,
  };
}

function readUsage(said: unknown): Usage | null {
  const { data } = usage.safeParse(said);
  if (data === undefined) return null;
  const cached_tokens = data.prompt_tokens_details?.cached_tokens ?? data.prompt_cache_hit_tokens ?? 0;
  return { prompt_tokens: data.prompt_tokens, cached_tokens: Math.min(cached_tokens, data.prompt_tokens), completion_tokens: data.completion_tokens };
}

export interface EndpointOptions extends PostOptions {
  /** Base of an OpenAI-compatible endpoint, up to and without "/chat/completions". */
  readonly url: string;
}

/**
 * Asks an OpenAI-compatible endpoint. The key goes to that address alone, and is in no answer.
 * @throws LongjingError "bad_argument" for an address that is none
 */
export function endpoint({ url, ...options }: EndpointOptions): Ask {
  const base = URL.canParse(url) ? new URL(url) : undefined;
  if (base === undefined || !/^https?:$/.test(base.protocol) || base.username !== "" || base.password !== "" || base.search !== "") {
    throw new LongjingError("bad_argument", "This is no address of an endpoint", { where: "--endpoint", got: base === undefined ? url : `${base.protocol}//${base.host}`, expected: "https://HOST/v1, without a key in it" });
  }
  const where = `${base.href.replace(/\/+$/, "")}/chat/completions`;
  const post = createPost(options);
  return (body) => post(where, body, (json) => readCompletion(json, where));
}

import { z } from "zod";
import { LongjingError } from "../errors/index.ts";
import { functionTool, type ToolDefinition } from "../text/index.ts";
import { createPost, type PostOptions } from "../tasks/remote/post.ts";

/** How answers are sampled. Null leaves a setting to the model or endpoint. */
export interface ChatSampling {
  readonly temperature: number | null;
  readonly top_p: number | null;
  readonly max_tokens: number;
}

/** A call in OpenAI's form. */
export interface ChatToolCall {
  readonly id: string;
  readonly type: "function";
  /** The arguments as the model wrote them. */
  readonly function: { readonly name: string; readonly arguments: string };
}

export type Message =
  | { readonly role: "system" | "user"; readonly content: string }
  | { readonly role: "assistant"; readonly content: string; readonly reasoning_content?: string; readonly tool_calls?: readonly ChatToolCall[] }
  | { readonly role: "tool"; readonly content: string; readonly tool_call_id: string };

/** A request for one chat completion, in OpenAI's form. */
export interface ChatBody {
  readonly model: string;
  readonly messages: readonly Message[];
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
  readonly tool_calls?: readonly ChatToolCall[] | undefined;
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
  /** What the model may call. */
  readonly tools?: readonly ToolDefinition[] | undefined;
  /** Fields that are added, or with null taken away. */
  readonly extra: Readonly<Record<string, unknown>>;
}

export function chatBody({ model, system, prompt, tools, extra, ...sampling }: RequestFields): ChatBody {
  const messages = [...(system === null ? [] : [{ role: "system", content: system }]), { role: "user", content: prompt }];
  const fields = Object.entries({ ...sampling, ...(tools && { tools: tools.map(functionTool) }), ...extra }).filter(([, value]) => value !== null);
  return { model, messages, ...Object.fromEntries(fields) } as ChatBody;
}

/** Calls in OpenAI's form. */
export const toolCalls = z.array(z.object({ id: z.string(), type: z.literal("function").default("function"), function: z.object({ name: z.string(), arguments: z.string() }) }));
const text = z.string().nullish();
const count = z.int().min(0).max(2 ** 40);
const usage = z.object({
  prompt_tokens: count,
  completion_tokens: count,
  prompt_cache_hit_tokens: count.nullish(),
  prompt_tokens_details: z.object({ cached_tokens: count.nullish() }).nullish(),
});
const completion = z.object({
  choices: z.array(z.object({ finish_reason: text, message: z.object({ content: text, reasoning_content: text, reasoning: text, tool_calls: toolCalls.nullish() }) })).length(1),
  usage: z.unknown().optional(),
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
    ...(message.tool_calls?.length && { tool_calls: message.tool_calls }),
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

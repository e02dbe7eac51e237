import type { ChatEvent, EndEvent, TokenLogprob } from "./chat-events.ts";
import { chunkMaker, collect, textOf, type ChatHead } from "./chat-wire.ts";
import { addUsage, usageOf, usagePlace, type Usage } from "./usage.ts";

/** Log-probabilities in the form of OpenAI's first API: parallel lists. */
interface TextLogprobs {
  readonly tokens: readonly string[];
  /** Null of the first token of an echoed prompt, which nothing predicts. */
  readonly token_logprobs: readonly (number | null)[];
  readonly top_logprobs: readonly (Readonly<Record<string, number>> | null)[];
  /** Where each token's text begins, in characters of the choice's text. */
  readonly text_offset: readonly number[];
}

interface TextChoice {
  readonly index: number;
  readonly text: string;
  readonly logprobs: TextLogprobs | null;
  readonly finish_reason: "stop" | "length" | null;
}

export interface TextCompletion extends ChatHead {
  readonly object: "text_completion";
  readonly choices: readonly TextChoice[];
  readonly usage?: Usage | null | undefined;
}

/** One prompt of a request: its choices, whose indices start at `first`. */
export interface PromptEvents {
  readonly first: number;
  readonly events: AsyncIterable<ChatEvent>;
}

export async function* toTextChunks(head: ChatHead, total: number, prompts: AsyncIterable<{ readonly prompt: PromptEvents; readonly event: ChatEvent }>, include_usage?: boolean): AsyncGenerator<TextCompletion, void> {
  const place = usagePlace(include_usage);
  const chunk = chunkMaker(head, "text_completion", place);
  const ends = new Map<number, EndEvent[]>();
  const offsets = new Map<number, number>();
  let left = total;
  for await (const { prompt, event } of prompts) {
    const index = prompt.first + event.index;
    const begun = offsets.get(index) ?? 0;
    if (event.type === "text-delta") {
      const logprobs = logprobsOf(event.logprobs, begun);
      // A token whose text is held back comes with a later piece: offsets go by the tokens.
      offsets.set(index, begun + (logprobs?.tokens.join("") ?? event.text).length);
      yield chunk([{ index, text: event.text, logprobs, finish_reason: null }]);
    }
    if (event.type !== "end") continue;
    ends.set(prompt.first, [...(ends.get(prompt.first) ?? []), event]);
    const usage = --left === 0 ? addUsage([...ends.values()].map(usageOf)) : null;
    yield chunk([{ index, text: "", logprobs: null, finish_reason: reasonOf(event) }], place === "finish" ? usage : null);
    if (place === "chunk" && usage !== null) yield chunk([], usage);
  }
}

export async function toTextCompletion(head: ChatHead, prompts: readonly PromptEvents[]): Promise<TextCompletion> {
  const done = await Promise.all(prompts.map(async ({ first, events }) => ({ first, ...(await collect(events)) })));
  return {
    ...head,
    object: "text_completion",
    choices: done.flatMap(({ first, parts, ends }) =>
      ends.map((end) => {
        const own = parts.filter((part) => part.index === end.index);
        const tokens = own.flatMap((part) => ("logprobs" in part && part.logprobs ? part.logprobs : []));
        const logprobs = own.some((part) => "logprobs" in part) ? logprobsOf(tokens, 0) : null;
        return { index: first + end.index, text: textOf(own, "text-delta"), logprobs, finish_reason: reasonOf(end) };
      }),
    ),
    usage: addUsage(done.map(({ ends }) => usageOf(ends))),
  };
}

function reasonOf({ finish_reason }: EndEvent): "stop" | "length" {
  return finish_reason === "length" ? "length" : "stop";
}

function logprobsOf(tokens: readonly TokenLogprob[] | undefined, start: number): TextLogprobs | null {
  if (tokens === undefined) return null;
  let offset = start;
  return {
    tokens: tokens.map(({ token }) => token),
    token_logprobs: tokens.map(({ logprob }) => logprob),
    // A token that is not among the most likely stands beside them.
    top_logprobs: tokens.map((own) => (own.logprob === null ? null : Object.fromEntries([own, ...own.top_logprobs].map(({ token, logprob }) => [token, logprob ?? 0])))),
    text_offset: tokens.map(({ token }) => {
      const at = offset;
      offset += token.length;
      return at;
    }),
  };
}

import type { ChatEvent, EndEvent, TokenLogprob } from "./chat-events.ts";
import { collect, textOf, type ChatHead } from "./chat-wire.ts";
import { addUsage, usageOf, type Usage } from "./usage.ts";

/** Log-probabilities in the form of OpenAI's first API: parallel lists. */
interface TextLogprobs {
  readonly tokens: readonly string[];
  readonly token_logprobs: readonly number[];
  readonly top_logprobs: readonly Readonly<Record<string, number>>[];
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
  readonly usage: Usage | null;
}

/** One prompt of a request: its choices, whose indices start at `first`, and the text that is echoed before them. */
export interface PromptEvents {
  readonly first: number;
  readonly echo: string;
  readonly events: AsyncIterable<ChatEvent>;
}

export async function* toTextChunks(head: ChatHead, total: number, prompts: AsyncIterable<{ readonly prompt: PromptEvents; readonly event: ChatEvent }>): AsyncGenerator<TextCompletion, void> {
  const chunk = (choice: TextChoice, usage: Usage | null = null): TextCompletion => ({ ...head, object: "text_completion", choices: [choice], usage });
  const ends = new Map<number, EndEvent[]>();
  const offsets = new Map<number, number>();
  let left = total;
  for await (const { prompt, event } of prompts) {
    const index = prompt.first + event.index;
    const begun = offsets.get(index);
    const said = begun === undefined ? prompt.echo : "";
    offsets.set(index, (begun ?? prompt.echo.length) + (event.type === "text-delta" ? event.text.length : 0));
    if (event.type === "text-delta") yield chunk({ index, text: said + event.text, logprobs: logprobsOf(event.logprobs, begun ?? prompt.echo.length), finish_reason: null });
    if (event.type !== "end") continue;
    const group = [...(ends.get(prompt.first) ?? []), event];
    ends.set(prompt.first, group);
    left--;
    const usage = left === 0 ? addUsage([...ends.values()].map(usageOf)) : null;
    yield chunk({ index, text: said, logprobs: null, finish_reason: reasonOf(event) }, usage);
  }
}

export async function toTextCompletion(head: ChatHead, prompts: readonly PromptEvents[]): Promise<TextCompletion> {
  const done = await Promise.all(prompts.map(async ({ first, echo, events }) => ({ first, echo, ...(await collect(events)) })));
  return {
    ...head,
    object: "text_completion",
    choices: done.flatMap(({ first, echo, parts, ends }) =>
      ends.map((end) => {
        const own = parts.filter((part) => part.index === end.index);
        const tokens = own.flatMap((part) => ("logprobs" in part && part.logprobs ? part.logprobs : []));
        const logprobs = own.some((part) => "logprobs" in part) ? logprobsOf(tokens, echo.length) : null;
        return { index: first + end.index, text: echo + textOf(own, "text-delta"), logprobs, finish_reason: reasonOf(end) };
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
    top_logprobs: tokens.map(({ top_logprobs }) => Object.fromEntries(top_logprobs.map(({ token, logprob }) => [token, logprob]))),
    text_offset: tokens.map(({ token }) => {
      const at = offset;
      offset += token.length;
      return at;
    }),
  };
}

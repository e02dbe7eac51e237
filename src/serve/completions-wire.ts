import { isUtf8 } from "node:buffer";
import type { ChatEvent, EndEvent, TokenLogprob } from "./chat-events.ts";
import { chunkMaker, collect, textOf, type ChatHead } from "./chat-wire.ts";
import { addUsage, usageOf, usagePlace, type Usage } from "./usage.ts";

/** Log-probabilities in the form of OpenAI's first API: parallel lists. A token that is part of a character is named `bytes:\xc3`. */
interface TextLogprobs {
  readonly tokens: readonly string[];
  /** Null of the first token of an echoed prompt, which nothing predicts. */
  readonly token_logprobs: readonly (number | null)[];
  readonly top_logprobs: readonly (Readonly<Record<string, number>> | null)[];
  /** Where each token's text begins, in characters (code points) of the choice's text. */
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

/** @param of so many prompts, whose choices follow each other, `n` of each */
export async function* toTextChunks(head: ChatHead, of: { readonly prompts: number; readonly n: number }, events: AsyncIterable<ChatEvent>, include_usage?: boolean): AsyncGenerator<TextCompletion, void> {
  const place = usagePlace(include_usage);
  const chunk = chunkMaker(head, "text_completion", place);
  const ends: EndEvent[][] = Array.from({ length: of.prompts }, () => []);
  const offsets = new Map<number, TextOffsets>();
  let left = of.prompts * of.n;
  for await (const event of events) {
    const { index } = event;
    if (event.type === "text-delta") {
      const own = offsets.get(index) ?? new TextOffsets();
      offsets.set(index, own);
      const logprobs = logprobsOf(event.logprobs, event.text, own);
      yield chunk([{ index, text: event.text, logprobs, finish_reason: null }]);
    }
    if (event.type !== "end") continue;
    ends[Math.floor(index / of.n)]!.push(event);
    const usage = --left === 0 ? addUsage(ends.map(usageOf)) : null;
    yield chunk([{ index, text: "", logprobs: null, finish_reason: reasonOf(event) }], place === "finish" ? usage : null);
    if (place === "chunk" && usage !== null) yield chunk([], usage);
  }
}

export async function toTextCompletion(head: ChatHead, prompts: readonly AsyncIterable<ChatEvent>[]): Promise<TextCompletion> {
  const done = await Promise.all(prompts.map(collect));
  return {
    ...head,
    object: "text_completion",
    choices: done.flatMap(({ parts, ends }) =>
      ends.map((end) => {
        const own = parts.filter((part) => part.index === end.index);
        const tokens = own.flatMap((part) => ("logprobs" in part && part.logprobs ? part.logprobs : []));
        const text = textOf(own, "text-delta");
        const logprobs = own.some((part) => "logprobs" in part) ? logprobsOf(tokens, text, new TextOffsets()) : null;
        return { index: end.index, text, logprobs, finish_reason: reasonOf(end) };
      }),
    ),
    usage: addUsage(done.map(({ ends }) => usageOf(ends))),
  };
}

function reasonOf({ finish_reason }: EndEvent): "stop" | "length" {
  return finish_reason === "length" ? "length" : "stop";
}

function logprobsOf(tokens: readonly TokenLogprob[] | undefined, text: string, offsets: TextOffsets): TextLogprobs | null {
  if (tokens === undefined) return null;
  return {
    tokens: tokens.map(nameOf),
    token_logprobs: tokens.map(({ logprob }) => logprob),
    // A token that is not among the most likely stands beside them.
    top_logprobs: tokens.map((own) => (own.logprob === null ? null : Object.fromEntries([own, ...own.top_logprobs].map((token) => [nameOf(token), token.logprob ?? 0])))),
    text_offset: offsets.of(tokens, text),
  };
}

/** As OpenAI names it: parts of characters would all be U+FFFD. */
function nameOf({ token, bytes }: Pick<TokenLogprob, "token" | "bytes">): string {
  if (bytes === null || isUtf8(Uint8Array.from(bytes))) return token;
  return `bytes:${bytes.map((byte) => `\\x${byte.toString(16).padStart(2, "0")}`).join("")}`;
}

/** Where tokens begin in a text that both come in pieces. */
class TextOffsets {
  readonly #decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  /** Text whose tokens have not come. */
  #rest = "";
  #offset = 0;

  /** In code points from the start of the text. `text`: the piece that the tokens came with. */
  of(tokens: readonly TokenLogprob[], text: string): number[] {
    this.#rest += text;
    return tokens.map((token) => {
      const offset = this.#offset;
      const own = this.#textOf(token);
      this.#rest = this.#rest.slice(own.length);
      this.#offset += [...own].length;
      return offset;
    });
  }

  /** What becomes whole with a token. A special one is in the text or not: an echoed prompt has only those that were written in it. */
  #textOf({ token, bytes }: TokenLogprob): string {
    if (bytes !== null) return this.#decoder.decode(Uint8Array.from(bytes), { stream: true });
    const shown = this.#rest.slice(0, token.length);
    return shown !== "" && token.startsWith(shown) ? token : "";
  }
}

import { tags, ToolCallParser, toolSyntaxOf, TranscriptSplitter, type ToolDelta } from "../text/index.ts";
import type { ChatPrompt } from "./chat-prompt.ts";
import type { ChatRequest } from "./chat-request.ts";
import type { ServedModel } from "./model.ts";
import { stopStrings } from "./stop-strings.ts";

/** A piece of an answer: thinking, text, the start of a call, or more of its arguments. */
export type AnswerDelta = ToolDelta | { readonly type: "reasoning"; readonly delta: string };

/** Takes one completion's text apart as it comes. */
export interface AnswerReader {
  push(text: string): AnswerDelta[];
  /** What was held back. */
  end(): AnswerDelta[];
  /** The answer is complete, whatever else the model would say. */
  readonly ended: boolean;
  /** The stop string that ended it. */
  readonly stopSequence: string | null;
  /** Marks that may stand in the text and in no piece. */
  readonly tags: readonly string[];
}

/** Thinking, text and calls apart; stop strings end the text, and count in nothing else. */
export function answerReader(model: ServedModel, { stop, tools }: Pick<ChatRequest, "stop" | "tools">, prompt: ChatPrompt): AnswerReader {
  const syntax = toolSyntaxOf(model.chatTemplate ?? "");
  const interrupts = tools === undefined ? [] : [syntax.open, ...syntax.layout].filter((mark) => mark.startsWith("<"));
  // Where a tag is no token of its own, a model that writes it may be speaking of it.
  const strays = Object.values(tags).filter((tag) => model.tokenizer.idOf(tag) !== null);
  const splitter = new TranscriptSplitter({ strays, thinking: prompt.thinking, answering: prompt.begun.startsWith(tags.answerOpen), continues: prompt.begun !== "", interrupts });
  const parser = tools === undefined ? undefined : new ToolCallParser(syntax);
  const stops = stopStrings(stop);
  const one = tools?.parallel === false;
  let ended = false;
  let called = false;
  const read = (parts: readonly ToolDelta[]): AnswerDelta[] => {
    const out: AnswerDelta[] = [];
    for (const part of parts) {
      if (ended) break;
      if (part.type === "text") {
        const { text, hit } = stops.push(part.delta);
        if (text !== "") out.push({ type: "text", delta: text });
        ended = hit;
      } else if (part.type === "call") {
        if (called && one) ended = true;
        else out.push(...textDelta(stops.end()), part);
        called = true;
      } else out.push(part);
    }
    if (called && one && parser?.between === true) ended = true;
    return out;
  };
  const split = (parts: ReturnType<TranscriptSplitter["push"]>): AnswerDelta[] =>
    parts.flatMap(({ type, delta }): AnswerDelta[] => {
      if (ended) return [];
      return type === "reasoning" ? [{ type, delta }] : read(parser?.push(delta) ?? [{ type, delta }]);
    });
  return {
    push: (text) => split(splitter.push(text)),
    end() {
      const rest = [...split(splitter.end()), ...read(parser?.end() ?? [])];
      return ended ? rest : [...rest, ...textDelta(stops.end())];
    },
    tags: Object.values(tags),
    get ended() {
      return ended;
    },
    get stopSequence() {
      return stops.hit;
    },
  };
}

/** Text as it is, for completions without a chat: only stop strings end it. */
export function plainReader(stop: readonly string[]): AnswerReader {
  const stops = stopStrings(stop);
  return {
    push: (text) => (stops.hit === null ? textDelta(stops.push(text).text) : []),
    end: () => textDelta(stops.end()),
    tags: [],
    get ended() {
      return stops.hit !== null;
    },
    get stopSequence() {
      return stops.hit;
    },
  };
}

function textDelta(delta: string): AnswerDelta[] {
  return delta === "" ? [] : [{ type: "text", delta }];
}

import { tags } from "./transcript.ts";

/** A piece of what a model says: thinking, or what a person is meant to read. */
export interface TranscriptDelta {
  readonly type: "reasoning" | "text";
  readonly delta: string;
}

export interface SplitterOptions {
  readonly thinking?: boolean;
  readonly answering?: boolean;
  readonly continues?: boolean;
  readonly interrupts?: readonly string[];
  readonly strays?: readonly string[];
}

type Place = "outside" | "thinking" | "answering";

/** The tags that count in each place, and where they lead. */
const leads: Readonly<Record<Place, Readonly<Record<string, Place>>>> = {
  outside: { [tags.thinkOpen]: "thinking", [tags.answerOpen]: "answering" },
  thinking: { [tags.thinkClose]: "outside" },
  answering: { [tags.answerClose]: "outside" },
};

/**
 * Splits a stream of text into thinking and text without ever showing a tag, or half of one. However the stream is cut into
 * deltas, the concatenation of each type is the same. White space that follows a tag outside of both blocks is layout, and
 * dropped.
 */
export class TranscriptSplitter {
  #place: Place;
  #held = "";
  #afterTag: boolean;
  readonly #interrupts: readonly string[];
  readonly #strays: readonly string[];

  /**
   * `thinking`: the stream starts inside the think block, because the prompt ended with its opening tag. `interrupts`: what
   * ends a think block that was never closed, such as the opening of a tool call; each begins with "<" and stays in the text.
   * `continues`: the prompt ended inside the text, so that white space at the start is part of it. `answering`: it ended inside
   * the answer block. `strays`: tags that are shown nowhere, not even where they lead nowhere; the others are plain text there.
   * Default: all.
   */
  constructor({ thinking = false, answering = false, continues = false, interrupts = [], strays = Object.values(tags) }: SplitterOptions = {}) {
    this.#place = thinking ? "thinking" : answering ? "answering" : "outside";
    this.#afterTag = !continues;
    this.#interrupts = interrupts;
    this.#strays = strays;
  }

  get thinking(): boolean {
    return this.#place === "thinking";
  }

  push(delta: string): TranscriptDelta[] {
    const out: TranscriptDelta[] = [];
    let text = this.#held + delta;
    let from = 0;
    for (let at = text.indexOf("<"); at !== -1; at = text.indexOf("<", at + 1)) {
      const tag = this.#tags().find((name) => text.startsWith(name, at));
      if (tag === undefined) continue;
      this.#emit(out, text.slice(from, at));
      const next = leads[this.#place][tag] ?? (this.#strays.includes(tag) ? this.#place : undefined);
      from = next === undefined ? at : at + tag.length;
      at = from - (next === undefined ? 0 : 1);
      this.#place = next ?? "outside";
      this.#afterTag = true;
    }
    text = text.slice(from);
    const open = text.lastIndexOf("<");
    const partial = open !== -1 && this.#tags().some((name) => name.startsWith(text.slice(open)));
    this.#held = partial ? text.slice(open) : "";
    this.#emit(out, partial ? text.slice(0, open) : text);
    return out;
  }

  /** The stream is over: what was held back as a possible tag was text. */
  end(): TranscriptDelta[] {
    const out: TranscriptDelta[] = [];
    this.#emit(out, this.#held);
    this.#held = "";
    return out;
  }

  /** What is not text in the place that the stream is in. */
  #tags(): readonly string[] {
    const found = [...Object.keys(leads[this.#place]), ...this.#strays];
    return this.thinking ? [...found, ...this.#interrupts] : found;
  }

  #emit(out: TranscriptDelta[], text: string): void {
    const delta = this.#place === "outside" && this.#afterTag ? text.trimStart() : text;
    if (delta === "") return;
    this.#afterTag = false;
    const type = this.#place === "thinking" ? "reasoning" : "text";
    const last = out.at(-1);
    if (last?.type === type) out[out.length - 1] = { type, delta: last.delta + delta };
    else out.push({ type, delta });
  }
}

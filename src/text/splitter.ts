import { tags } from "./transcript.ts";

/** A piece of what a model says: thinking, or what a person is meant to read. */
export interface TranscriptDelta {
  readonly type: "reasoning" | "text";
  readonly delta: string;
}

type Place = "outside" | "thinking" | "answering";

/** The tags that count in each place, and where they lead. Any other tag is plain text there. */
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

  /** `thinking`: the stream starts inside the think block, because the prompt ended with its opening tag. */
  constructor(options: { readonly thinking?: boolean } = {}) {
    this.#place = options.thinking === true ? "thinking" : "outside";
    this.#afterTag = true;
  }

  push(delta: string): TranscriptDelta[] {
    const out: TranscriptDelta[] = [];
    let text = this.#held + delta;
    let from = 0;
    for (let at = text.indexOf("<"); at !== -1; at = text.indexOf("<", at + 1)) {
      const tag = Object.keys(leads[this.#place]).find((name) => text.startsWith(name, at));
      if (tag === undefined) continue;
      this.#emit(out, text.slice(from, at));
      from = at + tag.length;
      at = from - 1;
      this.#place = leads[this.#place][tag] as Place;
      this.#afterTag = true;
    }
    text = text.slice(from);
    const open = text.lastIndexOf("<");
    const partial = open !== -1 && Object.keys(leads[this.#place]).some((name) => name.startsWith(text.slice(open)));
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

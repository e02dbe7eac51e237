import type { ToolSyntax } from "./tool-syntax.ts";

/** A piece of what a model says: text, the start of a call, or the next part of that call's arguments. */
export type ToolDelta =
  | { readonly type: "text"; readonly delta: string }
  | { readonly type: "call"; readonly name: string }
  | { readonly type: "arguments"; readonly delta: string };

type Place = "text" | "arguments" | "tail";

/**
 * Takes the calls out of a stream of text. A call's name comes as soon as it is certain, its arguments as they are written,
 * character by character as the model wrote them. What begins like a call and is none stays text; white space around calls is
 * layout, and dropped. However the stream is cut into deltas, the concatenation of each part is the same.
 */
export class ToolCallParser {
  readonly #syntax: ToolSyntax;
  readonly #marks: readonly string[];
  #place: Place = "text";
  #held = "";
  /** White space that may turn out to stand before a call. */
  #space = "";
  #said = false;
  #afterCall = false;
  #json = jsonObject();
  #out: ToolDelta[] = [];

  constructor(syntax: ToolSyntax) {
    this.#syntax = syntax;
    this.#marks = [syntax.open, ...syntax.layout];
  }

  /** Whether the calls so far are complete. */
  get between(): boolean {
    return this.#place === "text";
  }

  push(delta: string): ToolDelta[] {
    this.#held += delta;
    while (this.#step());
    return this.#take();
  }

  /**
   * The stream is over: what was held back in case a call had begun was text, unless its whole mark has come. Then it was half a
   * call, cut off before its arguments. (A mark that only counts at the start is common in texts, and tells too little.)
   */
  end(): ToolDelta[] {
    if (this.#place === "text") {
      const half = !this.#syntax.first && this.#held.startsWith(this.#syntax.open);
      if (half) this.#space = "";
      else this.#text(this.#held);
      if (!this.#afterCall) this.#emit("text", this.#space);
    }
    this.#held = "";
    return this.#take();
  }

  /** Reads on as far as it is certain; false when it has to wait for more. */
  #step(): boolean {
    if (this.#place === "arguments") return this.#arguments();
    if (this.#place === "tail") return this.#skipTo(this.#syntax.close);
    const { at, mark } = this.#nextMark();
    this.#text(this.#held.slice(0, at));
    this.#held = this.#held.slice(at);
    if (mark === undefined) return false;
    if (mark !== this.#syntax.open) {
      this.#held = this.#held.slice(mark.length);
      return true;
    }
    const head = readHead(this.#syntax.before, this.#held);
    if (head === "more") return false;
    if (head === "no") {
      this.#text(this.#held.slice(0, 1));
      this.#held = this.#held.slice(1);
      return true;
    }
    this.#space = "";
    this.#out.push({ type: "call", name: head.name });
    this.#held = this.#held.slice(head.end);
    this.#json = jsonObject();
    this.#place = "arguments";
    return true;
  }

  #arguments(): boolean {
    const end = this.#json(this.#held);
    this.#emit("arguments", this.#held.slice(0, end ?? this.#held.length));
    this.#held = end === undefined ? "" : this.#held.slice(end);
    if (end === undefined) return false;
    this.#place = "tail";
    return true;
  }

  #skipTo(close: string): boolean {
    const at = this.#held.indexOf(close);
    if (at === -1) {
      this.#held = this.#held.slice(-close.length);
      return false;
    }
    this.#held = this.#held.slice(at + close.length);
    this.#place = "text";
    this.#afterCall = true;
    this.#said = false;
    return true;
  }

  /** Where the held text has its first mark, or what may grow into one; its end when there is neither. */
  #nextMark(): { readonly at: number; readonly mark?: string } {
    for (let at = 0; at < this.#held.length; at++) {
      const rest = this.#held.slice(at, at + 32);
      for (const mark of this.#marks) {
        if (mark === this.#syntax.open && this.#syntax.first && (this.#said || this.#held.slice(0, at).trim() !== "")) continue;
        if (rest.startsWith(mark)) return { at, mark };
        if (rest.length < mark.length && at + rest.length === this.#held.length && mark.startsWith(rest)) return { at };
      }
    }
    return { at: this.#held.length };
  }

  #text(text: string): void {
    const kept = this.#space + text;
    const trimmed = kept.trimEnd();
    this.#space = kept.slice(trimmed.length);
    if (trimmed === "") return;
    this.#said = true;
    this.#emit("text", this.#afterCall ? trimmed.trimStart() : trimmed);
    this.#afterCall = false;
  }

  #emit(type: "text" | "arguments", delta: string): void {
    if (delta === "") return;
    const last = this.#out.at(-1);
    if (last?.type === type) this.#out[this.#out.length - 1] = { type, delta: last.delta + delta };
    else this.#out.push({ type, delta });
  }

  #take(): ToolDelta[] {
    const out = this.#out;
    this.#out = [];
    return out;
  }
}

/** Matches `before` at the start of `text`: the name and where the arguments begin, or whether more text could still match. */
function readHead(before: string, text: string): { readonly name: string; readonly end: number } | "more" | "no" {
  let at = 0;
  let name = "";
  for (const [index, expected] of [...before].entries()) {
    if (expected === " ") {
      while (/\s/.test(text[at] ?? "")) at++;
    } else if (expected === "§") {
      const stop = before[index + 1];
      const from = at;
      while (at < text.length && text[at] !== stop) at++;
      name = text.slice(from, at);
      if (!/^[\w.-]{0,64}$/.test(name)) return "no";
    } else {
      if (at === text.length) return "more";
      if (text[at++] !== expected) return "no";
    }
  }
  if (name === "") return "no";
  if (at === text.length) return "more";
  return text[at] === "{" ? { name, end: at } : "no";
}

/** Reads a JSON object piece by piece: the index behind its last brace once that has come. */
function jsonObject(): (piece: string) => number | undefined {
  let depth = 0;
  let quoted = false;
  let escaped = false;
  return (piece) => {
    for (let at = 0; at < piece.length; at++) {
      const char = piece[at];
      if (escaped) escaped = false;
      else if (quoted && char === "\\") escaped = true;
      else if (char === '"') quoted = !quoted;
      else if (!quoted && (char === "{" || char === "[")) depth++;
      else if (!quoted && (char === "}" || char === "]") && --depth === 0) return at + 1;
    }
    return undefined;
  };
}

/**
 * Which tokens each piece of an answer was written with. An answer is what its tokens say, in order, without what its reader
 * drops: tags, white space beside them, calls. So a token goes to the first piece that has some of its text, and one that is in
 * no piece goes nowhere.
 */
export class TokenTrail<T> {
  readonly #tags: readonly string[];
  /** What has been said and is in no piece yet. */
  #text = "";
  /** Tokens that are in no piece yet, and where in `#text` each begins and ends; one that a character begins with has no text. */
  #tokens: { readonly token: T; readonly start: number; readonly end: number }[] = [];
  #passed = false;

  /** `tags`: what the reader may drop. */
  constructor(tags: readonly string[]) {
    this.#tags = tags;
  }

  /** One more token, and the text that is whole with it. */
  push(token: T, text: string): void {
    if (this.#passed) [this.#text, this.#tokens] = ["", []];
    this.#passed = false;
    const start = this.#text.length;
    this.#tokens.push({ token, start, end: start + text.length });
    this.#text += text;
  }

  /** The text of a character that stayed half. */
  end(text: string): void {
    this.#text += text;
  }

  /** What has come so far was part of a call; with the next token a text may begin. */
  pass(): void {
    this.#passed = true;
  }

  /** The tokens of the next piece. */
  take(piece: string): readonly T[] {
    const taken: T[] = [];
    let at = 0;
    for (let done = 0; done < piece.length && at < this.#text.length; at++) {
      const tag = this.#tags.find((name) => this.#text.startsWith(name, at));
      if (tag !== undefined && this.#dropped(tag, at, piece.slice(done))) at += tag.length - 1;
      else if (this.#text[at] === piece[done]) {
        taken.push(...this.#leave(at));
        done++;
      }
    }
    this.#text = this.#text.slice(at);
    this.#tokens = this.#tokens.map(({ token, start, end }) => ({ token, start: start - at, end: end - at }));
    return taken;
  }

  /** Whether the tag at `at` is none of the text with which the piece goes on. */
  #dropped(tag: string, at: number, rest: string): boolean {
    return !tag.startsWith(rest.slice(0, tag.length)) || this.#text.includes(rest, at + tag.length);
  }

  /** Drops the tokens before the character at `at`, and gives those that it is part of. */
  #leave(at: number): readonly T[] {
    const behind = this.#tokens.findIndex(({ start }) => start > at);
    const left = this.#tokens.splice(0, behind === -1 ? this.#tokens.length : behind);
    return left.filter(({ start, end }) => start === at || end > at).map(({ token }) => token);
  }
}

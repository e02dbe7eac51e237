import { LongjingError } from "../errors/index.ts";
import { codePoint, lastCodePoint } from "./expression.ts";

/** A text that is read by code points. */
export class Cursor {
  readonly #chars: readonly string[];
  readonly #what: string;
  at = 0;

  /** @param what what the text is, for messages */
  constructor(text: string, what: string) {
    this.#chars = Array.from(text);
    this.#what = what;
  }

  get over(): boolean {
    return this.at >= this.#chars.length;
  }

  /** The next characters, fewer at the end. */
  peek(count = 1): string {
    return this.#chars.slice(this.at, this.at + count).join("");
  }

  take(): string {
    const char = this.#chars[this.at++];
    if (char === undefined) throw this.error("it ends too early");
    return char;
  }

  /** Goes on past `text` if it is next. */
  skip(text: string): boolean {
    const length = Array.from(text).length;
    if (this.peek(length) !== text) return false;
    this.at += length;
    return true;
  }

  expect(text: string): void {
    if (!this.skip(text)) throw this.error(`expected ${JSON.stringify(text)}`);
  }

  /** As many of the next characters as `pattern` takes, one by one. */
  while(pattern: RegExp, most = Infinity): string {
    let text = "";
    while (text.length < most && !this.over && pattern.test(this.peek())) text += this.take();
    return text;
  }

  /** Exactly `digits` hexadecimal digits. */
  hex(digits: number): number {
    const text = this.while(/[0-9a-f]/i, digits);
    if (text.length !== digits) throw this.error(`expected ${digits} hexadecimal digits`);
    return this.checkChar(Number.parseInt(text, 16));
  }

  checkChar(code: number): number {
    if (code > lastCodePoint) throw this.error("no such character");
    return code;
  }

  code(): number {
    return codePoint(this.take());
  }

  error(why: string): LongjingError {
    return this.#fault("bad_argument", why);
  }

  /** Well formed, and not among what we do. */
  unsupported(what: string): LongjingError {
    return this.#fault("unsupported", `${what} cannot be a constraint`);
  }

  #fault(code: "bad_argument" | "unsupported", why: string): LongjingError {
    const from = Math.max(0, this.at - 20);
    return new LongjingError(code, `The ${this.#what} is not acceptable: ${why}`, { got: this.#chars.slice(from, this.at + 20).join(""), where: `${this.#what}, character ${this.at}` });
  }
}

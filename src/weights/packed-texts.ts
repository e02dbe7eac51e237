import { LongjingError } from "../errors/index.ts";
import { isUtf8 } from "./utf8.ts";

/** Stands before each text, and in none of them where it splits the whole into as many. It cannot overlap itself. */
export const mark = "\0xxxxxxx";

/** Where more are asked for, all are decoded at once, which costs less. */
const mostSingly = 2 ** 12;

/**
 * A long list of texts as it lies in a file. Strings are made of those that are asked for: of a vocabulary, few are. All that
 * gives texts throws LongjingError "bad_file" where they are not UTF-8.
 */
export class PackedTexts {
  /** In `bytes`: where each text begins and ends, in turn. */
  readonly places: Uint32Array;
  readonly #bytes: Uint8Array;
  readonly #where: string;
  #checked = false;

  /**
   * @param bytes the texts in their order, the mark before each
   * @param where the file, for messages
   */
  constructor(bytes: Uint8Array, places: Uint32Array, where: string) {
    this.#bytes = bytes;
    this.places = places;
    this.#where = where;
  }

  /** UTF-8, each text by itself: a character that two texts share is broken by the mark between them. */
  get bytes(): Uint8Array {
    if (!this.#checked) this.#check();
    return this.#bytes;
  }

  get length(): number {
    return this.places.length / 2;
  }

  /** All of them. */
  strings(): string[] {
    if (this.length === 0) return [];
    const texts = decodeText(this.#bytes.subarray(mark.length), this.#where).split(mark);
    // A text has a mark of its own.
    return texts.length === this.length ? texts : Array.from({ length: this.length }, (_, index) => this.#at(index));
  }

  /** Those at these places. */
  pick(indices: readonly number[]): string[] {
    if (indices.length <= mostSingly) return indices.map((index) => this.#at(index));
    const texts = this.strings();
    return indices.map((index) => texts[index]!);
  }

  #at(index: number): string {
    return decodeText(this.#bytes.subarray(this.places[2 * index], this.places[2 * index + 1]), this.#where);
  }

  #check(): void {
    if (!isUtf8(this.#bytes)) throw notUtf8(this.#where);
    this.#checked = true;
  }
}

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** @throws LongjingError "bad_file" */
export function decodeText(bytes: Uint8Array, where: string): string {
  try {
    return decoder.decode(bytes);
  } catch (error) {
    throw notUtf8(where, error);
  }
}

const notUtf8 = (where: string, cause?: unknown): LongjingError => new LongjingError("bad_file", "A text is not UTF-8", { where }, { cause });

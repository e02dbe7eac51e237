/** Stands before each text, and in none of them where it splits the whole into as many. It cannot overlap itself. */
export const mark = "\0xxxxxxx";

/** Of more texts than these, all are decoded at once, which costs less. */
const mostSingly = 2 ** 12;

/** A long list of texts as it lies in a file. Strings are made of those that are asked for: of a vocabulary, few are. */
export class PackedTexts {
  /** UTF-8, which has been checked for each text. */
  readonly bytes: Uint8Array;
  /** In `bytes`: where each text begins and ends, in turn. */
  readonly places: Uint32Array;

  /** @param bytes the texts in their order, the mark before each */
  constructor(bytes: Uint8Array, places: Uint32Array) {
    this.bytes = bytes;
    this.places = places;
  }

  get length(): number {
    return this.places.length / 2;
  }

  /** All of them. */
  strings(): string[] {
    if (this.length === 0) return [];
    const texts = decoder.decode(this.bytes.subarray(mark.length)).split(mark);
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
    return decoder.decode(this.bytes.subarray(this.places[2 * index], this.places[2 * index + 1]));
  }
}

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

import { LongjingError } from "../errors/index.ts";
import type { PackedTexts } from "./packed-texts.ts";

/** A kernel for what is done once with each of a long list's texts, given by their bytes and where they lie: JavaScript is slow at first. */
export interface TextTables {
  /**
   * Fills slots, which are free.
   * @returns the bytes of the longest text; null where a text is there twice or hard to find, and the slots are no good
   */
  fill(bytes: Uint8Array, places: Uint32Array, slots: Int32Array): number | null;
  /** The first text that is not two with one space between; how many there are where all are. */
  firstNotPair(bytes: Uint8Array, places: Uint32Array): number;
}

export interface TextTableOptions {
  /** Texts that are not found. Default: none. */
  readonly leftOut?: ((index: number) => boolean) | undefined;
  /** Is told of a text that has been there before. The later one is found. */
  readonly onTwice?: ((index: number) => void) | undefined;
  readonly kernel?: TextTables | undefined;
}

/** Some dozens of taken slots in a row are usual at most. */
const mostTaken = 2 ** 10;

/**
 * Where a text lies in a list, by its bytes: a Map would need a string of each first, which takes several times as long as this.
 * @throws LongjingError "bad_file" for texts that are made to get in each other's way
 */
export class TextTable {
  readonly #bytes: Uint8Array;
  readonly #places: Uint32Array;
  /** Of open addressing: index + 1, or 0 for a free one. At most half are taken. */
  readonly #slots: Int32Array;
  readonly #longest: number;
  /** The text that is looked for. */
  readonly #key: Uint8Array;
  /** Distinct texts. */
  readonly size: number;

  /** @param where the list, for messages */
  constructor({ bytes, places }: PackedTexts, where: string, { leftOut, onTwice, kernel }: TextTableOptions = {}) {
    const slots = new Int32Array(2 ** Math.ceil(Math.log2(places.length + 2)));
    const filled = leftOut === undefined ? (kernel?.fill(bytes, places, slots) ?? null) : null;
    const { size, longest } = filled === null ? fill(bytes, places, slots.fill(0), where, { leftOut, onTwice }) : { size: places.length / 2, longest: filled };
    this.#bytes = bytes;
    this.#places = places;
    this.#slots = slots;
    this.#longest = longest;
    this.#key = new Uint8Array(longest + 4);
    this.size = size;
  }

  /** Its place in the list. */
  get(text: string): number | undefined {
    const length = this.#encode(text);
    if (length > this.#longest) return undefined;
    const slot = findSlot(this.#bytes, this.#places, this.#slots, this.#key, 0, length);
    return slot < 0 || this.#slots[slot] === 0 ? undefined : this.#slots[slot]! - 1;
  }

  has(text: string): boolean {
    return this.get(text) !== undefined;
  }

  /** Its bytes as the key, up to one more than the longest text has; half a character has some that no text has. */
  #encode(text: string): number {
    const key = this.#key;
    const longest = this.#longest;
    let at = 0;
    for (let i = 0; i < text.length && at <= longest; i++) {
      const unit = text.charCodeAt(i);
      if (unit < 0x80) key[at++] = unit;
      else if (unit < 0x800) {
        key[at++] = 0xc0 | (unit >> 6);
        key[at++] = 0x80 | (unit & 0x3f);
      } else {
        const code = text.codePointAt(i)!;
        if (code < 0x10000) key[at++] = 0xe0 | (code >> 12);
        else {
          key[at++] = 0xf0 | (code >> 18);
          key[at++] = 0x80 | ((code >> 12) & 0x3f);
          i++;
        }
        key[at++] = 0x80 | ((code >> 6) & 0x3f);
        key[at++] = 0x80 | (code & 0x3f);
      }
    }
    return at;
  }
}

/** How many distinct texts there are, and the bytes of the longest. */
function fill(bytes: Uint8Array, places: Uint32Array, slots: Int32Array, where: string, { leftOut, onTwice }: TextTableOptions): { readonly size: number; readonly longest: number } {
  let size = 0;
  let longest = 0;
  for (let index = 0; 2 * index < places.length; index++) {
    if (leftOut !== undefined && leftOut(index)) continue;
    const start = places[2 * index]!;
    const end = places[2 * index + 1]!;
    const slot = findSlot(bytes, places, slots, bytes, start, end);
    if (slot < 0) throw new LongjingError("bad_file", "The texts are made to be slow to find", { expected: "a vocabulary", where });
    if (slots[slot] === 0) size++;
    else onTwice?.(index);
    slots[slot] = index + 1;
    if (end - start > longest) longest = end - start;
  }
  return { size, longest };
}

/** The slot of the text that lies at [start, end) of `from`, or the free one where it would be; -1 where neither is near. */
function findSlot(bytes: Uint8Array, places: Uint32Array, slots: Int32Array, from: Uint8Array, start: number, end: number): number {
  // FNV-1a, of which the high bits are the better mixed.
  let hash = 0x811c9dc5;
  for (let at = start; at < end; at++) hash = Math.imul(hash ^ from[at]!, 0x01000193);
  hash ^= hash >>> 15;
  for (let taken = 0; taken < mostTaken; taken++) {
    const slot = (hash + taken) & (slots.length - 1);
    const other = 2 * (slots[slot]! - 1);
    if (other < 0) return slot;
    let to = places[other]!;
    if (places[other + 1]! - to !== end - start) continue;
    let at = start;
    while (at < end && from[at] === bytes[to]) {
      at++;
      to++;
    }
    if (at === end) return slot;
  }
  return -1;
}

const space = 0x20;

/** As a kernel does it. */
export function firstNotPair(bytes: Uint8Array, places: Uint32Array): number {
  for (let at = 0; at < places.length; at += 2) {
    const start = places[at]!;
    const last = places[at + 1]! - 1;
    let spaces = 0;
    for (let i = start; i <= last; i++) if (bytes[i] === space) spaces++;
    if (spaces !== 1 || bytes[start] === space || bytes[last] === space) return at / 2;
  }
  return places.length / 2;
}

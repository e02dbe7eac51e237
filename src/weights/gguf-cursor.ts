import { LongjingError } from "../errors/index.ts";
import type { ByteSource } from "./byte-source.ts";
import { decodeText, mark, PackedTexts } from "./packed-texts.ts";

/** The numbers of a metadata value's type, and how each is read. */
const scalars: Readonly<Record<number, { bytes: number; read: (view: DataView, at: number) => number | bigint | boolean }>> = {
  0: { bytes: 1, read: (view, at) => view.getUint8(at) },
  1: { bytes: 1, read: (view, at) => view.getInt8(at) },
  2: { bytes: 2, read: (view, at) => view.getUint16(at, true) },
  3: { bytes: 2, read: (view, at) => view.getInt16(at, true) },
  4: { bytes: 4, read: (view, at) => view.getUint32(at, true) },
  5: { bytes: 4, read: (view, at) => view.getInt32(at, true) },
  6: { bytes: 4, read: (view, at) => view.getFloat32(at, true) },
  7: { bytes: 1, read: (view, at) => view.getUint8(at) !== 0 },
  10: { bytes: 8, read: (view, at) => exact(view.getBigUint64(at, true)) },
  11: { bytes: 8, read: (view, at) => exact(view.getBigInt64(at, true)) },
  12: { bytes: 8, read: (view, at) => view.getFloat64(at, true) },
};

function exact(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}

/** The mark as two numbers, big-endian. */
const marks = [0, 4].map((at) => new DataView(new TextEncoder().encode(mark).buffer).getUint32(at));

/** Numbers of 32 bits, which lie in a file as they do in memory. */
export type PackedNumbers = Int32Array | Uint32Array | Float32Array;

/** Bytes that are read at a time. */
const windowBytes = 2 ** 20;
/** Nothing that is no tensor is longer. */
const longestHeader = 2 ** 28;

/**
 * Reads a GGUF header from front to back through a window, so that neither the file nor a length that it claims decides how
 * much memory is taken. Every method throws "bad_file" where the file ends early.
 */
export class GgufCursor {
  readonly #source: ByteSource;
  readonly #end: number;
  /** Of `#bytes`, in the file. */
  #start = 0;
  #at = 0;
  #bytes = new Uint8Array(0);
  #view = new DataView(this.#bytes.buffer);

  constructor(source: ByteSource) {
    this.#source = source;
    this.#end = Math.min(source.size, longestHeader);
  }

  /** Of the next byte, in the file. */
  get position(): number {
    return this.#start + this.#at;
  }

  async u32(): Promise<number> {
    if (this.#left < 4) await this.#fill(4);
    return this.#view.getUint32((this.#at += 4) - 4, true);
  }

  async u64(): Promise<bigint> {
    if (this.#left < 8) await this.#fill(8);
    return this.#view.getBigUint64((this.#at += 8) - 8, true);
  }

  /** A number of things of at least `bytes` each, which must fit into what is left. */
  async count(things: string, most: number, bytes: number): Promise<number> {
    const count = await this.u64();
    const limit = Math.min(most, Math.floor((this.#end - this.position) / bytes));
    if (count <= BigInt(limit)) return Number(count);
    throw malformed(`The file cannot have so many ${things}`, String(count), `${limit} at most`, this.#source.label);
  }

  async text(longest: number): Promise<string> {
    const length = await this.u64();
    if (length > BigInt(longest)) throw tooLong(length, longest, this.#source.label);
    const bytes = Number(length);
    if (this.#left < bytes) await this.#fill(bytes);
    return decodeText(this.#bytes.subarray(this.#at, (this.#at += bytes)), this.#source.label);
  }

  /** `count` texts. */
  async texts(count: number, longest: number): Promise<string[]> {
    return (await this.packedTexts(count, longest)).strings();
  }

  /** `count` texts, neither decoded nor checked yet. */
  async packedTexts(count: number, longest: number): Promise<PackedTexts> {
    const places = new Uint32Array(2 * count);
    const pieces: Uint8Array[] = [];
    let size = 0;
    for (let i = 0; i < count;) {
      if (this.#left < 8) await this.#fill(8);
      const length = this.#textLength(longest);
      if (this.#left < 8 + length) await this.#fill(8 + length);
      const start = this.#at;
      i = this.#mark(places, i, size - start, longest);
      const piece = this.#bytes.subarray(start, this.#at);
      pieces.push(piece);
      size += piece.length;
    }
    return new PackedTexts(pieces.length === 1 ? pieces[0]! : joined(pieces, size), places, this.#source.label);
  }

  /**
   * Passes over the texts that lie within the window whole and are not too long, from the i-th on, and puts the mark in place of
   * their lengths. In few words, since it runs once.
   * @param shift from the window to the whole of the list
   * @returns the index of the next text
   */
  #mark(places: Uint32Array, i: number, shift: number, longest: number): number {
    const view = this.#view;
    const end = view.byteLength;
    let at = this.#at;
    for (; 2 * i < places.length && end - at >= 8; i++) {
      const length = view.getUint32(at, true);
      if (end - at - 8 < length || view.getUint32(at + 4, true) > 0 || length > longest) break;
      view.setUint32(at, marks[0]!);
      view.setUint32(at + 4, marks[1]!);
      places[2 * i] = shift + at + 8;
      at += 8 + length;
      places[2 * i + 1] = shift + at;
    }
    this.#at = at;
    return i;
  }

  /** Passes over `count` texts. */
  async skipTexts(count: number, longest: number): Promise<void> {
    for (let i = 0; i < count; i++) {
      if (this.#left < 8) await this.#fill(8);
      const length = this.#textLength(longest);
      this.#at += 8;
      if (this.#left < length) await this.#fill(length);
      this.#at += length;
    }
  }

  /** Bytes of the text whose eight bytes of length come next. */
  #textLength(longest: number): number {
    const length = this.#view.getUint32(this.#at, true);
    if (this.#view.getUint32(this.#at + 4, true) > 0 || length > longest) throw tooLong(this.#view.getBigUint64(this.#at, true), longest, this.#source.label);
    return length;
  }

  scalarBytes(type: number, where: string): number {
    const scalar = scalars[type];
    if (scalar !== undefined) return scalar.bytes;
    throw malformed("A metadata value has an unknown type", type, "0 to 12", where);
  }

  async scalar(type: number, where: string): Promise<number | bigint | boolean> {
    this.scalarBytes(type, where);
    return (await this.scalars(type, 1))[0]!;
  }

  /** `count` values of a type that `scalarBytes` knows. */
  async scalars(type: number, count: number): Promise<(number | bigint | boolean)[]> {
    const { bytes, read } = scalars[type]!;
    const values: (number | bigint | boolean)[] = [];
    while (values.length < count) {
      if (this.#left < bytes) await this.#fill(bytes);
      for (let n = Math.min(count - values.length, Math.floor(this.#left / bytes)); n > 0; n--) values.push(read(this.#view, (this.#at += bytes) - bytes));
    }
    return values;
  }

  /** `count` numbers as they lie in the file, where they are of a type that an array holds as such; null for another type. */
  async packedNumbers(type: number, count: number): Promise<PackedNumbers | null> {
    const numbers = type === 4 ? new Uint32Array(count) : type === 5 ? new Int32Array(count) : type === 6 ? new Float32Array(count) : null;
    if (numbers === null) return null;
    const bytes = new Uint8Array(numbers.buffer);
    for (let done = 0; done < bytes.length;) {
      if (this.#left === 0) await this.#fill(1);
      const some = Math.min(bytes.length - done, this.#left);
      bytes.set(this.#bytes.subarray(this.#at, (this.#at += some)), done);
      done += some;
    }
    return numbers;
  }

  /** Passes over `count` values of a type that `scalarBytes` knows. */
  async skipScalars(type: number, count: number): Promise<void> {
    const { bytes } = scalars[type]!;
    for (let left = count; left > 0;) {
      if (this.#left < bytes) await this.#fill(bytes);
      const some = Math.min(left, Math.floor(this.#left / bytes));
      this.#at += some * bytes;
      left -= some;
    }
  }

  get #left(): number {
    return this.#bytes.length - this.#at;
  }

  /** Moves the window so that it holds `needed` bytes from the position on. */
  async #fill(needed: number): Promise<void> {
    const start = this.position;
    if (start + needed > this.#end) {
      throw malformed("The header does not end before the file does", `${this.#end} bytes`, `${start + needed} bytes or more`, this.#source.label);
    }
    const bytes = new Uint8Array(Math.min(this.#end - start, Math.max(needed, windowBytes)));
    await this.#source.readInto(bytes, start);
    this.#start = start;
    this.#at = 0;
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer);
  }
}

function joined(pieces: readonly Uint8Array[], size: number): Uint8Array {
  const all = new Uint8Array(size);
  let at = 0;
  for (const piece of pieces) {
    all.set(piece, at);
    at += piece.length;
  }
  return all;
}

const tooLong = (length: bigint, longest: number, where: string): LongjingError => malformed("A text is too long", `${length} bytes`, `${longest} at most`, where);

export function malformed(message: string, got: unknown, expected: unknown, where: string): LongjingError {
  return new LongjingError("bad_file", message, { got, expected, where });
}

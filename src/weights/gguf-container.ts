import { LongjingError } from "../errors/index.ts";
import { blockTypes } from "./gguf-blocks.ts";
import type { GgufType } from "./gguf-blocks.ts";
import { longestName, typeNames } from "./gguf-header.ts";
import { elementCount } from "./safetensors-header.ts";

/** A metadata value to write: a number is a u32, a list of numbers holds i32s, unless they are said to be float32. */
export type GgufField = string | boolean | number | { readonly f32: number } | { readonly f32s: readonly number[] } | readonly string[] | readonly number[];

/** A tensor by its name in the file. */
export interface GgufTensorToWrite {
  readonly name: string;
  /** Row-major, outermost axis first; a row is whole blocks. */
  readonly shape: readonly number[];
  readonly dtype: GgufType;
  /** The blocks, row after row, in one piece or several; called once, when it is the tensor's turn. */
  readonly pieces: () => AsyncIterable<Uint8Array>;
}

const alignment = 32;
const aligned = (size: number): number => Math.ceil(size / alignment) * alignment;

/**
 * The bytes of a GGUF file, version 3 (github.com/ggml-org/ggml, `docs/gguf.md`), piece by piece: one tensor at a time is in
 * memory.
 * @throws LongjingError "bad_argument" for what the format cannot say: a name or shape that is not acceptable, a tensor whose
 *   bytes are not as many as its shape has
 */
export async function* ggufPieces(metadata: Readonly<Record<string, GgufField>>, tensors: readonly GgufTensorToWrite[]): AsyncGenerator<Uint8Array> {
  const out = new HeaderBytes();
  out.bytes("GGUF");
  out.u32(3);
  out.u64(tensors.length);
  out.u64(Object.keys(metadata).length);
  for (const [key, value] of Object.entries(metadata)) out.field(key, value);
  const sizes = tensors.map(sizeOf);
  const names = new Set<string>();
  let offset = 0;
  for (const [i, { name, shape, dtype }] of tensors.entries()) {
    if (names.has(name) || new TextEncoder().encode(name).length > longestName) {
      throw new LongjingError("bad_argument", "A tensor may not have this name", { got: name, expected: `each name once, ${longestName} bytes at most` });
    }
    names.add(name);
    out.text(name);
    out.u32(shape.length);
    for (const size of shape.toReversed()) out.u64(size);
    out.u32(typeNames.indexOf(dtype));
    out.u64(offset);
    offset += aligned(sizes[i]!);
  }
  const header = out.done();
  yield header;
  yield padding(header.length);
  for (const [i, { name, pieces }] of tensors.entries()) {
    let written = 0;
    for await (const piece of pieces()) {
      written += piece.length;
      yield piece;
    }
    if (written !== sizes[i]) throw new LongjingError("bad_argument", "A tensor has not as many bytes as its shape", { got: written, expected: sizes[i], where: name });
    yield padding(written);
  }
}

const padding = (size: number): Uint8Array => new Uint8Array(aligned(size) - size);

function sizeOf({ name, shape, dtype }: GgufTensorToWrite): number {
  const { elements, bytes } = blockTypes[dtype];
  const width = shape.at(-1) ?? 0;
  const size = elementCount([...shape.slice(0, -1), width / elements, bytes]);
  if (size !== undefined && size > 0 && shape.length <= 4 && width % elements === 0) return size;
  throw new LongjingError("bad_argument", "A tensor cannot have this shape", { got: shape, expected: `1 to 4 axes, rows of whole ${dtype} blocks (${elements})`, where: name });
}

/** Little-endian values, one after the other. */
class HeaderBytes {
  readonly #parts: Uint8Array[] = [];

  bytes(text: string): void {
    this.#parts.push(new TextEncoder().encode(text));
  }

  u32(value: number): void {
    if (!Number.isInteger(value) || value < 0 || value >= 2 ** 32) throw new LongjingError("bad_argument", "A number does not fit into the file", { got: value, expected: "an integer from 0 to 2^32 - 1" });
    this.#words(Uint32Array.of(value));
  }

  u64(value: number): void {
    this.#words(BigUint64Array.of(BigInt(value)));
  }

  text(text: string): void {
    const bytes = new TextEncoder().encode(text);
    this.u64(bytes.length);
    this.#parts.push(bytes);
  }

  /** Types by their numbers: u32 4, i32 5, f32 6, flag 7, text 8, list 9. */
  field(key: string, value: GgufField): void {
    this.text(key);
    if (typeof value === "string") {
      this.u32(8);
      this.text(value);
    } else if (typeof value === "boolean") {
      this.u32(7);
      this.#parts.push(Uint8Array.of(Number(value)));
    } else if (typeof value === "number") {
      this.u32(4);
      this.u32(value);
    } else if ("f32" in value) {
      this.u32(6);
      this.#words(Float32Array.of(value.f32));
    } else if ("f32s" in value) {
      this.u32(9);
      this.u32(6);
      this.u64(value.f32s.length);
      this.#words(Float32Array.from(value.f32s));
    } else this.#list(value);
  }

  #list(values: readonly string[] | readonly number[]): void {
    const texts = values.every((value) => typeof value === "string");
    this.u32(9);
    this.u32(texts ? 8 : 5);
    this.u64(values.length);
    if (texts) for (const value of values) this.text(value);
    else this.#words(Int32Array.from(values as readonly number[]));
  }

  done(): Uint8Array {
    const whole = new Uint8Array(this.#parts.reduce((size, part) => size + part.length, 0));
    let at = 0;
    for (const part of this.#parts) {
      whole.set(part, at);
      at += part.length;
    }
    return whole;
  }

  /** The machine's byte order is the file's: safetensors needs the same. */
  #words(words: ArrayBufferView): void {
    this.#parts.push(new Uint8Array(words.buffer, words.byteOffset, words.byteLength));
  }
}

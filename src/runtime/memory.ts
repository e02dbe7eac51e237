import { LongjingError } from "../errors/index.ts";
import type { DType } from "../tensor/value.ts";
import type { Memory } from "./backend.ts";

type ArrayClass<D extends DType> = { readonly BYTES_PER_ELEMENT: number; new (buffer: ArrayBufferLike, offset: number, length: number): Memory[D] };
const arrays: { readonly [D in DType]: ArrayClass<D> } = { float32: Float32Array, int64: BigInt64Array, int32: Int32Array, bool: Uint8Array, uint8: Uint8Array };

export const dtypes = Object.keys(arrays) as readonly DType[];

/** Elements of a tensor. @throws LongjingError `bad_argument` for a dimension that is not a size. */
export function elementCount(shape: readonly number[]): number {
  const count = shape.reduce((product, size) => product * size, 1);
  if (!shape.every((size) => Number.isInteger(size) && size >= 0) || !Number.isSafeInteger(count))
    throw new LongjingError("bad_argument", "A tensor's dimensions must be whole numbers, not negative", { got: shape });
  return count;
}

/** Kernels read whole cache lines, and AVX-512 loads them at once. */
const alignment = 64;

/**
 * Zeroed memory for a tensor, in a buffer of its own.
 *
 * @param addressOf where memory lies. With it the array starts at a multiple of 64.
 * @param shared in a SharedArrayBuffer: V8 does not count those when it decides whether to look for garbage
 */
export function allocate<D extends DType>(dtype: D, shape: readonly number[], addressOf?: (bytes: Uint8Array) => bigint, shared = false): Memory[D] {
  const length = elementCount(shape);
  const buffer = new (shared ? SharedArrayBuffer : ArrayBuffer)(length * arrays[dtype].BYTES_PER_ELEMENT + (addressOf ? alignment : 0));
  const offset = addressOf ? Number(-addressOf(new Uint8Array(buffer)) & BigInt(alignment - 1)) : 0;
  return new arrays[dtype](buffer, offset, length);
}

/** @throws LongjingError `bad_argument` or `shape_mismatch` unless `data` holds exactly the elements of such a tensor. */
export function checkMemory<D extends DType>(dtype: D, shape: readonly number[], data: Memory[D]): void {
  const expected = arrays[dtype];
  if (!(data instanceof expected)) throw new LongjingError("bad_argument", `Wrong memory for a ${dtype} tensor`, { got: (data as object).constructor.name, expected: expected.name });
  const count = elementCount(shape);
  if (data.length !== count) throw new LongjingError("shape_mismatch", "The memory of a tensor does not fit its shape", { got: `${data.length} elements`, expected: `${count} for ${showShape(shape)}` });
}

/** For messages: "[2, ?, 64]". */
export const showShape = (shape: readonly (number | null)[]): string => `[${shape.map((size) => size ?? "?").join(", ")}]`;

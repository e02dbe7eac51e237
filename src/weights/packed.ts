import { LongjingError } from "../errors/index.ts";
import type { PackedScheme } from "../model/quantization-config.ts";
import { checkShape } from "./checkpoint.ts";
import type { BlockLayout, QuantizedBlocks } from "./quantized-blocks.ts";
import type { StoredTensor, TensorToWrite } from "./safetensors.ts";

/**
 * A matrix as compressed-tensors' "pack-quantized" format stores it: weight = scale · (code − zero) with the scale and the zero
 * of its group of 32 columns.
 */
export interface PackedMatrix {
  readonly shape: readonly [rows: number, columns: number];
  readonly bits: 4 | 8;
  /** 0 … 2^bits − 1, one byte a weight, row-major. */
  readonly codes: Uint8Array;
  /** Float16 values, [rows, columns / 32]. */
  readonly scales: Float32Array;
  /** Codes of zero, [rows, columns / 32]; null: 2^(bits − 1) everywhere. */
  readonly zeros: Uint8Array | null;
}

/** The tensors of a linear layer's `NAME.weight`: `NAME.weight_packed`, `_scale`, `_shape` and, for asymmetric groups, `_zero_point`. */
export function packedTensors(name: string, { shape: [rows, columns], bits, codes, scales, zeros }: PackedMatrix): TensorToWrite[] {
  const groups = columns / groupSize;
  const each = 32 / bits;
  return [
    { name: `${name}_packed`, dtype: "I32", shape: [rows, columns / each], data: pack(codes, bits) },
    { name: `${name}_scale`, dtype: "F16", shape: [rows, groups], data: scales },
    { name: `${name}_shape`, dtype: "I64", shape: [2], data: BigInt64Array.of(BigInt(rows), BigInt(columns)) },
    ...(zeros === null ? [] : [{ name: `${name}_zero_point`, dtype: "I32", shape: [Math.ceil(rows / each), groups], data: pack(transposed(zeros, rows, groups, Math.ceil(rows / each) * each), bits, groups) } as const]),
  ];
}

const groupSize = 32;

/** Codes, the first of each word in its lowest bits; words of `columns` rows are turned back from columns to rows. */
function pack(codes: Uint8Array, bits: 4 | 8, columns?: number): Int32Array {
  const each = 32 / bits;
  const words = new Int32Array(codes.length / each);
  const rows = words.length / (columns ?? 1);
  for (let i = 0; i < words.length; i++) {
    let word = 0;
    for (let j = 0; j < each; j++) word |= codes[i * each + j]! << (j * bits);
    words[columns === undefined ? i : (i % rows) * columns + Math.floor(i / rows)] = word;
  }
  return words;
}

/** [rows, columns] → [columns, padded], zeros behind the rows. */
function transposed(from: Uint8Array, rows: number, columns: number, padded: number): Uint8Array {
  const to = new Uint8Array(columns * padded);
  for (let row = 0; row < rows; row++) for (let column = 0; column < columns; column++) to[column * padded + row] = from[row * columns + column]!;
  return to;
}

/** The parts of a packed matrix in a file. */
export interface PackedParts<T> {
  readonly packed: T;
  readonly scale: T;
  readonly zero: T | null;
}

/** The shape that a packed matrix stands for. @throws LongjingError "bad_file" unless its parts fit each other */
export function packedShape({ packed, scale, zero }: PackedParts<{ readonly dtype: string; readonly shape: readonly number[] }>, { bits, symmetric, group_size }: PackedScheme, where: string): readonly [number, number] {
  const [rows = 0, words = 0] = packed.shape;
  const each = 32 / bits;
  const columns = words * each;
  if (packed.dtype !== "I32" || packed.shape.length !== 2 || columns % group_size !== 0) throw new LongjingError("bad_file", "A packed matrix is of 32-bit words, whole groups a row", { got: [packed.dtype, packed.shape], expected: `I32, ${group_size} columns a group`, where });
  checkShape(scale.shape, [rows, columns / group_size], `${where}_scale`);
  if ((zero === null) !== symmetric) throw new LongjingError("bad_file", symmetric ? "A symmetric matrix has no zero points" : "An asymmetric matrix has zero points", { where: `${where}_zero_point` });
  if (zero !== null) checkShape(zero.shape, [Math.ceil(rows / each), columns / group_size], `${where}_zero_point`);
  return [rows, columns];
}

/** What the matrices of a scheme become. */
export const packedLayout = ({ bits, symmetric }: PackedScheme): BlockLayout => ({ bits, block_size: groupSize, offsets: !symmetric });

/** The blocks of a packed matrix: a row's words are, byte for byte, the layout that kernels take. */
export function packedBlocks({ packed, zero }: PackedParts<StoredTensor>, scales: Float32Array, [rows, columns]: readonly [number, number], { bits }: PackedScheme): QuantizedBlocks {
  const blocks = new Uint8Array(packed.data.buffer, packed.data.byteOffset, packed.data.byteLength);
  const common = { rows, columns, bits, block_size: groupSize, blocks, scales } as const;
  if (zero === null) return { ...common, offsets: null };
  const words = zero.data as Int32Array;
  const [each, groups, half, top] = [32 / bits, columns / groupSize, 2 ** (bits - 1), 2 ** bits - 1];
  const offsets = scales.map((scale, i) => {
    const row = Math.floor(i / groups);
    const code = (words[Math.floor(row / each) * groups + (i % groups)]! >>> ((row % each) * bits)) & top;
    return (half - code) * scale;
  });
  return { ...common, offsets };
}

/** The weights that blocks stand for, row-major. */
export function dequantizeBlocks({ bits, block_size, blocks, scales, offsets }: QuantizedBlocks, into: Float32Array = new Float32Array(scales.length * block_size)): Float32Array {
  const half = 2 ** (bits - 1);
  for (let i = 0; i < into.length; i++) {
    const code = bits === 8 ? blocks[i]! : (blocks[i >> 1]! >> ((i & 1) * 4)) & 15;
    const block = Math.floor(i / block_size);
    into[i] = (code - half) * scales[block]! + (offsets === null ? 0 : offsets[block]!);
  }
  return into;
}

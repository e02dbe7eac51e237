import type { GgufType } from "./gguf-blocks.ts";
import { blockTypes, groupMin, groupScale, halves } from "./gguf-blocks.ts";

/**
 * A matrix [rows, columns] in blocks of consecutive columns, in the layout that kernels take: element = (q − 2^(bits − 1)) ·
 * scale + offset, with the scale and offset of its block.
 */
export interface QuantizedBlocks {
  readonly rows: number;
  readonly columns: number;
  readonly bits: 4 | 8;
  readonly block_size: 16 | 32;
  /** [rows, columns · bits / 8]; of 4 bits, the first of each pair is in the low half. */
  readonly blocks: Uint8Array;
  /** [rows, columns / block_size] */
  readonly scales: Float32Array;
  /** [rows, columns / block_size], or none. */
  readonly offsets: Float32Array | null;
}

/** How the blocks of a matrix are made up. */
export interface BlockLayout extends Pick<QuantizedBlocks, "bits" | "block_size"> {
  /** Whether each block has one. */
  readonly offsets: boolean;
}

interface Regroup extends BlockLayout {
  /** Writes blocks to, …, to + count − 1 of the kernels' from as many elements of the file's bytes, which begin at byte `at`. */
  readonly write: (from: Uint8Array, at: number, parts: Parts, to: number, count: number) => void;
}

interface Parts {
  readonly blocks: Uint8Array;
  readonly scales: Float32Array;
  readonly offsets: Float32Array;
}

/** Types whose blocks can be run without a change of value. */
const regroupings: Partial<Record<GgufType, Regroup>> = {
  Q8_0: { bits: 8, block_size: 32, offsets: false, write: regroupQ8 },
  Q4_0: { bits: 4, block_size: 32, offsets: false, write: regroupQ4 },
  Q4_1: { bits: 4, block_size: 32, offsets: true, write: regroupQ4Min },
  Q4_K: { bits: 4, block_size: 32, offsets: true, write: regroupQ4K },
  Q6_K: { bits: 8, block_size: 16, offsets: false, write: regroupQ6K },
};

/** What a type of GGUF becomes; null for types that have no such form. */
export const ggufBlockLayout = (type: GgufType): BlockLayout | null => regroupings[type] ?? null;

export const sameLayout = (a: BlockLayout, b: BlockLayout): boolean => a.bits === b.bits && a.block_size === b.block_size && a.offsets === b.offsets;

/**
 * Memory for a matrix.
 * @param take gives so many bytes at a multiple of 4; default new ones
 */
export function newBlocks({ bits, block_size, offsets }: BlockLayout, rows: number, columns: number, take: (bytes: number) => Uint8Array = (bytes) => new Uint8Array(bytes)): QuantizedBlocks {
  const count = (rows * columns) / block_size;
  const numbers = (): Float32Array => {
    const { buffer, byteOffset } = take(count * Float32Array.BYTES_PER_ELEMENT);
    return new Float32Array(buffer, byteOffset, count);
  };
  return { rows, columns, bits, block_size, scales: numbers(), offsets: offsets ? numbers() : null, blocks: take((rows * columns * bits) / 8) };
}

/** Rows [begin, end) of a matrix, over the same memory. */
export function sliceRows({ rows, blocks, scales, offsets, ...rest }: QuantizedBlocks, begin: number, end: number): QuantizedBlocks {
  const part = <T extends Uint8Array | Float32Array>(all: T): T => all.subarray((begin * all.length) / rows, (end * all.length) / rows) as T;
  return { ...rest, rows: end - begin, blocks: part(blocks), scales: part(scales), offsets: offsets && part(offsets) };
}

/**
 * Regroups rows of a GGUF file, every element the same. Loading a model is mostly this.
 * @param from whole rows of blocks of a type that has a layout, at a multiple of 4 bytes
 * @param place the row of `to` that a row of `from` becomes; default the same
 */
export function regroupRows(type: GgufType, from: Uint8Array, to: QuantizedBlocks, first: number, place?: (row: number) => number): void {
  const { write } = regroupings[type]!;
  const { columns, block_size, blocks, scales } = to;
  const parts = { blocks, scales, offsets: to.offsets ?? new Float32Array(0) };
  const [perRow, rowBytes, count] = [columns / block_size, ggufRowBytes(type, columns), rowsGiven(type, from, to, first)];
  if (!place) write(from, 0, parts, first * perRow, count * perRow);
  else for (let row = 0; row < count; row++) write(from, row * rowBytes, parts, place(first + row) * perRow, perRow);
}

const ggufRowBytes = (type: GgufType, columns: number): number => (columns / blockTypes[type].elements) * blockTypes[type].bytes;

/** Whole rows among the bytes, as far as there is room from row `first` on. */
const rowsGiven = (type: GgufType, from: Uint8Array, { rows, columns }: QuantizedBlocks, first: number): number => Math.min(from.length / ggufRowBytes(type, columns), rows - first);

/**
 * Rows of a file's blocks, read and regrouped by somebody's faster loops, the i-th into row places[i]. False for a type that they do not
 * know, and where the file ends early.
 */
export type ReadRows = (type: GgufType, from: { readonly descriptor: number; readonly offset: number }, places: Int32Array, to: QuantizedBlocks) => Promise<boolean>;

const half = (from: Uint8Array, at: number): number => halves()[from[at]! | (from[at + 1]! << 8)]!;

// Bytes of both sides are taken two or four at a time: blocks are whole numbers of pairs, and those of Q4_1 of fours.
const pairs = (bytes: Uint8Array): Uint16Array => new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength >> 1);
const words = (bytes: Uint8Array): Int32Array => new Int32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength >> 2);

function regroupQ8(from: Uint8Array, at: number, { blocks, scales }: Parts, to: number, count: number): void {
  const [table, source, target] = [halves(), pairs(from), words(blocks)];
  for (let b = to, i = at >> 1; b < to + count; b++, i += 17) {
    scales[b] = table[source[i]!]!;
    for (let j = 0; j < 8; j++) target[b * 8 + j] = (source[i + 2 * j + 1]! | (source[i + 2 * j + 2]! << 16)) ^ 0x80808080;
  }
}

/** Of four bytes, the low halves side by side: two bytes. */
function lowHalves(word: number): number {
  const each = word & 0x0f0f0f0f;
  const paired = each | (each >>> 4);
  return (paired & 0xff) | ((paired >>> 8) & 0xff00);
}

/** ggml keeps element j beside element j + 16, kernels element 2j beside 2j + 1. */
function pairUp(a: number, b: number, c: number, d: number, target: Int32Array, to: number): void {
  target[to] = lowHalves(a) | (lowHalves(b) << 16);
  target[to + 1] = lowHalves(c) | (lowHalves(d) << 16);
  target[to + 2] = lowHalves(a >>> 4) | (lowHalves(b >>> 4) << 16);
  target[to + 3] = lowHalves(c >>> 4) | (lowHalves(d >>> 4) << 16);
}

function regroupQ4(from: Uint8Array, at: number, { blocks, scales }: Parts, to: number, count: number): void {
  const [table, source, target] = [halves(), pairs(from), words(blocks)];
  const word = (i: number): number => source[i]! | (source[i + 1]! << 16);
  for (let b = to, i = at >> 1; b < to + count; b++, i += 9) {
    scales[b] = table[source[i]!]!;
    pairUp(word(i + 1), word(i + 3), word(i + 5), word(i + 7), target, b * 4);
  }
}

// A minimum counts from q = 0, an offset from q = 8.
function regroupQ4Min(from: Uint8Array, at: number, { blocks, scales, offsets }: Parts, to: number, count: number): void {
  const [table, source, target] = [halves(), words(from), words(blocks)];
  for (let b = to, i = at >> 2; b < to + count; b++, i += 5) {
    const head = source[i]!;
    const scale = table[head & 0xffff]!;
    scales[b] = scale;
    offsets[b] = table[head >>> 16]! + 8 * scale;
    pairUp(source[i + 1]!, source[i + 2]!, source[i + 3]!, source[i + 4]!, target, b * 4);
  }
}

function regroupQ4K(from: Uint8Array, at: number, { blocks, scales, offsets }: Parts, to: number, count: number): void {
  for (let b = to, i = at; b < to + count; b += 8, i += 144) {
    const [scale, min] = [half(from, i), half(from, i + 2)];
    for (let group = 0; group < 8; group++) {
      const step = scale * groupScale(from, i + 4, group);
      scales[b + group] = step;
      offsets[b + group] = 8 * step - min * groupMin(from, i + 4, group);
      const bits = i + 16 + (group >> 1) * 32;
      const shift = (group & 1) * 4;
      for (let j = 0; j < 16; j++) blocks[(b + group) * 16 + j] = ((from[bits + 2 * j]! >> shift) & 15) | (((from[bits + 2 * j + 1]! >> shift) & 15) << 4);
    }
  }
}

function regroupQ6K(from: Uint8Array, at: number, { blocks, scales }: Parts, to: number, count: number): void {
  for (let b = to, i = at; b < to + count; b += 16, i += 210) {
    const scale = half(from, i + 208);
    for (let group = 0; group < 16; group++) {
      scales[b + group] = scale * ((from[i + 192 + group]! << 24) >> 24);
      const quarter = (group >> 1) & 3;
      const low = i + (group >> 3) * 64 + (group & 3) * 16;
      const high = i + 128 + (group >> 3) * 32 + (group & 1) * 16;
      for (let j = 0; j < 16; j++) {
        const value = ((from[low + j]! >> ((quarter >> 1) * 4)) & 15) | (((from[high + j]! >> (quarter * 2)) & 3) << 4);
        blocks[(b + group) * 16 + j] = value + 96; // 128 − 32
      }
    }
  }
}

import type { GgufType } from "./gguf-blocks.ts";
import { groupMin, groupScale, halves } from "./gguf-blocks.ts";

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

interface Regroup {
  readonly bits: 4 | 8;
  readonly block_size: 16 | 32;
  readonly offsets: boolean;
  /** Bytes of the file → blocks, scales and offsets, of whole blocks. */
  readonly write: (from: Uint8Array, to: Parts) => void;
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

/**
 * Blocks of a GGUF file regrouped, every element the same; null for types that have no such form.
 * @param from whole rows of blocks of the type
 */
export function regroupBlocks(type: GgufType, from: Uint8Array, rows: number, columns: number): QuantizedBlocks | null {
  const how = regroupings[type];
  if (how === undefined) return null;
  const { bits, block_size, write } = how;
  const blocks = new Uint8Array((rows * columns * bits) / 8);
  const scales = new Float32Array((rows * columns) / block_size);
  const offsets = new Float32Array(how.offsets ? scales.length : 0);
  write(from, { blocks, scales, offsets });
  return { rows, columns, bits, block_size, blocks, scales, offsets: how.offsets ? offsets : null };
}

/** The same matrix with its rows in another order: row i of the result is row order(i). */
export function reorderRows(matrix: QuantizedBlocks, order: (row: number) => number): QuantizedBlocks {
  const { rows } = matrix;
  const moved = <T extends Uint8Array | Float32Array>(from: T, to: T): T => {
    const width = from.length / rows;
    for (let row = 0; row < rows; row++) to.set(from.subarray(order(row) * width, (order(row) + 1) * width), row * width);
    return to;
  };
  const { blocks, scales, offsets } = matrix;
  return { ...matrix, blocks: moved(blocks, new Uint8Array(blocks.length)), scales: moved(scales, new Float32Array(scales.length)), offsets: offsets && moved(offsets, new Float32Array(offsets.length)) };
}

/** Matrices with equal columns and equal layout below one another; null where they differ. */
export function stackRows(matrices: readonly QuantizedBlocks[]): QuantizedBlocks | null {
  const [first] = matrices;
  if (first === undefined) return null;
  const alike = (m: QuantizedBlocks): boolean => m.columns === first.columns && m.bits === first.bits && m.block_size === first.block_size && (m.offsets === null) === (first.offsets === null);
  if (!matrices.every(alike)) return null;
  const joined = <T extends Uint8Array | Float32Array>(parts: readonly T[], to: T): T => {
    let at = 0;
    for (const part of parts) {
      to.set(part, at);
      at += part.length;
    }
    return to;
  };
  const length = (of: (m: QuantizedBlocks) => { readonly length: number }): number => matrices.reduce((n, m) => n + of(m).length, 0);
  return {
    ...first,
    rows: matrices.reduce((n, m) => n + m.rows, 0),
    blocks: joined(matrices.map((m) => m.blocks), new Uint8Array(length((m) => m.blocks))),
    scales: joined(matrices.map((m) => m.scales), new Float32Array(length((m) => m.scales))),
    offsets: first.offsets && joined(matrices.map((m) => m.offsets ?? new Float32Array(0)), new Float32Array(length((m) => m.scales))),
  };
}

const half = (from: Uint8Array, at: number): number => halves()[from[at]! | (from[at + 1]! << 8)]!;

// Loading a model is mostly these loops, so they take the bytes of both sides in pairs: blocks are whole numbers of pairs.
const pairs = (bytes: Uint8Array): Uint16Array => new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 2);

function regroupQ8(from: Uint8Array, { blocks, scales }: Parts): void {
  const [table, source, target] = [halves(), pairs(from), pairs(blocks)];
  for (let b = 0, i = 0; b < scales.length; b++, i += 17) {
    scales[b] = table[source[i]!]!;
    for (let j = 0; j < 16; j++) target[b * 16 + j] = source[i + 1 + j]! ^ 0x8080;
  }
}

/**
 * ggml keeps element j beside element j + 16, kernels element 2j beside 2j + 1: of each pair of bytes the low halves make one
 * byte, and the high halves one that lies eight further on.
 */
function pairUp(source: Uint16Array, i: number, target: Uint16Array, to: number): void {
  for (let j = 0; j < 4; j++) {
    const [a, b] = [source[i + 2 * j]!, source[i + 2 * j + 1]!];
    target[to + j] = (a & 0x0f) | ((a >> 4) & 0xf0) | ((b & 0x0f) << 8) | ((b << 4) & 0xf000);
    target[to + 4 + j] = ((a >> 4) & 0x0f) | ((a >> 8) & 0xf0) | ((b << 4) & 0x0f00) | (b & 0xf000);
  }
}

function regroupQ4(from: Uint8Array, { blocks, scales }: Parts): void {
  const [table, source, target] = [halves(), pairs(from), pairs(blocks)];
  for (let b = 0, i = 0; b < scales.length; b++, i += 9) {
    scales[b] = table[source[i]!]!;
    pairUp(source, i + 1, target, b * 8);
  }
}

// A minimum counts from q = 0, an offset from q = 8.
function regroupQ4Min(from: Uint8Array, { blocks, scales, offsets }: Parts): void {
  const [table, source, target] = [halves(), pairs(from), pairs(blocks)];
  for (let b = 0, i = 0; b < scales.length; b++, i += 10) {
    const scale = table[source[i]!]!;
    scales[b] = scale;
    offsets[b] = table[source[i + 1]!]! + 8 * scale;
    pairUp(source, i + 2, target, b * 8);
  }
}

function regroupQ4K(from: Uint8Array, { blocks, scales, offsets }: Parts): void {
  for (let b = 0, i = 0; b < scales.length; b += 8, i += 144) {
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

function regroupQ6K(from: Uint8Array, { blocks, scales }: Parts): void {
  for (let b = 0, i = 0; b < scales.length; b += 16, i += 210) {
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

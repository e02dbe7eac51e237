import { widenBfloat16, widenFloat16 } from "./float-formats.ts";

/** How a GGUF file stores weights: blocks of a fixed number of elements in a fixed number of bytes (ggml, `ggml-common.h`). */
export interface BlockType {
  readonly elements: number;
  readonly bytes: number;
  /**
   * Whole blocks to float32, bit for bit as ggml does: a scale is a float16, so that no product of it with small integers is
   * ever rounded, and each value is rounded once, when it is stored.
   * @param from starts at an even byte of its buffer
   */
  readonly decode: (from: Uint8Array, to: Float32Array) => void;
}

export const blockTypes = {
  F32: { elements: 1, bytes: 4, decode: (from, to) => new Uint8Array(to.buffer, to.byteOffset, to.byteLength).set(from) },
  F16: { elements: 1, bytes: 2, decode: (from, to) => widenFloat16(words(from), to) },
  BF16: { elements: 1, bytes: 2, decode: (from, to) => widenBfloat16(words(from), to) },
  Q8_0: { elements: 32, bytes: 34, decode: decodeQ8 },
  Q4_0: { elements: 32, bytes: 18, decode: decodeQ4 },
  Q4_1: { elements: 32, bytes: 20, decode: decodeQ4Min },
  Q5_0: { elements: 32, bytes: 22, decode: decodeQ5 },
  Q5_1: { elements: 32, bytes: 24, decode: decodeQ5Min },
  Q2_K: { elements: 256, bytes: 84, decode: decodeQ2K },
  Q3_K: { elements: 256, bytes: 110, decode: decodeQ3K },
  Q4_K: { elements: 256, bytes: 144, decode: decodeQ4K },
  Q5_K: { elements: 256, bytes: 176, decode: decodeQ5K },
  Q6_K: { elements: 256, bytes: 210, decode: decodeQ6K },
} as const satisfies Readonly<Record<string, BlockType>>;

export type GgufType = keyof typeof blockTypes;

const words = (bytes: Uint8Array): Uint16Array => new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 2);

let halfTable: Float32Array | undefined;

/** Every float16 by its bits. */
export function halves(): Float32Array {
  if (halfTable !== undefined) return halfTable;
  halfTable = new Float32Array(0x10000);
  widenFloat16(Uint16Array.from({ length: 0x10000 }, (_, bits) => bits), halfTable);
  return halfTable;
}

function decodeQ8(from: Uint8Array, to: Float32Array): void {
  const half = halves();
  for (let i = 0, at = 0; at < to.length; i += 34, at += 32) {
    const scale = half[from[i]! | (from[i + 1]! << 8)]!;
    for (let j = 0; j < 32; j++) to[at + j] = scale * ((from[i + 2 + j]! << 24) >> 24);
  }
}

function decodeQ4(from: Uint8Array, to: Float32Array): void {
  const half = halves();
  for (let i = 0, at = 0; at < to.length; i += 18, at += 32) {
    const scale = half[from[i]! | (from[i + 1]! << 8)]!;
    for (let j = 0; j < 16; j++) {
      const pair = from[i + 2 + j]!;
      to[at + j] = scale * ((pair & 15) - 8);
      to[at + j + 16] = scale * ((pair >> 4) - 8);
    }
  }
}

function decodeQ4Min(from: Uint8Array, to: Float32Array): void {
  const half = halves();
  for (let i = 0, at = 0; at < to.length; i += 20, at += 32) {
    const scale = half[from[i]! | (from[i + 1]! << 8)]!;
    const min = half[from[i + 2]! | (from[i + 3]! << 8)]!;
    for (let j = 0; j < 16; j++) {
      const pair = from[i + 4 + j]!;
      to[at + j] = scale * (pair & 15) + min;
      to[at + j + 16] = scale * (pair >> 4) + min;
    }
  }
}

function decodeQ5(from: Uint8Array, to: Float32Array): void {
  const half = halves();
  for (let i = 0, at = 0; at < to.length; i += 22, at += 32) {
    const scale = half[from[i]! | (from[i + 1]! << 8)]!;
    const low = from[i + 2]! | (from[i + 3]! << 8);
    const high = from[i + 4]! | (from[i + 5]! << 8);
    for (let j = 0; j < 16; j++) {
      const pair = from[i + 6 + j]!;
      to[at + j] = scale * (((pair & 15) | (((low >> j) & 1) << 4)) - 16);
      to[at + j + 16] = scale * (((pair >> 4) | (((high >> j) & 1) << 4)) - 16);
    }
  }
}

function decodeQ5Min(from: Uint8Array, to: Float32Array): void {
  const half = halves();
  for (let i = 0, at = 0; at < to.length; i += 24, at += 32) {
    const scale = half[from[i]! | (from[i + 1]! << 8)]!;
    const min = half[from[i + 2]! | (from[i + 3]! << 8)]!;
    const low = from[i + 4]! | (from[i + 5]! << 8);
    const high = from[i + 6]! | (from[i + 7]! << 8);
    for (let j = 0; j < 16; j++) {
      const pair = from[i + 8 + j]!;
      to[at + j] = scale * ((pair & 15) | (((low >> j) & 1) << 4)) + min;
      to[at + j + 16] = scale * ((pair >> 4) | (((high >> j) & 1) << 4)) + min;
    }
  }
}

/** Sixteen groups of sixteen: scale and minimum are the two halves of a byte. */
function decodeQ2K(from: Uint8Array, to: Float32Array): void {
  const half = halves();
  for (let i = 0, at = 0; at < to.length; i += 84, at += 256) {
    const scale = half[from[i + 80]! | (from[i + 81]! << 8)]!;
    const min = half[from[i + 82]! | (from[i + 83]! << 8)]!;
    for (let group = 0; group < 16; group++) {
      const scales = from[i + group]!;
      const [step, floor] = [scale * (scales & 15), min * (scales >> 4)];
      const bits = i + 16 + (group >> 3) * 32 + (group & 1) * 16;
      const shift = group & 6;
      for (let j = 0; j < 16; j++) to[at + group * 16 + j] = step * ((from[bits + j]! >> shift) & 3) - floor;
    }
  }
}

/** Sixteen groups of sixteen, with scales of 6 bits: four in one place, two in another. */
function decodeQ3K(from: Uint8Array, to: Float32Array): void {
  const half = halves();
  for (let i = 0, at = 0; at < to.length; i += 110, at += 256) {
    const scale = half[from[i + 108]! | (from[i + 109]! << 8)]!;
    for (let group = 0; group < 16; group++) {
      const low = (from[i + 96 + (group & 7)]! >> ((group >> 3) * 4)) & 15;
      const high = (from[i + 104 + (group & 3)]! >> ((group >> 2) * 2)) & 3;
      const step = scale * ((low | (high << 4)) - 32);
      const masks = i + (group & 1) * 16;
      const bits = i + 32 + (group >> 3) * 32 + (group & 1) * 16;
      const shift = group & 6;
      const plane = group >> 1;
      for (let j = 0; j < 16; j++) {
        const top = ((from[masks + j]! >> plane) & 1) << 2;
        to[at + group * 16 + j] = step * (((from[bits + j]! >> shift) & 3) + top - 4);
      }
    }
  }
}

/** Scale and minimum, 6 bits each, of group 0 … 7 of a Q4_K or Q5_K block whose 12 bytes of them start at `i`. */
export function groupScale(from: Uint8Array, i: number, group: number): number {
  return group < 4 ? from[i + group]! & 63 : (from[i + group + 4]! & 15) | ((from[i + group - 4]! >> 6) << 4);
}

export function groupMin(from: Uint8Array, i: number, group: number): number {
  return group < 4 ? from[i + group + 4]! & 63 : (from[i + group + 4]! >> 4) | ((from[i + group]! >> 6) << 4);
}

function decodeQ4K(from: Uint8Array, to: Float32Array): void {
  const half = halves();
  for (let i = 0, at = 0; at < to.length; i += 144, at += 256) {
    const scale = half[from[i]! | (from[i + 1]! << 8)]!;
    const min = half[from[i + 2]! | (from[i + 3]! << 8)]!;
    for (let group = 0; group < 8; group++) {
      const step = scale * groupScale(from, i + 4, group);
      const floor = min * groupMin(from, i + 4, group);
      const bits = i + 16 + (group >> 1) * 32;
      const shift = (group & 1) * 4;
      for (let j = 0; j < 32; j++) to[at + group * 32 + j] = step * ((from[bits + j]! >> shift) & 15) - floor;
    }
  }
}

function decodeQ5K(from: Uint8Array, to: Float32Array): void {
  const half = halves();
  for (let i = 0, at = 0; at < to.length; i += 176, at += 256) {
    const scale = half[from[i]! | (from[i + 1]! << 8)]!;
    const min = half[from[i + 2]! | (from[i + 3]! << 8)]!;
    for (let group = 0; group < 8; group++) {
      const step = scale * groupScale(from, i + 4, group);
      const floor = min * groupMin(from, i + 4, group);
      const bits = i + 48 + (group >> 1) * 32;
      const shift = (group & 1) * 4;
      for (let j = 0; j < 32; j++) {
        const top = ((from[i + 16 + j]! >> group) & 1) << 4;
        to[at + group * 32 + j] = step * (((from[bits + j]! >> shift) & 15) | top) - floor;
      }
    }
  }
}

function decodeQ6K(from: Uint8Array, to: Float32Array): void {
  const half = halves();
  for (let i = 0, at = 0; at < to.length; i += 210, at += 256) {
    const scale = half[from[i + 208]! | (from[i + 209]! << 8)]!;
    for (let group = 0; group < 16; group++) {
      const step = scale * ((from[i + 192 + group]! << 24) >> 24);
      const quarter = (group >> 1) & 3;
      const low = i + (group >> 3) * 64 + (group & 3) * 16;
      const high = i + 128 + (group >> 3) * 32 + (group & 1) * 16;
      const [lowShift, highShift] = [(quarter >> 1) * 4, quarter * 2];
      for (let j = 0; j < 16; j++) {
        const value = ((from[low + j]! >> lowShift) & 15) | (((from[high + j]! >> highShift) & 3) << 4);
        to[at + group * 16 + j] = step * (value - 32);
      }
    }
  }
}

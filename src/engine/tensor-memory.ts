import type { ParameterSpec } from "../model/index.ts";
import type { Backend, DeviceTensor, LoadValues, Memory } from "../runtime/index.ts";
import { newBlocks, type BlockLayout, type QuantizedBlocks } from "../weights/index.ts";
import type { QuantizedTensors } from "./model-parameters.ts";

export const rowsOf = (parts: readonly ParameterSpec[]): number => parts.reduce((n, { shape }) => n + shape[0]!, 0);

/** A cache line, where each tensor begins. */
const alignment = 64;
const aligned = (bytes: number): number => Math.ceil(bytes / alignment) * alignment;

/** Bytes that a tensor takes in `TensorMemory`. */
export const float32Bytes = (shape: readonly number[]): number => aligned(4 * shape.reduce((a, b) => a * b, 1));

/** Bytes that parts take in `TensorMemory`, one below the other, at most. */
export function bytesOf(parts: readonly ParameterSpec[], layout: BlockLayout | null): number {
  const shape = [rowsOf(parts), ...parts[0]!.shape.slice(1)];
  if (!layout) return float32Bytes(shape);
  const elements = shape.reduce((a, b) => a * b, 1);
  return aligned((elements * layout.bits) / 8) + (layout.offsets ? 2 : 1) * aligned((4 * elements) / layout.block_size);
}

/** Of one array: what every version of Node can hold, and less. */
const mostBytes = 2 ** 31;

/** Parameters or a cache in few large pieces of memory, each of which lives as long as a tensor in it: V8 may look for garbage after every large one. */
export class TensorMemory {
  readonly #backend: Backend;
  readonly #use: "dense" | "sparse";
  readonly #pieces: DeviceTensor<"uint8">[] = [];
  /** Bytes that the pieces to come hold, and those that the last one has given. */
  #left: number;
  #given = 0;

  /**
   * @param bytes that will be taken in all
   * @param use how (`Backend.tensor`)
   */
  constructor(backend: Backend, bytes: number, use: "dense" | "sparse") {
    this.#backend = backend;
    this.#use = use;
    this.#left = bytes;
  }

  /** @param load brings the values; absent where the caller writes them at once */
  float32(shape: readonly number[], load?: LoadValues): DeviceTensor<"float32"> {
    const bytes = this.#take(4 * shape.reduce((a, b) => a * b, 1));
    return this.#over("float32", shape, new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4), load);
  }

  /** A matrix in blocks, and tensors over the same memory. */
  blocks(layout: BlockLayout, rows: number, columns: number, load?: LoadValues): { readonly stacked: QuantizedBlocks; readonly tensors: QuantizedTensors } {
    const stacked = newBlocks(layout, rows, columns, (bytes) => this.#take(bytes));
    const { blocks, scales, offsets, block_size, bits } = stacked;
    const count = columns / block_size;
    const tensors = {
      blocks: this.#over("uint8", [rows, count, (block_size * bits) / 8], blocks, load),
      scales: this.#over("float32", [rows, count], scales, load),
      ...(offsets && { offsets: this.#over("float32", [rows, count], offsets, load) }),
      columns,
    };
    return { stacked, tensors };
  }

  /** Nothing more will be taken. */
  leave(): void {
    for (const piece of this.#pieces) piece.dispose();
  }

  #take(bytes: number): Uint8Array {
    if (this.#pieces.length === 0 || this.#pieces.at(-1)!.data.length - this.#given < bytes) {
      const size = Math.max(bytes, Math.min(this.#left, mostBytes));
      this.#pieces.push(this.#backend.tensor("uint8", [size], this.#use));
      this.#left -= size;
      this.#given = 0;
    }
    const taken = this.#pieces.at(-1)!.data.subarray(this.#given, this.#given + bytes);
    this.#given += aligned(bytes);
    return taken;
  }

  #over<D extends "float32" | "uint8">(dtype: D, shape: readonly number[], data: Memory[D], load: LoadValues | undefined): DeviceTensor<D> {
    return this.#backend.tensorOver(dtype, shape, data, this.#pieces.find((piece) => piece.data.buffer === data.buffer), load);
  }
}

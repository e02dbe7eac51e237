/** A matrix in blocks, in the layout that kernels take (src/weights/quantized-blocks.ts). */
export interface InBlocks {
  readonly rows: number;
  readonly columns: number;
  readonly bits: 4 | 8;
  readonly block_size: number;
  readonly blocks: Uint8Array;
  readonly scales: Float32Array;
  readonly offsets: Float32Array | null;
}

/** The matrix itself, [rows, columns], as its layout is defined. */
export function blockElements({ rows, columns, bits, block_size, blocks, scales, offsets }: InBlocks): Float64Array {
  return Float64Array.from({ length: rows * columns }, (_, i) => {
    const byte = blocks[Math.floor((i * bits) / 8)]!;
    const q = bits === 8 ? byte : i % 2 === 0 ? byte & 15 : byte >> 4;
    const block = Math.floor(i / block_size);
    return (q - 2 ** (bits - 1)) * scales[block]! + (offsets?.[block] ?? 0);
  });
}

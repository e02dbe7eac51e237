import { LongjingError } from "../errors/index.ts";
import { narrowFloat8E4M3, widenFloat8E4M3 } from "./float-formats.ts";

/** Rows and columns that share a scale. */
export type BlockSize = readonly [rows: number, columns: number];

/** A matrix as DeepSeek-V3 stores it (arXiv 2412.19437, section 3.3): E4M3 values, and a factor on those of each block. */
export interface Fp8Matrix {
  /** Bit patterns, [rows, columns]. */
  readonly values: Uint8Array;
  /** `weight_scale_inv`, [⌈rows / block rows⌉, ⌈columns / block columns⌉]. */
  readonly scales: Float32Array;
}

/** How many blocks cover a matrix, in each direction; those at its end may be cut. */
export function blockGrid(shape: readonly number[], [blockRows, blockColumns]: BlockSize): readonly [number, number] {
  const [rows, columns] = sides(shape);
  return [Math.ceil(rows / blockRows), Math.ceil(columns / blockColumns)];
}

/** Multiplies each value of a matrix by its block's scale, in place. @throws LongjingError "shape_mismatch" */
export function scaleBlocks(values: Float32Array, shape: readonly number[], scales: Float32Array, block: BlockSize): void {
  const [rows, columns] = sides(shape);
  const [down, across] = blockGrid(shape, block);
  if (values.length !== rows * columns || scales.length !== down * across) throw new LongjingError("shape_mismatch", "A matrix has a scale for each of its blocks", { got: scales.length, expected: [down, across] });
  for (let row = 0; row < rows; row++) {
    const scaleRow = Math.floor(row / block[0]) * across;
    for (let b = 0; b < across; b++) {
      const scale = scales[scaleRow + b]!;
      const end = row * columns + Math.min(columns, (b + 1) * block[1]);
      for (let i = row * columns + b * block[1]; i < end; i++) values[i]! *= scale;
    }
  }
}

export function dequantizeFp8({ values, scales }: Fp8Matrix, shape: readonly number[], block: BlockSize): Float32Array {
  const widened = new Float32Array(values.length);
  widenFloat8E4M3(values, widened);
  scaleBlocks(widened, shape, scales, block);
  return widened;
}

const largestE4M3 = 448;
/** Keeps the scale of a block of zeros, or next to it, a normal number. */
const smallestPeak = 2 ** -100;

/** The largest magnitude of a block becomes 448, the largest of E4M3; values are rounded to nearest. */
export function quantizeFp8(weights: Float32Array, shape: readonly number[], block: BlockSize): Fp8Matrix {
  const [rows, columns] = sides(shape);
  const [down, across] = blockGrid(shape, block);
  const peaks = new Float32Array(down * across).fill(smallestPeak);
  const blockOf = (row: number, column: number): number => Math.floor(row / block[0]) * across + Math.floor(column / block[1]);
  for (let row = 0; row < rows; row++)
    for (let column = 0; column < columns; column++) {
      const at = blockOf(row, column);
      peaks[at] = Math.max(peaks[at]!, Math.abs(weights[row * columns + column]!));
    }
  const scales = peaks.map((peak) => peak / largestE4M3);
  const scaled = weights.slice();
  scaleBlocks(scaled, shape, scales.map((scale) => 1 / scale), block);
  const values = new Uint8Array(weights.length);
  narrowFloat8E4M3(scaled, values);
  return { values, scales };
}

function sides(shape: readonly number[]): readonly [number, number] {
  const [rows, columns] = shape;
  if (rows !== undefined && columns !== undefined && shape.length === 2) return [rows, columns];
  throw new LongjingError("shape_mismatch", "Blocks are of a matrix", { got: shape, expected: "[rows, columns]" });
}

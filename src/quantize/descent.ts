import { fourDots } from "./dots.ts";
import { blockLength, inverseOf, nearest, type QuantizedMatrix } from "./grid.ts";

/** Sweeps over the columns of a row at most; most rows are still before. */
const mostSweeps = 4;

/**
 * Moves codes, one at a time, to where the error at the outputs is least while all others stay, until none moves: rounding in
 * one order of columns leaves some that would be better now. The error never grows.
 * @param hessian symmetric, [columns, columns]: an error E of a row costs E H Eᵀ
 */
export function descend(weights: Float32Array, { shape: [rows, columns], grid, codes, scales, mins }: QuantizedMatrix, hessian: Float64Array): void {
  const errors = new Float64Array(columns);
  /** E H, half of the slope of the cost. */
  const slope = new Float64Array(columns);
  const top = 2 ** grid.bits - 1;
  const sweep = (start: number): boolean => {
    let moved = false;
    for (let i = 0; i < columns; i++) {
      const at = start + i;
      const [scale, min, old] = [scales[Math.floor(at / blockLength)]!, mins[Math.floor(at / blockLength)]!, codes[at]!];
      const row = i * columns;
      const code = nearest(scale * old + min + slope[i]! / hessian[row + i]!, min, inverseOf(scale), top);
      if (code === old) continue;
      codes[at] = code;
      const step = scale * (code - old);
      for (let j = 0; j < columns; j++) slope[j]! -= step * hessian[row + j]!;
      moved = true;
    }
    return moved;
  };
  for (let start = 0; start < rows * columns; start += columns) {
    for (let i = 0, at = start; i < columns; i++, at++) errors[i] = weights[at]! - (scales[Math.floor(at / blockLength)]! * codes[at]! + mins[Math.floor(at / blockLength)]!);
    for (let j = 0; j < columns; j += 4) fourDots(slope, j, errors, 0, hessian, j * columns, columns, columns);
    for (let n = 0; n < mostSweeps && sweep(start); n++);
  }
}

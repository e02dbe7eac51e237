import { LongjingError } from "../errors/index.ts";

/** Weights of a row that share a scale, as in GGUF's Q4_0, Q4_1 and Q8_0. */
export const blockLength = 32;

/**
 * Which values a block may take: scale · code + min, code = 0 … 2^bits − 1.
 *
 * - symmetric: min = −2^(bits − 1) · scale, and the scale has a sign (Q4_0, Q8_0)
 * - minimum: min is any float16 (Q4_1)
 * - zero_point: min = −zero · scale for a code `zero` (compressed-tensors)
 */
export interface Grid {
  readonly bits: 4 | 8;
  readonly kind: "symmetric" | "minimum" | "zero_point";
}

/** A matrix [rows, columns] whose blocks of 32 columns each lie on a grid. */
export interface QuantizedMatrix {
  readonly grid: Grid;
  readonly shape: readonly [rows: number, columns: number];
  /** One byte a weight, row-major. */
  readonly codes: Uint8Array;
  /** Float16 values, [rows, columns / 32]. */
  readonly scales: Float32Array;
  /** [rows, columns / 32] */
  readonly mins: Float32Array;
}

/** Memory for a matrix; null where its rows are not whole blocks, so that no grid fits it. */
export function quantizedMatrix(shape: readonly number[], grid: Grid): QuantizedMatrix {
  const [rows, columns] = shape;
  if (shape.length !== 2 || rows === undefined || columns === undefined || columns % blockLength !== 0)
    throw new LongjingError("shape_mismatch", "Only matrices of whole blocks can be quantised", { got: shape, expected: `[rows, columns], columns a multiple of ${blockLength}` });
  const blocks = (rows * columns) / blockLength;
  return { grid, shape: [rows, columns], codes: new Uint8Array(rows * columns), scales: new Float32Array(blocks), mins: new Float32Array(blocks) };
}

/** The weights that the codes stand for, row-major. */
export function dequantize({ codes, scales, mins }: QuantizedMatrix, into: Float32Array = new Float32Array(codes.length)): Float32Array {
  for (let i = 0; i < codes.length; i++) into[i] = scales[i >> 5]! * codes[i]! + mins[i >> 5]!;
  return into;
}

/** The grid of one block: value = scale · code + min. */
export interface Levels {
  readonly scale: number;
  readonly min: number;
}

/** The least and the greatest weight of the block from `at`, and zero where the grid must have it. @throws LongjingError "unsupported" unless all are finite */
export function rangeOf({ kind }: Grid, weights: Float64Array | Float32Array, at: number): readonly [low: number, high: number] {
  let low = kind === "minimum" ? weights[at]! : 0;
  let high = low;
  for (let i = at; i < at + blockLength; i++) {
    const weight = weights[i]!;
    if (!(Math.abs(weight) < Infinity)) throw new LongjingError("unsupported", "A weight is not finite, so that nothing can be rounded to it", { got: String(weight) });
    if (weight < low) low = weight;
    if (weight > high) high = weight;
  }
  return [low, high];
}

/**
 * The grid that spans `span` of a range. `flipped` gives a symmetric grid's longer side, which has one level more, to the
 * smaller peak.
 * @throws LongjingError "unsupported" for a range that no float16 scale reaches
 */
export function levels({ bits, kind }: Grid, [low, high]: readonly [number, number], span = 1, flipped = false): Levels {
  const top = 2 ** bits - 1;
  if (kind === "symmetric") return symmetricLevels(bits, low, high, span, flipped);
  const scale = toFloat16(((high - low) * span) / top);
  if (kind === "minimum") return { scale, min: toFloat16((low + high - (high - low) * span) / 2) };
  const zero = scale === 0 ? 0 : Math.min(top, Math.max(0, Math.round((-low * span) / scale)));
  return { scale, min: -zero * scale };
}

/** 4 bits have 8 levels on one side of zero and 7 on the other; the scale's sign says which. 8 bits use 127 on both. */
function symmetricLevels(bits: 4 | 8, low: number, high: number, span: number, flipped: boolean): Levels {
  const half = 2 ** (bits - 1);
  const peak = -low > high ? low : high;
  const scale = bits === 8 ? toFloat16((Math.abs(peak) * span) / (half - 1)) : toFloat16(flipped ? (peak * span) / (half - 1) : (-peak * span) / half);
  return { scale, min: -half * scale };
}

/** The code of the nearest level; `inverse` is 1 / scale, or 0 where that is 0. */
export function nearest(weight: number, min: number, inverse: number, top: number): number {
  const code = Math.floor((weight - min) * inverse + 0.5);
  return code < 0 ? 0 : code > top ? top : code;
}

export const inverseOf = (scale: number): number => (scale === 0 ? 0 : 1 / scale);

/** Rounds each weight to the nearest level of a grid that spans its block. */
export function roundToNearest(weights: Float32Array, shape: readonly number[], grid: Grid): QuantizedMatrix {
  const matrix = quantizedMatrix(shape, grid);
  for (let block = 0; block < matrix.scales.length; block++) {
    const { scale, min } = levels(grid, rangeOf(grid, weights, block * blockLength));
    matrix.scales[block] = scale;
    matrix.mins[block] = min;
    const [inverse, top] = [inverseOf(scale), 2 ** grid.bits - 1];
    for (let i = block * blockLength; i < (block + 1) * blockLength; i++) matrix.codes[i] = nearest(weights[i]!, min, inverse, top);
  }
  return matrix;
}

/** The same codes on grids that are `factors` times as wide, a factor a block. @throws LongjingError "unsupported" for a scale beyond float16 */
export function rescale({ grid, scales, mins, ...rest }: QuantizedMatrix, factors: Float32Array): QuantizedMatrix {
  const wide = scales.map((scale, block) => toFloat16(scale * factors[block]!));
  // A minimum that is a multiple of the scale stays that multiple.
  const moved = mins.map((min, block) => (grid.kind === "minimum" ? toFloat16(min * factors[block]!) : scales[block] === 0 ? min : Math.round(min / scales[block]!) * wide[block]!));
  return { grid, ...rest, scales: wide, mins: moved };
}

const largestFloat16 = 65504;
/** Splits 11 of the 53 bits of a number off (Veltkamp), the significand of a float16. */
const splitter = 2 ** 42 + 1;

/** To the nearest float16. @throws LongjingError "unsupported" above the largest */
export function toFloat16(x: number): number {
  const size = Math.abs(x);
  // Below the smallest normal number they are evenly spaced.
  if (size < 2 ** -14) return Math.round(x * 2 ** 24) * 2 ** -24;
  const wide = x * splitter;
  const rounded = wide - (wide - x);
  if (Math.abs(rounded) <= largestFloat16) return rounded;
  throw new LongjingError("unsupported", "A block's scale does not fit into a float16", { got: x, expected: `${largestFloat16} at most` });
}

import { LongjingError } from "../errors/index.ts";
import { dot, fourDots } from "./dots.ts";
import { blockLength, inverseOf, levels, nearest, quantizedMatrix, rangeOf, spans, type Grid, type Levels, type QuantizedMatrix } from "./grid.ts";

/**
 * What a linear layer's inputs say of its weights: with the Gram matrix H = XᵀX of inputs X [rows, n], errors E of the weights
 * cost tr(E H Eᵀ) = ‖X Eᵀ‖² at the outputs. H = (F + I)ᵀ D (F + I) with F strictly lower triangular and D diagonal, so that
 * the cost is a sum over columns k of D_k (E_k + Σ_{i<k} E_i F_ki)².
 */
export interface Sensitivity {
  readonly size: number;
  /** F, row-major. */
  readonly feedback: Float64Array;
  /** D */
  readonly cost: Float64Array;
}

/** XᵀX of a linear layer's inputs X [rows, size]. */
export interface Gram {
  readonly rows: number;
  readonly size: number;
  /** Row-major. */
  readonly data: Float64Array;
}

/** Least share of its mean that is added to the diagonal (GPTQ, section 3.3). */
const leastDamping = 0.01;
/** And more where there are few rows for each column. */
const dampingByColumns = 0.3;

/**
 * Damps and decomposes a Gram matrix. Directions that the calibration text took rarely or never must not count as free: the
 * fewer rows there are for each column, the more is added to the diagonal.
 */
export function sensitivity({ rows, size, data }: Gram): Sensitivity {
  const gram = data.slice();
  let trace = 0;
  for (let i = 0; i < size; i++) trace += gram[i * size + i]!;
  if (!(trace < Infinity)) throw new LongjingError("unsupported", "The calibration text gives activations that are not finite", { got: String(trace) });
  const damp = trace > 0 ? (Math.max(leastDamping, (dampingByColumns * size) / rows) * trace) / size : 1;
  for (let i = 0; i < size; i++) gram[i * size + i]! += damp;
  const cost = new Float64Array(size);
  // Cholesky from the last column to the first: H = Rᵀ R with R lower triangular, kept over the lower triangle of H by rows of Rᵀ.
  const upper = gram;
  const four = new Float64Array(4);
  for (let j = size - 1; j >= 0; j--) {
    const rest = size - 1 - j;
    const pivot = Math.sqrt(upper[j * size + j]! - dot(upper, j * size + j + 1, upper, j * size + j + 1, rest));
    upper[j * size + j] = pivot;
    cost[j] = pivot * pivot;
    for (let i = 0; i < j; i += 4) {
      if (i + 4 <= j) fourDots(four, 0, upper, j * size + j + 1, upper, i * size + j + 1, size, rest);
      for (let r = i; r < Math.min(j, i + 4); r++) {
        const product = i + 4 <= j ? four[r - i]! : dot(upper, r * size + j + 1, upper, j * size + j + 1, rest);
        upper[r * size + j] = (upper[r * size + j]! - product) / pivot;
      }
    }
  }
  const feedback = upper;
  for (let k = 0; k < size; k++) for (let i = 0; i < k; i++) feedback[k * size + i] = upper[i * size + k]! / upper[k * size + k]!;
  return { size, feedback, cost };
}

/**
 * Rounds column after column and lets each later column make up for the errors of those before: GPTQ (arXiv 2210.17323) in the
 * form of LDLQ (arXiv 2307.13304, theorem 6), which needs no inverse. Of a block's possible grids the one that costs least is
 * taken.
 */
export function roundCalibrated(weights: Float32Array, shape: readonly number[], grid: Grid, felt: Sensitivity): QuantizedMatrix {
  const matrix = quantizedMatrix(shape, grid);
  const [rows, columns] = matrix.shape;
  if (columns !== felt.size) throw new LongjingError("shape_mismatch", "The inputs are of another layer", { got: felt.size, expected: columns });
  const search = new BlockSearch(grid);
  const errors = new Float64Array(Math.min(rows, rowsAtOnce) * columns);
  for (let first = 0; first < rows; first += rowsAtOnce) roundRows(matrix, weights, first, Math.min(rows, first + rowsAtOnce), errors, search, felt);
  return matrix;
}

/** Rows are independent; this many keep a block's part of F in the cache for long without much memory for their errors. */
const rowsAtOnce = 1024;

function roundRows(matrix: QuantizedMatrix, weights: Float32Array, first: number, end: number, errors: Float64Array, search: BlockSearch, { size, feedback, cost }: Sensitivity): void {
  const columns = matrix.shape[1];
  for (let start = 0; start < columns; start += blockLength) {
    search.enter(feedback, cost, start);
    for (let row = first; row < end; row++) {
      const at = row * columns + start;
      const e = (row - first) * columns;
      search.weights.set(weights.subarray(at, at + blockLength));
      for (let k = 0; k < blockLength; k += 4) fourDots(search.feedback, k, errors, e, feedback, (start + k) * size, size, start);
      const { scale, min } = search.run();
      matrix.scales[at / blockLength] = scale;
      matrix.mins[at / blockLength] = min;
      matrix.codes.set(search.codes, at);
      for (let k = 0; k < blockLength; k++) errors[e + start + k] = search.weights[k]! - (scale * search.codes[k]! + min);
    }
  }
}

/** Finds the grid and the codes of one block of one row. */
class BlockSearch {
  readonly weights = new Float64Array(blockLength);
  /** What earlier blocks' errors ask of these columns. */
  readonly feedback = new Float64Array(blockLength);
  /** Of the best grid. */
  readonly codes = new Uint8Array(blockLength);
  readonly #grid: Grid;
  readonly #top: number;
  readonly #flips: readonly boolean[];
  readonly #within = new Float64Array(blockLength * blockLength);
  readonly #cost = new Float64Array(blockLength);
  readonly #errors = new Float64Array(blockLength);
  readonly #bests = new Float64Array(blockLength);

  constructor(grid: Grid) {
    this.#grid = grid;
    this.#top = 2 ** grid.bits - 1;
    this.#flips = grid.kind === "symmetric" && grid.bits === 4 ? [false, true] : [false];
  }

  /** Takes what concerns columns `start` … of F and D. */
  enter(feedback: Float64Array, cost: Float64Array, start: number): void {
    const size = cost.length;
    for (let k = 0; k < blockLength; k++) {
      this.#cost[k] = cost[start + k]!;
      for (let i = 0; i < k; i++) this.#within[k * blockLength + i] = feedback[(start + k) * size + start + i]!;
    }
  }

  /** The grid on which the weights' best values lie nearest, and on it their codes. */
  run(): Levels {
    const ideal = this.#ideal();
    const range = rangeOf(this.#grid, ideal, 0);
    let best = levels(this.#grid, range);
    let least = Infinity;
    for (const span of spans)
      for (const flipped of this.#flips) {
        const tried = levels(this.#grid, range, span, flipped);
        const distance = this.#distance(ideal, tried, least);
        if (distance < least) [best, least] = [tried, distance];
      }
    this.#round(best);
    return best;
  }

  /** What rounding alone would cost, without feedback; not all of it once it reaches `most`. */
  #distance(ideal: Float64Array, { scale, min }: Levels, most: number): number {
    const inverse = inverseOf(scale);
    let distance = 0;
    for (let k = 0; k < blockLength && distance < most; k++) {
      const error = ideal[k]! - (scale * nearest(ideal[k]!, min, inverse, this.#top) + min);
      distance += this.#cost[k]! * error * error;
    }
    return distance;
  }

  /** What the weights would best be, given the blocks before, if they were not rounded. */
  #ideal(): Float64Array {
    const ideal = this.#bests;
    for (let k = 0; k < blockLength; k++) {
      ideal[k] = this.#target(k);
      this.#errors[k] = this.weights[k]! - ideal[k]!;
    }
    return ideal;
  }

  #round({ scale, min }: Levels): void {
    const inverse = inverseOf(scale);
    for (let k = 0; k < blockLength; k++) {
      const code = nearest(this.#target(k), min, inverse, this.#top);
      this.codes[k] = code;
      this.#errors[k] = this.weights[k]! - (scale * code + min);
    }
  }

  /** Column k's weight with the feedback of all columns before it. */
  #target(k: number): number {
    let target = this.weights[k]! + this.feedback[k]!;
    for (let i = 0, row = k * blockLength; i < k; i++) target += this.#errors[i]! * this.#within[row + i]!;
    return target;
  }
}

import { LongjingError } from "../errors/index.ts";
import { BlockSearch } from "./block-search.ts";
import { blockLength, quantizedMatrix, type Grid, type QuantizedMatrix } from "./grid.ts";
import type { BlockProduct, BlockProducts } from "./products.ts";

/**
 * What a linear layer's inputs say of its weights: with the Gram matrix H = XᵀX of inputs X [rows, n], errors E of the weights
 * cost tr(E H Eᵀ) = ‖X Eᵀ‖² at the outputs. H = (F + I)ᵀ D (F + I) with F strictly lower triangular and D diagonal, so that
 * the cost is a sum over columns k of D_k (E_k + Σ_{i<k} E_i F_ki)². Columns of F and D are those of H with its blocks in order.
 */
export interface Sensitivity {
  readonly size: number;
  /** Blocks of columns, those of the largest inputs first: later ones make up for their errors. */
  readonly order: readonly number[];
  /** F, row-major. */
  readonly feedback: Float32Array;
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
export async function sensitivity(products: BlockProducts, { rows, size, data }: Gram): Promise<Sensitivity> {
  let trace = 0;
  for (let i = 0; i < size; i++) trace += data[i * size + i]!;
  if (!(trace < Infinity)) throw new LongjingError("unsupported", "The calibration text gives activations that are not finite", { got: String(trace) });
  const damp = trace > 0 ? (Math.max(leastDamping, (dampingByColumns * size) / rows) * trace) / size : 1;
  const order = blockOrder(data, size);
  const at = Int32Array.from({ length: size }, (_, k) => order[Math.floor(k / blockLength)]! * blockLength + (k % blockLength));
  // Cholesky from the last column to the first: H = Rᵀ R with R lower triangular, a block of columns of Rᵀ at a time.
  const product = await products.of(size, size);
  const upper = product.left.fill(0);
  const pivots = new Float64Array(size);
  const panel = new Float64Array(size * blockLength);
  for (let start = size - blockLength; start >= 0; start -= blockLength) {
    product.right.set(upper.subarray(start * size, (start + blockLength) * size));
    await product.run();
    const end = start + blockLength;
    for (let i = 0; i < end; i++) for (let c = 0; c < blockLength; c++) panel[i * blockLength + c] = data[at[i]! * size + at[start + c]!]! + (i === start + c ? damp : 0) - product.out[i * blockLength + c]!;
    factor(panel, start, pivots, damp);
    for (let i = 0; i < end; i++) for (let c = Math.max(0, i - start); c < blockLength; c++) upper[i * size + start + c] = panel[i * blockLength + c]!;
  }
  const feedback = new Float32Array(size * size);
  for (let k = 0; k < size; k++) for (let i = 0; i < k; i++) feedback[k * size + i] = upper[i * size + k]! / pivots[k]!;
  return { size, order, feedback, cost: pivots.map((pivot) => pivot * pivot) };
}

function blockOrder(data: Float64Array, size: number): number[] {
  const energy = new Float64Array(size / blockLength);
  for (let i = 0; i < size; i++) energy[Math.floor(i / blockLength)]! += data[i * size + i]!;
  return Array.from(energy.keys()).sort((a, b) => energy[b]! - energy[a]!);
}

/** Columns start … of H, less what later ones explain, to those of Rᵀ. No pivot is below √least but by the products' rounding. */
function factor(panel: Float64Array, start: number, pivots: Float64Array, least: number): void {
  for (let j = blockLength - 1; j >= 0; j--) {
    const own = (start + j) * blockLength;
    const rest = (row: number): number => {
      let left = panel[row + j]!;
      for (let k = j + 1; k < blockLength; k++) left -= panel[row + k]! * panel[own + k]!;
      return left;
    };
    const pivot = Math.sqrt(Math.max(least, rest(own)));
    pivots[start + j] = panel[own + j] = pivot;
    for (let i = 0; i < start + j; i++) panel[i * blockLength + j] = rest(i * blockLength) / pivot;
  }
}

/** Rows are independent; so many at a time bound the memory for their errors. */
const rowsAtOnce = 2048;

/**
 * Rounds column after column and lets each later column make up for the errors of those before: GPTQ (arXiv 2210.17323) in the
 * form of LDLQ (arXiv 2307.13304, theorem 6), which needs no inverse. Blocks of large inputs come first (GPTQ's act-order, by
 * blocks, so that those of the file stay whole); of a block's possible grids the one that costs least is taken.
 */
export async function roundCalibrated(products: BlockProducts, weights: Float32Array, shape: readonly number[], grid: Grid, felt: Sensitivity): Promise<QuantizedMatrix> {
  const matrix = quantizedMatrix(shape, grid);
  const [rows, columns] = matrix.shape;
  if (columns !== felt.size) throw new LongjingError("shape_mismatch", "The inputs are of another layer", { got: felt.size, expected: columns });
  const search = new BlockSearch(grid);
  const product = await products.of(Math.min(rows, rowsAtOnce), columns);
  for (let first = 0; first < rows; first += rowsAtOnce) await roundRows(matrix, weights, first, Math.min(rows, first + rowsAtOnce), product, search, felt);
  return matrix;
}

async function roundRows(matrix: QuantizedMatrix, weights: Float32Array, first: number, end: number, product: BlockProduct, search: BlockSearch, { size, order, feedback, cost }: Sensitivity): Promise<void> {
  const errors = product.left.fill(0);
  for (let start = 0; start < size; start += blockLength) {
    search.enter(feedback, cost, start);
    product.right.set(feedback.subarray(start * size, (start + blockLength) * size));
    await product.run();
    for (let row = first; row < end; row++) {
      const at = row * size + order[start / blockLength]! * blockLength;
      const from = (row - first) * blockLength;
      search.weights.set(weights.subarray(at, at + blockLength));
      search.feedback.set(product.out.subarray(from, from + blockLength));
      const { scale, min } = search.run();
      matrix.scales[at / blockLength] = scale;
      matrix.mins[at / blockLength] = min;
      matrix.codes.set(search.codes, at);
      for (let k = 0; k < blockLength; k++) errors[(row - first) * size + start + k] = search.weights[k]! - (scale * search.codes[k]! + min);
    }
  }
}

import { loraNames, targetedModules, type LoraModule } from "../model/adapters.ts";
import type { ParameterSpec } from "../model/parameters.ts";
import { LongjingError } from "../errors/index.ts";
import { random, type Random } from "../random/index.ts";
import type { LoraAdapter, LoraTensor } from "./lora.ts";

export interface ExtractedAdapter extends Pick<LoraAdapter, "config" | "tensors" | "modules"> {
  /** Share of the squared difference between the models that the adapter holds; what it cannot hold are gains and embeddings. */
  readonly captured: number;
}

type Arrays = Readonly<Record<string, Float32Array>>;

/**
 * The adapter that makes a base nearest to a model which was trained from it: of each linear layer's difference the best
 * approximation of a rank.
 * @throws LongjingError "bad_argument" when no linear layer differs
 */
export function extractAdapter(base: Arrays, tuned: Arrays, specs: readonly ParameterSpec[], rank: number): ExtractedAdapter {
  const tensors: Record<string, LoraTensor> = {};
  const modules: LoraModule[] = [];
  const linear = new Set(targetedModules(specs, ".*").map((module) => `${module}.weight`));
  let [whole, held] = [0, 0];
  for (const { name, shape } of specs) {
    const difference = tuned[name]!.map((value, i) => value - base[name]![i]!);
    const energy = squares(difference);
    whole += energy;
    if (energy === 0 || !linear.has(name)) continue;
    const module = name.slice(0, -".weight".length);
    const [rows, columns] = shape as [number, number];
    const { a, b } = lowRankFactors(difference, rows, columns, rank, random("extract", module));
    tensors[loraNames(module).a] = { shape: [rank, columns], data: a };
    tensors[loraNames(module).b] = { shape: [rows, rank], data: b };
    modules.push({ module, rank, scale: 1 });
    held += squares(a);
  }
  if (modules.length === 0) throw new LongjingError("bad_argument", "No linear layer of the model differs from its base");
  const config = { r: rank, lora_alpha: rank, use_rslora: false, target_modules: modules.map(({ module }) => module), rank_pattern: {}, alpha_pattern: {} };
  return { config, modules, tensors, captured: held / whole };
}

const squares = (values: Float32Array): number => values.reduce((sum, value) => sum + value * value, 0);

/** Rounds of the power method; the error falls by the ratio of neighbouring singular values squared with each. */
const iterations = 8;

/**
 * b [rows, rank] with orthonormal columns and a = bᵀ · matrix [rank, columns], so that b · a is the matrix projected on its
 * strongest directions (subspace iteration: Halko, Martinsson and Tropp, 0909.4061, algorithm 4.4). A matrix of that rank or less
 * comes back whole.
 */
export function lowRankFactors(matrix: Float32Array, rows: number, columns: number, rank: number, stream: Random): { readonly a: Float32Array; readonly b: Float32Array } {
  let right = orthonormal(Array.from({ length: rank }, () => Float64Array.from({ length: columns }, () => stream.normal())));
  let left: Float64Array[] = [];
  for (let i = 0; i < iterations; i++) {
    left = orthonormal(right.map((vector) => times(matrix, rows, columns, vector)));
    right = left.map((vector) => timesTransposed(matrix, rows, columns, vector));
    if (i < iterations - 1) right = orthonormal(right);
  }
  const a = new Float32Array(rank * columns);
  const b = new Float32Array(rows * rank);
  right.forEach((vector, k) => a.set(vector, k * columns));
  left.forEach((vector, k) => vector.forEach((value, row) => (b[row * rank + k] = value)));
  return { a, b };
}

function times(matrix: Float32Array, rows: number, columns: number, vector: Float64Array): Float64Array {
  const product = new Float64Array(rows);
  for (let row = 0; row < rows; row++) for (let c = 0, at = row * columns; c < columns; c++) product[row]! += matrix[at + c]! * vector[c]!;
  return product;
}

function timesTransposed(matrix: Float32Array, rows: number, columns: number, vector: Float64Array): Float64Array {
  const product = new Float64Array(columns);
  for (let row = 0; row < rows; row++) for (let c = 0, at = row * columns; c < columns; c++) product[c]! += matrix[at + c]! * vector[row]!;
  return product;
}

/** Gram-Schmidt, twice over for accuracy. A vector that the ones before it span becomes zero. */
function orthonormal(vectors: readonly Float64Array[]): Float64Array[] {
  const basis: Float64Array[] = [];
  for (const vector of vectors) {
    const rest = vector.slice();
    const before = Math.sqrt(dot(rest, rest));
    for (const other of [...basis, ...basis]) {
      const along = dot(rest, other);
      for (let i = 0; i < rest.length; i++) rest[i]! -= along * other[i]!;
    }
    const length = Math.sqrt(dot(rest, rest));
    basis.push(length > before * 1e-9 ? rest.map((value) => value / length) : rest.fill(0));
  }
  return basis;
}

function dot(x: Float64Array, y: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < x.length; i++) sum += x[i]! * y[i]!;
  return sum;
}

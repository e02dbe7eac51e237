import fc from "fast-check";
import { expect, test } from "vitest";
import { random } from "../random/index.ts";
import { extractAdapter, lowRankFactors } from "./extract-adapter.ts";
import { mergeAdapter, mergeLora } from "./lora.ts";

const sizes = fc.record({ rows: fc.integer({ min: 1, max: 20 }), columns: fc.integer({ min: 1, max: 20 }), rank: fc.integer({ min: 1, max: 6 }), seed: fc.nat() });
const gaussian = (length: number, seed: number, name: string): Float32Array => {
  const stream = random(name, seed);
  return Float32Array.from({ length }, () => stream.normal());
};
const norm = (values: Float32Array): number => Math.hypot(...values);
const minus = (x: Float32Array, y: Float32Array): Float32Array => x.map((value, i) => value - y[i]!);

test("a difference of the rank or less is held whole, by one matrix or several", () => {
  fc.assert(fc.property(sizes, fc.integer({ min: 1, max: 6 }), ({ rows, columns, rank, seed }, less) => {
    const true_rank = Math.min(rank, less);
    const base = gaussian(rows * columns, seed, "base");
    const tuned = mergeLora(base, gaussian(true_rank * columns, seed, "a"), gaussian(rows * true_rank, seed, "b"), { rank: true_rank, scale: 1 });
    const specs = [{ name: "x.weight", shape: [rows, columns], init: "normal", decay: true, quantizable: true, trainable: true }] as const;
    const adapter = extractAdapter({ "x.weight": base }, { "x.weight": tuned }, specs, rank);
    expect(adapter.captured).toBeCloseTo(1, 4);
    expect(norm(minus(mergeAdapter({ "x.weight": base }, adapter)["x.weight"]!, tuned))).toBeLessThan(1e-4 * norm(tuned) + 1e-5);
  }), { numRuns: 50 });
});

test("what is left out is no more than any other matrix of the rank leaves out", () => {
  // A diagonal's best approximation keeps its largest entries, whatever orthogonal changes of basis hide it.
  const n = 12;
  const singular = Array.from({ length: n }, (_, i) => 2 ** -i);
  const diagonal = Float32Array.from({ length: n * n }, (_, i) => (i % (n + 1) === 0 ? singular[i / (n + 1)]! : 0));
  const reflect = (matrix: Float32Array, vector: Float32Array, onRows: boolean): Float32Array => {
    const square = vector.reduce((sum, value) => sum + value * value, 0);
    return matrix.map((value, at) => {
      const [row, column] = [Math.floor(at / n), at % n];
      let along = 0;
      for (let k = 0; k < n; k++) along += vector[k]! * (onRows ? matrix[k * n + column]! : matrix[row * n + k]!);
      return value - (2 * along * vector[onRows ? row : column]!) / square;
    });
  };
  const hidden = reflect(reflect(diagonal, gaussian(n, 1, "left"), true), gaussian(n, 1, "right"), false);
  for (const rank of [1, 3, 5]) {
    const { a, b } = lowRankFactors(hidden, n, n, rank, random("test"));
    const left = norm(minus(hidden, mergeLora(new Float32Array(n * n), a, b, { rank, scale: 1 })));
    expect(left).toBeLessThan(Math.hypot(...singular.slice(rank)) * 1.001);
  }
});

test("a model that is its base has no adapter", () => {
  const specs = [{ name: "x.weight", shape: [2, 2], init: "normal", decay: true, quantizable: true, trainable: true }] as const;
  const same = { "x.weight": Float32Array.of(1, 2, 3, 4) };
  expect(() => extractAdapter(same, same, specs, 1)).toThrow(expect.objectContaining({ code: "bad_argument" }));
});

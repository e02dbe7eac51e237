import { blockLength, inverseOf, levels, nearest, rangeOf, type Grid, type Levels } from "./grid.ts";

/** Shares of the range of a block that its grid may span: rare large weights are clipped for the good of the others, or all lie better on a wider one. */
const spans: readonly number[] = [1.1, 1.05, 1, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65];

/** Grids that are tried with feedback. */
const tries = 4;

/** Finds the grid and the codes of one block of one row. */
export class BlockSearch {
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
  readonly #codes = new Uint8Array(blockLength);
  readonly #bests = new Float64Array(blockLength);

  constructor(grid: Grid) {
    this.#grid = grid;
    this.#top = 2 ** grid.bits - 1;
    this.#flips = grid.kind === "symmetric" && grid.bits === 4 ? [false, true] : [false];
  }

  /** Takes what concerns columns `start` … of F and D. */
  enter(feedback: Float32Array, cost: Float64Array, start: number): void {
    const size = cost.length;
    for (let k = 0; k < blockLength; k++) {
      this.#cost[k] = cost[start + k]!;
      for (let i = 0; i < k; i++) this.#within[k * blockLength + i] = feedback[(start + k) * size + start + i]!;
    }
  }

  /** The grid that costs least, and on it the codes: of those on which the weights' best values lie nearest, the best one with feedback. */
  run(): Levels {
    const ideal = this.#ideal();
    const range = rangeOf(this.#grid, ideal, 0);
    const near: { readonly tried: Levels; readonly distance: number }[] = [];
    for (const span of spans)
      for (const flipped of this.#flips) {
        const tried = levels(this.#grid, range, span, flipped);
        const distance = this.#distance(ideal, tried, near[tries - 1]?.distance ?? Infinity);
        if (near.length === tries && distance >= near[tries - 1]!.distance) continue;
        if (near.length === tries) near.pop();
        near.splice(near.findLastIndex((other) => other.distance <= distance) + 1, 0, { tried, distance });
      }
    let [best, least] = [near[0]!.tried, Infinity];
    for (const { tried } of near) {
      const cost = this.#round(tried, least);
      if (cost >= least) continue;
      [best, least] = [tried, cost];
      this.codes.set(this.#codes);
    }
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

  /** What rounding costs with feedback; not all of it once it reaches `most`. */
  #round({ scale, min }: Levels, most: number): number {
    const inverse = inverseOf(scale);
    let cost = 0;
    for (let k = 0; k < blockLength && cost < most; k++) {
      const target = this.#target(k);
      const code = nearest(target, min, inverse, this.#top);
      const level = scale * code + min;
      this.#codes[k] = code;
      this.#errors[k] = this.weights[k]! - level;
      cost += this.#cost[k]! * (target - level) ** 2;
    }
    return cost;
  }

  /** Column k's weight with the feedback of all columns before it. */
  #target(k: number): number {
    let target = this.weights[k]! + this.feedback[k]!;
    for (let i = 0, row = k * blockLength; i < k; i++) target += this.#errors[i]! * this.#within[row + i]!;
    return target;
  }
}

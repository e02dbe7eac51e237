import type { DType, Shape } from "./value.ts";
import { sizeOf } from "./op.ts";

/** Plain data for the reference interpreter: row-major, doubles for every element type (integers are exact to 2^53). */
export interface NdArray {
  readonly shape: readonly number[];
  readonly dtype: DType;
  readonly data: Float64Array;
}

export const elements = (shape: readonly number[]): number => shape.reduce((product, d) => product * d, 1);

export function ndArray(shape: readonly number[], data: ArrayLike<number> | ((index: number) => number), dtype: DType = "float32"): NdArray {
  const out = new Float64Array(elements(shape));
  for (let i = 0; i < out.length; i++) out[i] = typeof data === "function" ? data(i) : (data[i] as number);
  return { shape, dtype, data: out };
}

export const concrete = (shape: Shape, where: string): readonly number[] => shape.map((d) => sizeOf(d, where));

export function strides(shape: readonly number[]): number[] {
  const out = new Array<number>(shape.length);
  let step = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    out[i] = step;
    step *= shape[i] as number;
  }
  return out;
}

/** Coordinates of a flat index. */
export function unravel(index: number, shape: readonly number[]): number[] {
  const out = new Array<number>(shape.length);
  for (let i = shape.length - 1; i >= 0; i--) {
    out[i] = index % (shape[i] as number);
    index = Math.floor(index / (shape[i] as number));
  }
  return out;
}

/** Flat index of the element of `shape` that broadcasts to `coordinates` (aligned at the last dimension). */
export function broadcastIndex(coordinates: readonly number[], shape: readonly number[]): number {
  let index = 0;
  for (let i = 0; i < shape.length; i++) {
    const size = shape[i] as number;
    index = index * size + (size === 1 ? 0 : (coordinates[coordinates.length - shape.length + i] as number));
  }
  return index;
}

/** The axis as (outer, size, inner) extents, so that an element is `(o * size + a) * inner + i`. */
export function aroundAxis(shape: readonly number[], axis: number): { outer: number; size: number; inner: number } {
  return { outer: elements(shape.slice(0, axis)), size: shape[axis] as number, inner: elements(shape.slice(axis + 1)) };
}

export const normalizeAxis = (axis: number, rank: number): number => (axis < 0 ? axis + rank : axis);

export function dot(a: Float64Array, i: number, b: Float64Array, j: number, length: number): number {
  let sum = 0;
  for (let k = 0; k < length; k++) sum += a[i + k]! * b[j + k]!;
  return sum;
}

/** into[at … at + 3]: products of a's `length` values from i with those of four rows of b, the first from j: each value of a is read once for all. */
export function fourDots(into: Float64Array, at: number, a: Float64Array, i: number, b: Float64Array, j: number, width: number, length: number): void {
  let [s0, s1, s2, s3] = [0, 0, 0, 0];
  for (let k = 0; k < length; k++) {
    const value = a[i + k]!;
    s0 += value * b[j + k]!;
    s1 += value * b[j + width + k]!;
    s2 += value * b[j + 2 * width + k]!;
    s3 += value * b[j + 3 * width + k]!;
  }
  into[at] = s0;
  into[at + 1] = s1;
  into[at + 2] = s2;
  into[at + 3] = s3;
}

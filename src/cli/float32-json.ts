const smallestNormal = 2 ** -126;

/** The number whose decimal form is the shortest that still rounds to the same float32. */
export function shortest(value: number): number {
  // Six digits survive a round trip through float32, nine tell any two apart; subnormal numbers have fewer.
  for (let digits = Math.abs(value) < smallestNormal ? 1 : 6; digits < 9; digits++) {
    const rounded = Number(value.toPrecision(digits));
    if (Math.fround(rounded) === value) return rounded;
  }
  return Number(value.toPrecision(9));
}

export type Nested = readonly (number | Nested)[];

/** Row-major values as nested arrays of the given shape, each in its shortest form. */
export function nested(data: Float32Array, [size = 0, ...rest]: readonly number[]): Nested {
  if (rest.length === 0) return Array.from(data, shortest);
  const part = data.length / size;
  return Array.from({ length: size }, (_, i) => nested(data.subarray(i * part, (i + 1) * part), rest));
}

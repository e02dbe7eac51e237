import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  narrowBfloat16,
  narrowFloat16,
  widenBfloat16,
  widenFloat16,
  widenFloat8E4M3,
  widenFloat8E5M2,
  widenFloat8E8M0,
} from "./float-formats.ts";

/** The value of a bit pattern by the definition of IEEE 754; all ones in the exponent count on as if finite. */
function valueOf(bits: number, exponentBits: number, fractionBits: number): number {
  const sign = bits >>> (exponentBits + fractionBits) ? -1 : 1;
  const exponent = (bits >>> fractionBits) & (2 ** exponentBits - 1);
  const fraction = (bits & (2 ** fractionBits - 1)) / 2 ** fractionBits;
  const bias = 2 ** (exponentBits - 1) - 1;
  return sign * (exponent === 0 ? fraction * 2 ** (1 - bias) : (1 + fraction) * 2 ** (exponent - bias));
}

const patterns16 = Uint16Array.from({ length: 2 ** 16 }, (_, i) => i);
const patterns8 = Uint8Array.from({ length: 2 ** 8 }, (_, i) => i);

const formats = [
  { name: "float16", exponentBits: 5, fractionBits: 10, widen: widenFloat16, narrow: narrowFloat16 },
  { name: "bfloat16", exponentBits: 8, fractionBits: 7, widen: widenBfloat16, narrow: narrowBfloat16 },
];

describe.each(formats)("$name", ({ exponentBits, fractionBits, widen, narrow }) => {
  const infinity = (2 ** exponentBits - 1) << fractionBits;
  const value = (bits: number): number => valueOf(bits, exponentBits, fractionBits);
  const widened = (from: Uint16Array): Float32Array => {
    const to = new Float32Array(from.length);
    widen(from, to);
    return to;
  };
  const narrowed = (from: Float32Array): Uint16Array => {
    const to = new Uint16Array(from.length);
    narrow(from, to);
    return to;
  };

  /** Nearest pattern to a magnitude, ties to even, by bisection over the values of all patterns. */
  const nearest = (magnitude: number): number => {
    let low = 0;
    let high = infinity;
    if (magnitude >= value(infinity)) return infinity;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (value(middle) <= magnitude) low = middle;
      else high = middle;
    }
    const below = magnitude - value(low);
    const above = value(high) - magnitude;
    return below < above || (below === above && low % 2 === 0) ? low : high;
  };

  const signBit = 0x8000;
  const expectNearest = (values: Float32Array): void => {
    const expected = Uint16Array.from(
      values,
      (x) => nearest(Math.abs(x)) | (Object.is(Math.sign(x), -0) || x < 0 ? signBit : 0),
    );
    expect(narrowed(values)).toStrictEqual(expected);
  };

  it("widens every pattern to its value", () => {
    const values = widened(patterns16);
    for (const bits of patterns16) {
      const magnitude = bits & 0x7fff;
      const expected =
        magnitude > infinity ? NaN : magnitude === infinity ? (bits >= signBit ? -Infinity : Infinity) : value(bits);
      if (!Object.is(values[bits], expected)) expect([bits, values[bits]]).toStrictEqual([bits, expected]);
    }
  });

  it("gives every pattern back, NaN payloads included", () => {
    expect(narrowed(widened(patterns16))).toStrictEqual(patterns16);
  });

  it("rounds every midpoint to even, and its neighbours away from it", () => {
    const midpoints = Float32Array.from({ length: infinity }, (_, bits) => (value(bits) + value(bits + 1)) / 2);
    for (const step of [-1, 0, 1]) {
      const words = new Uint32Array(midpoints.slice().buffer).map((word) => word + step);
      expectNearest(new Float32Array(words.buffer));
      expectNearest(new Float32Array(words.map((word) => (word | 0x80000000) >>> 0).buffer));
    }
  });

  it("rounds any float to the nearest", () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 0xffffffff })), (words) => {
        const values = new Float32Array(Uint32Array.from(words).buffer);
        expectNearest(values.filter((x) => !Number.isNaN(x)));
      }),
    );
  });

  it("keeps NaN a NaN, wherever its payload lies", () => {
    const words = Uint32Array.from({ length: 23 }, (_, bit) => 0x7f800000 | (1 << bit));
    expect(widened(narrowed(new Float32Array(words.buffer))).every(Number.isNaN)).toBe(true);
  });
});

it("widens every pattern of float8 e4m3: no infinity, NaN where all bits are set", () => {
  const values = new Float32Array(2 ** 8);
  widenFloat8E4M3(patterns8, values);
  expect([...values]).toStrictEqual(Array.from(patterns8, (bits) => ((bits & 0x7f) === 0x7f ? NaN : valueOf(bits, 4, 3))));
  expect(Math.max(...values.filter((x) => !Number.isNaN(x)))).toBe(448);
});

it("widens every pattern of float8 e5m2 as the float16 of which it is the upper half", () => {
  const values = new Float32Array(2 ** 8);
  widenFloat8E5M2(patterns8, values);
  const halves = new Float32Array(2 ** 8);
  widenFloat16(
    Uint16Array.from(patterns8, (byte) => byte << 8),
    halves,
  );
  expect(new Uint32Array(values.buffer)).toStrictEqual(new Uint32Array(halves.buffer));
});

it("widens every pattern of float8 e8m0: powers of two, NaN where all bits are set", () => {
  const values = new Float32Array(2 ** 8);
  widenFloat8E8M0(patterns8, values);
  expect([...values]).toStrictEqual(Array.from(patterns8, (bits) => (bits === 0xff ? NaN : 2 ** (bits - 127))));
});

import fc from "fast-check";
import { expect, test } from "vitest";
import { narrowFloat8E4M3, widenFloat8E4M3 } from "./float-formats.ts";
import { blockGrid, dequantizeFp8, quantizeFp8, type BlockSize } from "./fp8.ts";

const matrix = fc.record({ rows: fc.integer({ min: 1, max: 40 }), columns: fc.integer({ min: 1, max: 40 }), block: fc.tuple(fc.integer({ min: 1, max: 24 }), fc.integer({ min: 1, max: 24 })), exponent: fc.integer({ min: -30, max: 30 }) }).chain(({ rows, columns, block, exponent }) =>
  fc.array(fc.double({ min: -1, max: 1, noNaN: true }), { minLength: rows * columns, maxLength: rows * columns }).map((values) => ({ shape: [rows, columns] as const, block, weights: Float32Array.from(values, (value, i) => value * 2 ** (exponent + (i % 7))) })),
);

const bitsOf = (values: Float32Array): Uint32Array => new Uint32Array(values.buffer);

test("every pattern of E4M3 is narrowed to itself", () => {
  const patterns = Uint8Array.from({ length: 256 }, (_, i) => i);
  const [values, back] = [new Float32Array(256), new Uint8Array(256)];
  widenFloat8E4M3(patterns, values);
  narrowFloat8E4M3(values, back);
  expect(back).toStrictEqual(patterns);
});

test("narrowing to E4M3 takes the nearest value, of two the even pattern, and never more than 448", () => {
  const finite = Array.from({ length: 127 }, (_, pattern) => {
    const value = new Float32Array(1);
    widenFloat8E4M3(Uint8Array.of(pattern), value);
    return value[0]!;
  });
  const nearest = (x: number): number => {
    const distance = (pattern: number): number => Math.abs(finite[pattern]! - x);
    return finite.reduce((best, _, pattern) => (distance(pattern) < distance(best) || (distance(pattern) === distance(best) && pattern % 2 === 0) ? pattern : best), 0);
  };
  const midpoints = finite.slice(1).flatMap((value, i) => [0.999999, 1, 1.000001].map((nudge) => ((value + finite[i]!) / 2) * nudge));
  for (const x of Float32Array.from([...midpoints, 449, 1e30, Infinity, 1e-40])) {
    const to = new Uint8Array(2);
    narrowFloat8E4M3(Float32Array.of(x, -x), to);
    expect([...to], String(x)).toEqual([nearest(Math.min(x, 448)), nearest(Math.min(x, 448)) | 0x80]);
  }
});

test("dequantised weights are within half a step of E4M3, whatever blocks the matrix ends in", () => {
  fc.assert(fc.property(matrix, ({ shape, block, weights }) => {
    const { values, scales } = quantizeFp8(weights, shape, block);
    const [down, across] = blockGrid(shape, block);
    expect(scales.length).toBe(down * across);
    const back = dequantizeFp8({ values, scales }, shape, block);
    for (const [i, weight] of weights.entries()) {
      const scale = scales[Math.floor(Math.floor(i / shape[1]) / block[0]) * across + Math.floor((i % shape[1]) / block[1])]!;
      // Three bits behind the leading one; below 2^-6 steps are 2^-9. The slack is float32's own rounding.
      const bound = Math.max(Math.abs(weight) * 2 ** -4, scale * 2 ** -10) * (1 + 1e-5) + Math.abs(weight) * 1e-6;
      expect(Math.abs(back[i]! - weight) <= bound, `${weight} became ${back[i]} with scale ${scale}`).toBe(true);
    }
  }));
});

test("quantising a block does not read another", () => {
  fc.assert(fc.property(matrix, fc.nat(), ({ shape, block, weights }, pick) => {
    const at = pick % weights.length;
    const changed = weights.slice();
    changed[at] = 1e9;
    const blockOf = (i: number): string => `${Math.floor(Math.floor(i / shape[1]) / block[0])} ${Math.floor((i % shape[1]) / block[1])}`;
    const round = (from: Float32Array): Uint32Array => bitsOf(dequantizeFp8(quantizeFp8(from, shape, block), shape, block));
    const [before, after] = [round(weights), round(changed)];
    for (let i = 0; i < weights.length; i++) if (blockOf(i) !== blockOf(at)) expect(after[i]).toBe(before[i]);
  }));
});

test("what E4M3 holds exactly comes back exactly, where each block has the largest there is, scaled by a power of two", () => {
  const block: BlockSize = [4, 5];
  const values = Float32Array.from({ length: 7 * 11 }, (_, i) => [448, -1.5, 0.001953125, 240][i % 4]! * 2 ** -4);
  expect(bitsOf(dequantizeFp8(quantizeFp8(values, [7, 11], block), [7, 11], block))).toStrictEqual(bitsOf(values));
});

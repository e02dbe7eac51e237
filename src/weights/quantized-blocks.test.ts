import fc from "fast-check";
import { expect, test } from "vitest";
import { blockElements } from "../../test/block-elements.ts";
import { random } from "../random/index.ts";
import { blockTypes, type GgufType } from "./gguf-blocks.ts";
import { narrowFloat16 } from "./float-formats.ts";
import { ggufBlockLayout, newBlocks, regroupRows, sliceRows, type QuantizedBlocks } from "./quantized-blocks.ts";

/** Every element by the definition of the layout. */
const elements = (matrix: QuantizedBlocks): Float32Array => Float32Array.from(blockElements(matrix));

/** Where each type keeps its float16 numbers, from the start of a block: other bits may be anything. */
const float16At = { Q8_0: [0], Q4_0: [0], Q4_1: [0, 2], Q4_K: [0, 2], Q6_K: [208] } as const;

function anyBlocks(type: keyof typeof float16At, count: number, seed: number): Uint8Array {
  const stream = random("blocks", seed);
  const bytes = Uint8Array.from({ length: count * blockTypes[type].bytes }, () => stream.below(256));
  const half = new Uint16Array(1);
  for (let block = 0; block < count; block++)
    for (const at of float16At[type]) {
      narrowFloat16(Float32Array.of(stream.normal() / 16), half);
      bytes.set(new Uint8Array(half.buffer), block * blockTypes[type].bytes + at);
    }
  return bytes;
}

function regrouped(type: keyof typeof float16At, bytes: Uint8Array, rows: number, columns: number): QuantizedBlocks {
  const to = newBlocks(ggufBlockLayout(type)!, rows, columns);
  regroupRows(type, bytes, to, 0);
  return to;
}

const types = Object.keys(float16At) as (keyof typeof float16At)[];

test.each(types)("%s regrouped has the elements that decoding gives", (type) => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 4 }), fc.integer({ min: 1, max: 3 }), fc.nat(), (rows, perRow, seed) => {
      const columns = perRow * blockTypes[type].elements;
      const bytes = anyBlocks(type, rows * perRow, seed);
      const want = new Float32Array(rows * columns);
      blockTypes[type].decode(bytes, want);
      const got = elements(regrouped(type, bytes, rows, columns));
      // Decoding rounds scale · q + minimum once, the kernel's form twice, and its two terms may be larger than what they sum to.
      const largest = want.reduce((most, w) => Math.max(most, Math.abs(w)), 0);
      for (const [i, w] of want.entries()) expect(Math.abs(got[i]! - w)).toBeLessThanOrEqual(largest * 2 ** -20);
    }),
    { numRuns: 20 },
  );
});

test("types that kernels do not take have no such form", () => {
  const others = (Object.keys(blockTypes) as GgufType[]).filter((type) => !types.some((known) => known === type));
  for (const type of others) expect(ggufBlockLayout(type)).toBeNull();
});

test.each(types)("%s rows come in any pieces and go to any places of a larger matrix", (type) => {
  const columns = 2 * blockTypes[type].elements;
  const [rows, rowBytes] = [5, 2 * blockTypes[type].bytes];
  const bytes = anyBlocks(type, 2 * rows, 1);
  const rowsOf = (m: QuantizedBlocks): number[][] => Array.from({ length: m.rows }, (_, r) => [...elements(m).subarray(r * m.columns, (r + 1) * m.columns)]);
  const whole = rowsOf(regrouped(type, bytes, rows, columns));
  const larger = newBlocks(ggufBlockLayout(type)!, rows + 3, columns);
  const part = sliceRows(larger, 2, 2 + rows);
  for (const [first, count] of [[0, 2], [2, 3]] as const) regroupRows(type, bytes.slice(first * rowBytes, (first + count) * rowBytes), part, first, (row) => (row + 1) % rows);
  const got = rowsOf(larger);
  expect(got.slice(2, 2 + rows)).toEqual([4, 0, 1, 2, 3].map((row) => whole[row]));
  const [untouched] = rowsOf(newBlocks(ggufBlockLayout(type)!, 1, columns));
  for (const row of [0, 1, 7]) expect(got[row]).toEqual(untouched);
});

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { random } from "../random/index.ts";
import { blockTypes } from "./gguf-blocks.ts";
import { encodeBlocks } from "./gguf-encode.ts";
import type { WritableType } from "./gguf-encode.ts";

/** How many steps of its blocks' range a type has, and the bytes of a block's first scale. */
const types: readonly { readonly type: WritableType; readonly steps: number; readonly scaleAt?: number }[] = [
  { type: "F32", steps: Infinity },
  { type: "F16", steps: 2 ** 11 },
  { type: "Q8_0", steps: 254, scaleAt: 0 },
  { type: "Q5_0", steps: 30, scaleAt: 0 },
  { type: "Q4_0", steps: 14, scaleAt: 0 },
  { type: "Q4_K", steps: 14 },
  { type: "Q6_K", steps: 62 },
];

function decode(type: WritableType, bytes: Uint8Array): Float32Array {
  const values = new Float32Array((bytes.length / blockTypes[type].bytes) * blockTypes[type].elements);
  blockTypes[type].decode(bytes, values);
  return values;
}

const finite = fc.float({ noNaN: true, min: -60_000, max: 60_000 });

describe.each(types)("$type", ({ type, steps, scaleAt }) => {
  const { elements, bytes } = blockTypes[type];
  const count = elements === 1 ? 64 : 2 * elements;

  it("comes back within half a step of the block's range, in the root mean square", () => {
    fc.assert(
      fc.property(fc.array(finite, { minLength: count, maxLength: count }), (list) => {
        const values = Float32Array.from(list);
        const back = decode(type, encodeBlocks(type, values, "test"));
        for (let at = 0; at < count; at += elements) {
          const block = values.subarray(at, at + elements);
          const peak = block.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
          const squares = block.reduce((sum, value, i) => sum + (value - back[at + i]!) ** 2, 0);
          // The scale is a float16: that rounds it by 2⁻¹¹ of itself, and what it cannot tell from 0 is beside the point.
          expect(Math.sqrt(squares / elements)).toBeLessThanOrEqual(peak / steps + peak * 2 ** -11 + 2 ** -24);
        }
      }),
      { numRuns: 50 },
    );
  });

  it("says zeros, and a block of one value, as they are", () => {
    expect(decode(type, encodeBlocks(type, new Float32Array(elements), "test")).every((value) => value === 0)).toBe(true);
    const [value = 0] = decode(type, encodeBlocks(type, new Float32Array(elements).fill(-0.75), "test"));
    expect(value).toBeCloseTo(-0.75, 3);
  });

  it.skipIf(scaleAt === undefined)("encodes what was decoded to the same values", () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: bytes, maxLength: bytes }), (blocks) => {
        // A scale that is finite and no subnormal.
        blocks[scaleAt! + 1] = (blocks[scaleAt! + 1]! & 0b1011_1111) | 0b0000_1000;
        const values = decode(type, blocks);
        const back = decode(type, encodeBlocks(type, values, "test"));
        for (const [i, value] of values.entries()) expect(back[i]! + 0).toBe(value + 0);
      }),
      { numRuns: 500 },
    );
  });

  it.skipIf(type === "F32")("refuses what its scales do not hold", () => {
    for (const value of [NaN, Infinity, 1e9]) {
      const values = new Float32Array(elements).fill(1);
      values[elements >> 1] = value;
      expect(() => encodeBlocks(type, values, "a weight")).toThrow(expect.objectContaining({ code: "unsupported", facts: expect.objectContaining({ where: "a weight" }) }));
    }
  });
});

it("loses no more than plain rounding to the peak does, in blocks of 4 bits", () => {
  const stream = random("encode");
  const [f16, half] = [new Float32Array(1), (value: number): number => {
    f16[0] = value;
    return decode("F16", encodeBlocks("F16", f16, "test"))[0]!;
  }];
  for (let round = 0; round < 200; round++) {
    const values = Float32Array.from({ length: 32 }, () => stream.normal());
    const peak = values.reduce((most, value) => (Math.abs(value) > Math.abs(most) ? value : most), 0);
    const step = half(peak / -8);
    const plain = values.map((value) => step * Math.min(7, Math.max(-8, Math.round(value / step))));
    const error = (back: Float32Array): number => values.reduce((sum, value, i) => sum + (value - back[i]!) ** 2, 0);
    expect(error(decode("Q4_0", encodeBlocks("Q4_0", values, "test")))).toBeLessThanOrEqual(error(plain) * 1.01);
  }
});

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { hasFixture, readFixture } from "../../test/fixtures.ts";
import { blockTypes } from "./gguf-blocks.ts";
import type { BlockType } from "./gguf-blocks.ts";

interface Blocks {
  readonly blocks: readonly { readonly type: keyof typeof blockTypes; readonly kind: string; readonly raw_base64: string; readonly values: readonly number[] }[];
}

const golden = hasFixture("gguf", "blocks.json") ? readFixture<Blocks>("gguf", "blocks.json").blocks : [];

function decode({ decode: into, elements, bytes: size }: BlockType, bytes: Uint8Array): Float32Array {
  const values = new Float32Array((bytes.length / size) * elements);
  into(Uint8Array.from(bytes), values);
  return values;
}

const bitsOf = (values: Float32Array): Uint32Array => new Uint32Array(values.buffer);

describe("decoding", () => {
  it.each(golden)("$type, $kind, bit for bit", ({ type, raw_base64, values }) => {
    expect(bitsOf(decode(blockTypes[type], Buffer.from(raw_base64, "base64")))).toEqual(bitsOf(Float32Array.from(values)));
  });

  it.each(Object.keys(blockTypes) as (keyof typeof blockTypes)[])("%s block by block = all at once", (type) => {
    const block = blockTypes[type];
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 5 }), fc.infiniteStream(fc.nat(255)), (count, stream) => {
        const bytes = Uint8Array.from(stream.take(count * block.bytes));
        const whole = bitsOf(decode(block, bytes));
        const parts = Array.from({ length: count }, (_, i) => decode(block, bytes.subarray(i * block.bytes, (i + 1) * block.bytes)));
        expect(parts.flatMap((part) => [...bitsOf(part)])).toEqual([...whole]);
      }),
      { numRuns: 20 },
    );
  });

  it("F32 keeps every bit", () => {
    const values = Float32Array.of(1, -0, Infinity, -Infinity, 1e-45, 3.4028234663852886e38);
    expect(bitsOf(decode(blockTypes.F32, new Uint8Array(values.buffer)))).toEqual(bitsOf(values));
  });
});

import fc from "fast-check";
import { expect, it } from "vitest";
import { bytesSource } from "./byte-source.ts";
import { blockTypes } from "./gguf-blocks.ts";
import type { GgufType } from "./gguf-blocks.ts";
import { ggufPieces } from "./gguf-container.ts";
import type { GgufField, GgufTensorToWrite } from "./gguf-container.ts";
import { openGguf } from "./gguf.ts";

async function write(metadata: Readonly<Record<string, GgufField>>, tensors: readonly GgufTensorToWrite[]): Promise<Uint8Array> {
  const pieces: Uint8Array[] = [];
  for await (const piece of ggufPieces(metadata, tensors)) pieces.push(piece);
  return new Uint8Array(Buffer.concat(pieces));
}

const tensor = (name: string, shape: readonly number[], dtype: GgufType, bytes: Uint8Array): GgufTensorToWrite => ({
  name,
  shape,
  dtype,
  pieces: async function* () {
    yield bytes.subarray(0, 7);
    yield bytes.subarray(7);
  },
});

const fields: fc.Arbitrary<GgufField> = fc.oneof(
  fc.string({ unit: "grapheme" }),
  fc.boolean(),
  fc.nat(2 ** 31),
  fc.float({ noNaN: true }).map((f32) => ({ f32 })),
  fc.array(fc.float({ noNaN: true }), { minLength: 1 }).map((f32s) => ({ f32s })),
  fc.array(fc.string(), { minLength: 1 }),
  fc.array(fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }), { minLength: 1 }),
);

const sized = fc
  .record({ dtype: fc.constantFrom(...(Object.keys(blockTypes) as GgufType[])), outer: fc.array(fc.integer({ min: 1, max: 3 }), { maxLength: 3 }), blocks: fc.integer({ min: 1, max: 3 }) })
  .map(({ dtype, outer, blocks }) => ({ dtype, shape: [...outer, blocks * blockTypes[dtype].elements], size: outer.reduce((a, b) => a * b, blocks * blockTypes[dtype].bytes) }));

it("what is written is what is read", () =>
  fc.assert(
    fc.asyncProperty(fc.dictionary(fc.stringMatching(/^[a-z][a-z0-9_.]{0,30}$/), fields), fc.array(sized, { maxLength: 5 }), fc.infiniteStream(fc.nat(255)), async (metadata, list, stream) => {
      const given = { ...metadata, "general.alignment": 32 };
      const contents = list.map(({ size }) => Uint8Array.from(stream.take(size)));
      const file = await write(given, list.map(({ shape, dtype }, i) => tensor(`t${i}`, shape, dtype, contents[i]!)));
      const read = await openGguf(bytesSource(file, "test"));
      for (const [key, value] of Object.entries(given)) {
        const got = read.metadata.get(key);
        expect(ArrayBuffer.isView(got) ? [...(got as unknown as Iterable<number>)] : got, key).toEqual(typeof value === "object" && !Array.isArray(value) ? Object.values(value)[0] : value);
      }
      for (const [i, { shape, dtype, size }] of list.entries()) {
        const info = read.tensors.get(`t${i}`)!;
        expect(info).toMatchObject({ shape, dtype, size });
        expect(info.offset % 32).toBe(0);
        expect([...file.subarray(info.offset, info.offset + size)]).toEqual([...contents[i]!]);
      }
    }),
    { numRuns: 100 },
  ));

const bytes = new Uint8Array(34);
it.each([
  ["two tensors of one name", [tensor("a", [32], "Q8_0", bytes), tensor("a", [32], "Q8_0", bytes)]],
  ["a name of 64 bytes", [tensor("é".repeat(32), [32], "Q8_0", bytes)]],
  ["no axes", [tensor("a", [], "F32", new Uint8Array(4))]],
  ["five axes", [tensor("a", [1, 1, 1, 1, 32], "Q8_0", bytes)]],
  ["no elements", [tensor("a", [0, 32], "Q8_0", new Uint8Array(0))]],
  ["a row that is no whole blocks", [tensor("a", [2, 48], "Q8_0", bytes)]],
  ["sizes that overflow", [tensor("a", [2 ** 30, 2 ** 30], "F32", bytes)]],
  ["fewer bytes than the shape has", [tensor("a", [64], "Q8_0", bytes)]],
])("refuses %s", async (_, tensors) => {
  await expect(write({}, tensors)).rejects.toMatchObject({ code: "bad_argument" });
});

it("refuses a number that is no u32", async () => {
  for (const value of [-1, 2 ** 32, 0.5]) await expect(write({ key: value }, [])).rejects.toMatchObject({ code: "bad_argument" });
});

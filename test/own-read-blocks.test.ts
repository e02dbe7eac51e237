import { mkdtemp, open, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { random } from "../src/random/index.ts";
import { openBackend } from "../src/runtime/index.ts";
import { blockTypes, type GgufType } from "../src/weights/gguf-blocks.ts";
import { ggufBlockLayout, newBlocks, regroupRows, sliceRows, type QuantizedBlocks } from "../src/weights/quantized-blocks.ts";
import { product } from "./own-kernel-samples.ts";

const backend = await openBackend("cpu");
const here = await backend.hasOwnKernels();
let folder: string;
beforeAll(async () => void (folder = await mkdtemp(join(tmpdir(), "longjing-read-blocks-"))));
afterAll(() => rm(folder, { recursive: true, force: true }));

interface Wanted {
  readonly type: GgufType;
  readonly offset: number;
  readonly places: Int32Array;
  readonly into: QuantizedBlocks;
  readonly tilesOf?: QuantizedBlocks;
}

/** What our kernels read of a file, all of it asked for in one turn. */
async function readBack(file: Uint8Array, wanted: readonly Wanted[]): Promise<boolean[]> {
  const path = join(folder, "blocks");
  await writeFile(path, file);
  const handle = await open(path);
  try {
    return await Promise.all(wanted.map(({ type, offset, places, into: { columns, blocks, scales, offsets }, tilesOf }) => backend.ownFunctions()!.readBlocks({ type, descriptor: handle.fd, offset, columns, places, blocks, scales, offsets, tilesOf })));
  } finally {
    await handle.close();
  }
}

/** Numbers that are none are equal, whatever their bits. */
const same = (a: QuantizedBlocks, b: QuantizedBlocks): boolean => (["blocks", "scales", "offsets"] as const).every((part) => (a[part] ?? []).every((value, at) => Object.is(value, b[part]![at])));

// Any bytes are blocks, of numbers that may be infinite or none.
test.skipIf(!here).each(["Q4_0", "Q4_1", "Q8_0", "Q4_K", "Q6_K"] as const)("%s: our kernels read the same bits from a file, into whatever rows", async (type) => {
  const rowCounts = fc.oneof(fc.integer({ min: 1, max: 6 }), fc.integer({ min: 1500, max: 2000 }));
  await fc.assert(
    fc.asyncProperty(rowCounts, fc.integer({ min: 1, max: 3 }), fc.nat(), fc.boolean(), async (rows, perRow, seed, moved) => {
      const columns = perRow * blockTypes[type].elements;
      const stream = random("read blocks", seed);
      const offset = stream.below(100);
      const file = Uint8Array.from({ length: offset + rows * perRow * blockTypes[type].bytes }, () => stream.below(256));
      const [plain, fast] = [0, 0].map(() => newBlocks(ggufBlockLayout(type)!, rows, columns)) as [QuantizedBlocks, QuantizedBlocks];
      const place = (row: number): number => (moved ? (row + 1) % rows : row);
      regroupRows(type, file.slice(offset), plain, 0, place);
      expect(await readBack(file, [{ type, offset, places: Int32Array.from({ length: rows }, (_, row) => place(row)), into: fast }])).toEqual([true]);
      expect(same(plain, fast)).toBe(true);
    }),
    { numRuns: 60 },
  );
});

test.skipIf(!here)("a type that they do not know, and a file that ends early, are left to plain loops", async () => {
  const file = new Uint8Array(2 * blockTypes.Q4_0.bytes);
  const wanted = (type: GgufType, offset: number): Wanted => ({ type, offset, places: Int32Array.of(0, 1), into: newBlocks(ggufBlockLayout("Q4_0")!, 2, 32) });
  expect(await readBack(file, [wanted("Q4_0", 0), wanted("Q5_0", 0), wanted("Q4_0", 1), wanted("Q4_0", 0), wanted("Q4_0", 1000)])).toEqual([true, false, false, true, false]);
  expect(await readBack(new Uint8Array(0), [wanted("Q4_0", 0)])).toEqual([false]);
});

/** Blocks of any bytes, or, `whole`, with scales and minima of whole numbers, whose sums 16 bits hold. */
function blocksOf(type: "Q4_0" | "Q4_1" | "Q8_0", count: number, whole: boolean, below: (n: number) => number): Uint8Array {
  const { bytes } = blockTypes[type];
  const file = Uint8Array.from({ length: count * bytes }, () => below(256));
  const numbers = new DataView(file.buffer);
  const halves = [0x3c00, 0x4000, 0x4200, 0xbc00, 0]; // 1, 2, 3, -1, 0
  for (let at = 0; whole && at < file.length; at += bytes) for (let i = 0; i < (type === "Q4_1" ? 2 : 1); i++) numbers.setUint16(at + 2 * i, halves[below(halves.length)]!, true);
  return file;
}

// Tall ones are read some rows at a time.
test.skipIf(!here).each(["Q4_0", "Q4_1", "Q8_0"] as const)("%s: tiles made straight of a file's parts are those that are made of its blocks", async (type) => {
  const partRows = fc.array(fc.oneof(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 1000, max: 3000 })), { minLength: 1, maxLength: 3 });
  await fc.assert(
    fc.asyncProperty(partRows, fc.integer({ min: 1, max: 5 }), fc.nat(), fc.boolean(), fc.boolean(), async (heights, perRow, seed, moved, whole) => {
      const [columns, stream] = [32 * perRow, random("tiles", seed)];
      const rows = heights.reduce((a, b) => a + b, 0);
      const file = blocksOf(type, rows * perRow, whole, (n) => stream.below(n));
      const memory: { dispose(): void }[] = [];
      const lasting = (bytes: number): Uint8Array => {
        const tensor = backend.tensor("uint8", [bytes], "sparse");
        memory.push(tensor);
        return tensor.data;
      };
      const [straight, plain] = [newBlocks(ggufBlockLayout(type)!, rows, columns, lasting), newBlocks(ggufBlockLayout(type)!, rows, columns)];
      const wanted: Wanted[] = [];
      for (let part = 0, at = 0; part < heights.length; at += heights[part++]!) {
        const height = heights[part]!;
        const offset = at * perRow * blockTypes[type].bytes;
        const place = (row: number): number => (moved ? (row + 1) % height : row);
        regroupRows(type, file.subarray(offset, offset + height * perRow * blockTypes[type].bytes), sliceRows(plain, at, at + height), 0, place);
        wanted.push({ type, offset, places: Int32Array.from({ length: height }, (_, row) => place(row)), into: sliceRows(straight, at, at + height), tilesOf: straight });
      }
      expect(await readBack(file, wanted)).toEqual(heights.map(() => true));
      const [got, want] = [await product(backend, { ...straight, rows }, 3, seed), await product(backend, { ...plain, rows }, 3, seed)];
      expect(straight.blocks.every((byte) => byte === 0)).toBe(true);
      expect(got.y).toEqual(want.y);
      for (const each of memory) each.dispose();
    }),
    { numRuns: 40 },
  );
});

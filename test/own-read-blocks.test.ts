import { mkdtemp, open, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { random } from "../src/random/index.ts";
import { openBackend } from "../src/runtime/index.ts";
import { blockTypes, type GgufType } from "../src/weights/gguf-blocks.ts";
import { ggufBlockLayout, newBlocks, regroupRows, type QuantizedBlocks } from "../src/weights/quantized-blocks.ts";

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
}

/** What our kernels read of a file, all of it asked for in one turn. */
async function readBack(file: Uint8Array, wanted: readonly Wanted[]): Promise<boolean[]> {
  const path = join(folder, "blocks");
  await writeFile(path, file);
  const handle = await open(path);
  try {
    return await Promise.all(wanted.map(({ type, offset, places, into: { columns, blocks, scales, offsets } }) => backend.ownFunctions()!.readBlocks({ type, descriptor: handle.fd, offset, columns, places, blocks, scales, offsets })));
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

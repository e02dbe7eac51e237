import fc from "fast-check";
import { expect, test } from "vitest";
import { random } from "../src/random/index.ts";
import { openBackend } from "../src/runtime/index.ts";
import { blockTypes } from "../src/weights/gguf-blocks.ts";
import { ggufBlockLayout, newBlocks, regroupRows, regroupRowsBy, type QuantizedBlocks } from "../src/weights/quantized-blocks.ts";

const backend = await openBackend("cpu");
const here = await backend.hasOwnKernels();

// Any bytes are blocks, of numbers that may be infinite or none.
test.skipIf(!here).each(["Q4_0", "Q4_1", "Q8_0", "Q4_K", "Q6_K"] as const)("%s: our kernels regroup to the same bits, into whatever rows", (type) => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 6 }), fc.integer({ min: 1, max: 3 }), fc.nat(), fc.boolean(), (rows, perRow, seed, moved) => {
      const columns = perRow * blockTypes[type].elements;
      const stream = random("regroup", seed);
      const bytes = Uint8Array.from({ length: rows * perRow * blockTypes[type].bytes }, () => stream.below(256));
      const [plain, fast] = [0, 0].map(() => newBlocks(ggufBlockLayout(type)!, rows, columns)) as [QuantizedBlocks, QuantizedBlocks];
      const place = moved ? (row: number): number => (row + 1) % rows : undefined;
      regroupRows(type, bytes, plain, 0, place);
      regroupRowsBy(backend.ownFunctions!.regroupBlocks)(type, bytes, fast, 0, place);
      expect(fast).toEqual(plain);
    }),
    { numRuns: 200 },
  );
});

test("a type that our kernels do not know is regrouped in plain loops", () => {
  const bytes = new Uint8Array(2 * blockTypes.Q4_0.bytes).fill(7);
  const [plain, other] = [0, 0].map(() => newBlocks(ggufBlockLayout("Q4_0")!, 1, 64)) as [QuantizedBlocks, QuantizedBlocks];
  regroupRows("Q4_0", bytes, plain, 0);
  regroupRowsBy(() => false)("Q4_0", bytes, other, 0);
  expect(other).toEqual(plain);
});

import { expect, test } from "vitest";
import { allocate, compile, openBackend } from "../src/runtime/index.ts";
import { add, exp, matmul } from "../src/tensor/index.ts";

// Of each of a run's large results.
const megabytes = 40;
const columns = 1000;

test("sessions of many shapes hold the memory of one run, not of all their runs", async () => {
  const backend = await openBackend("cpu");
  const held = (): number => process.memoryUsage().rss / 1e6;
  const after: number[] = [];
  for (let i = 0; i < 6; i++) {
    const rows = megabytes * 250 + i * 8;
    const types = { x: { shape: [rows, columns], dtype: "float32" }, w: { shape: [columns, 1], dtype: "float32" } } as const;
    const program = await compile(backend, ({ x, w }) => ({ out: matmul(exp(add(exp(x), exp(add(x, exp(x))))), w) }), types);
    const tensors = allocate(backend, { ...types, out: { shape: [rows, 1], dtype: "float32" } });
    const binding = program.bind({ x: tensors.x, w: tensors.w }, { out: tensors.out });
    binding.runSync();
    after.push(held());
    binding.dispose();
    for (const tensor of Object.values(tensors)) tensor.dispose();
    // The program stays, as a trainer keeps a step for each length of its rows.
  }
  // Each run needs at least two results at once beside its input; all but the first run find that memory there.
  expect(after.at(-1)! - after[0]!).toBeLessThan(3 * megabytes);
});

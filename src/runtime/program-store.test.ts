import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, expect, test } from "vitest";
import { add, type Value } from "../tensor/index.ts";
import type { LoweredProgram } from "./backend.ts";
import { compile } from "./compile.ts";
import { openBackend } from "./node.ts";
import { programStore } from "./program-store.ts";

let folder: string;
beforeEach(async () => void (folder = await mkdtemp(join(tmpdir(), "longjing-programs-"))));
afterEach(() => rm(folder, { recursive: true, force: true }));

const programs: fc.Arbitrary<LoweredProgram> = fc.record({ model: fc.uint8Array({ maxLength: 40 }), initializers: fc.array(fc.string({ maxLength: 4 }), { maxLength: 3 }), readByOthers: fc.array(fc.string({ maxLength: 4 }), { maxLength: 3 }) });
const plain = (program: LoweredProgram | null): unknown => program && { ...program, model: [...program.model] };

test("what was written under a key is read under it, and under no other", async () => {
  await fc.assert(
    fc.asyncProperty(fc.string(), fc.string(), programs, async (key, other, program) => {
      const store = programStore(await mkdtemp(join(folder, "x")));
      expect(store.read(key)).toBeNull();
      await store.write(key, program);
      expect(plain(store.read(key))).toEqual(plain(program));
      if (other !== key) expect(store.read(other)).toBeNull();
    }),
    { numRuns: 30 },
  );
});

test("a file that was changed or cut counts as none", async () => {
  const store = programStore(folder);
  await store.write("key", { model: Uint8Array.of(1, 2, 3), initializers: ["a"], readByOthers: [] });
  const [name] = await readdir(folder);
  const path = join(folder, name!);
  const bytes = await readFile(path);
  for (let at = 0; at < bytes.length; at++) {
    await writeFile(path, bytes.map((byte, i) => (i === at ? byte ^ 1 : byte)));
    expect(store.read("key"), `byte ${at}`).toBeNull();
    await writeFile(path, bytes.subarray(0, at));
    expect(store.read("key"), `the first ${at} bytes`).toBeNull();
  }
  await writeFile(path, bytes);
  expect(store.read("key")).not.toBeNull();
});

test("the programs that were used longest ago make room", async () => {
  const store = programStore(folder, 4000);
  for (let i = 0; i < 10; i++) await store.write(`key ${i}`, { model: new Uint8Array(1000).fill(i), initializers: [], readByOthers: [] });
  expect((await readdir(folder)).length).toBe(3);
  expect(plain(store.read("key 9"))).toMatchObject({ model: new Array(1000).fill(9) });
});

test("a place that cannot be written to keeps nothing, and fails nobody", async () => {
  const file = join(folder, "file");
  await writeFile(file, "");
  const store = programStore(join(file, "below"));
  await store.write("key", { model: Uint8Array.of(1), initializers: [], readByOthers: [] });
  expect(store.read("key")).toBeNull();
});

test("a function with a key is traced once, and what is kept does as it does", async () => {
  const backend = { ...(await openBackend("cpu")), programs: programStore(folder) };
  let traced = 0;
  const sum = (v: { readonly x: Value; readonly w: Value }): { y: Value } => {
    traced++;
    return { y: add(v.x, v.w) };
  };
  const frozen = { w: backend.tensorOver("float32", [3], Float32Array.of(1, 2, 3)), unread: backend.tensor("float32", [1]) };
  const run = async (rows: number | string): Promise<number[]> => {
    const type = { shape: [rows, 3], dtype: "float32" as const };
    const program = await compile(backend, sum, { x: type, w: { shape: [3], dtype: "float32" as const } }, { frozen, key: "sum" });
    const [x, y] = [backend.tensorOver("float32", [1, 3], Float32Array.of(10, 20, 30)), backend.tensor("float32", [1, 3])];
    const binding = program.bind({ x }, { y });
    binding.runSync();
    binding.dispose();
    program.dispose();
    return [...y.data];
  };
  const written = async (count: number): Promise<void> => {
    await expect.poll(async () => (await readdir(folder)).filter((name) => name.endsWith(".bin")).length).toBe(count);
  };
  expect(await run(1)).toEqual([11, 22, 33]);
  await written(1);
  expect(await run(1)).toEqual([11, 22, 33]);
  expect(traced).toBe(1);
  // Of inputs of other types it is another program.
  expect(await run("rows")).toEqual([11, 22, 33]);
  await written(2);
  expect(traced).toBe(2);
});

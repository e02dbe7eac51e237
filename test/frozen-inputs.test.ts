import { expect, test } from "vitest";
import { compile } from "../src/runtime/index.ts";
import { add, matmul, type TensorType } from "../src/tensor/index.ts";
import { backend } from "./providers.ts";

const float32 = (...shape: number[]): TensorType => ({ shape, dtype: "float32" });

test("a frozen input is read where it lies, and takes no memory a second time", async () => {
  const on = await backend("cpu");
  const [x, w, y] = [on.tensor("float32", [1000]), on.tensor("float32", [1000]), on.tensor("float32", [1000])];
  const program = await compile(on, (v) => ({ y: add(v.x, v.w) }), { x: float32(1000), w: float32(1000) }, { frozen: { w } });
  const binding = program.bind({ x }, { y });
  x.data.fill(1);
  for (const value of [2, 5]) {
    w.data.fill(value);
    binding.runSync();
    expect([...new Set(y.data)]).toEqual([1 + value]);
  }
  program.dispose();
});

// Kernels repack the second operand of a product when the session is made.
test("a program waits for the values of what is frozen", async () => {
  const on = await backend("cpu");
  const [x, y] = [on.tensor("float32", [1, 64]), on.tensor("float32", [1, 32])];
  x.data.fill(1);
  const values = new Float32Array(64 * 32);
  let fill = (): void => {};
  const filled = new Promise<void>((resolve) => {
    fill = () => {
      values.fill(3);
      resolve();
    };
  });
  const w = on.tensorOver("float32", [64, 32], values, undefined, () => filled);
  const compiling = compile(on, (v) => ({ y: matmul(v.x, v.w) }), { x: float32(1, 64), w: float32(64, 32) }, { frozen: { w } });
  setTimeout(fill, 20);
  const program = await compiling;
  program.bind({ x }, { y }).runSync();
  expect([...new Set(y.data)]).toEqual([3 * 64]);
  program.dispose();
});

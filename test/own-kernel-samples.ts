import { createHash } from "node:crypto";
import { pathToFileURL } from "node:url";
import fc from "fast-check";
import { random } from "../src/random/index.ts";
import { dequantize, matmul, trace, type Tree, type Value } from "../src/tensor/index.ts";
import { toOnnx } from "../src/onnx/lower.ts";
import { embedding, linear } from "../src/nn/linear.ts";
import type { InBlocks } from "./block-elements.ts";
import { openAttention } from "./own-attention.ts";
import { causalInputs, runCausal } from "./own-causal-layer.ts";
import { compile, openBackend, type Backend, type DeviceTensor, type SessionOptions } from "../src/runtime/index.ts";

/** Matrices of every layout, their scales within 16 bits or not. */
export const allMatrices: fc.Arbitrary<InBlocks> = fc
  .record({ rows: fc.integer({ min: 1, max: 70 }), blocks: fc.integer({ min: 1, max: 4 }), blockSize: fc.constantFrom(16, 32, 64, 128), bits: fc.constantFrom(4 as const, 8 as const), offsets: fc.boolean(), half: fc.boolean(), seed: fc.integer() })
  .map(({ rows, blocks, blockSize, bits, offsets, half, seed }) => {
    const columns = blockSize * blocks * (blockSize === 16 ? 2 : 1);
    const stream = random(`matrix ${seed}`);
    const count = (rows * columns) / blockSize;
    // A number of few bits is one of those that 16 bits hold.
    const numbers = (): Float32Array => Float32Array.from({ length: count }, () => (half ? Math.round(stream.normal() * 64) / 1024 : stream.normal() / 16));
    const scales = numbers();
    return { rows, columns, bits, block_size: blockSize, blocks: Uint8Array.from({ length: (rows * columns * bits) / 8 }, () => Math.floor(stream.next() * 256)), scales, offsets: offsets ? numbers() : null };
  });

export interface ProductOptions {
  readonly threads?: number;
  readonly x?: Float32Array;
  readonly ownKernels?: boolean;
}

/** What a function makes of a matrix and of what it is bound beside: [count, columns] of `input`, to [count, width]. */
async function ofMatrix(backend: Backend, { rows, columns, block_size, bits, blocks, scales, offsets }: InBlocks, input: DeviceTensor, width: number, f: (x: Value, matrix: Value) => Value, session: SessionOptions): Promise<Float32Array> {
  const perRow = columns / block_size;
  const frozen = {
    blocks: backend.tensorOver("uint8", [rows, perRow, (block_size * bits) / 8], blocks),
    scales: backend.tensorOver("float32", [rows, perRow], scales),
    ...(offsets && { offsets: backend.tensorOver("float32", [rows, perRow], offsets) }),
  };
  const typesOf = (tensors: Readonly<Record<string, DeviceTensor>>): Record<string, { shape: readonly number[]; dtype: DeviceTensor["dtype"] }> => Object.fromEntries(Object.entries(tensors).map(([name, { shape, dtype }]) => [name, { shape, dtype }]));
  const program = await compile(
    backend,
    (v: { readonly x: Value; readonly frozen: Tree<Value> }) => ({ y: f(v.x, dequantize(v.frozen as unknown as { blocks: Value; scales: Value; offsets?: Value }, columns)) }),
    { x: { shape: ["count", ...input.shape.slice(1)], dtype: input.dtype }, frozen: typesOf(frozen) },
    { frozen: { frozen }, ...session },
  );
  const output = backend.tensor("float32", [input.shape[0]!, width]);
  const binding = program.bind({ x: input }, { y: output });
  try {
    await binding.run();
    return output.data.slice();
  } finally {
    binding.dispose();
    program.dispose();
  }
}

/** Rows of normal numbers, some of them zero, times a matrix. */
export async function product(backend: Backend, matrix: InBlocks, count: number, seed: number, { threads = 2, x = normal(count * matrix.columns, seed), ownKernels = true }: ProductOptions = {}): Promise<{ readonly x: Float32Array; readonly y: Float32Array }> {
  const y = await ofMatrix(backend, matrix, backend.tensorOver("float32", [count, matrix.columns], x), matrix.rows, linear, { threads, ownKernels });
  return { x, y };
}

/** Rows of a matrix, looked up. */
export const lookedUp = (backend: Backend, matrix: InBlocks, ids: readonly number[], { threads = 2, ownKernels = true }: Pick<ProductOptions, "threads" | "ownKernels"> = {}): Promise<Float32Array> =>
  ofMatrix(backend, matrix, backend.tensorOver("int64", [ids.length], BigInt64Array.from(ids, BigInt)), matrix.columns, (ids, table) => embedding(table, ids), { threads, ownKernels });

function normal(length: number, seed: number): Float32Array {
  const stream = random(`x ${seed}`);
  return Float32Array.from({ length }, () => (stream.next() < 0.05 ? 0 : stream.normal()));
}

/** aᵀ · b of normal numbers a [depth, m] and b [depth, n]. */
async function gradientOfWeights(backend: Backend, m: number, n: number, depth: number): Promise<Float32Array> {
  const graph = trace((v: { readonly a: Value; readonly b: Value }) => ({ y: matmul(v.a, v.b, { transA: true }) }), { a: { shape: [depth, m], dtype: "float32" as const }, b: { shape: [depth, n], dtype: "float32" as const } });
  const session = await backend.createSession(toOnnx(graph, "cpu", { ownKernels: true }), { threads: 2 });
  const y = backend.tensor("float32", [m, n]);
  const binding = session.bind({ a: backend.tensorOver("float32", [depth, m], normal(depth * m, m)), b: backend.tensorOver("float32", [depth, n], normal(depth * n, n)) }, { y });
  await binding.run();
  binding.dispose();
  session.dispose();
  return y.data.slice();
}

/** Run by itself: a digest of many products. */
async function digest(): Promise<string> {
  const backend = await openBackend("cpu");
  const hash = createHash("sha256");
  for (const [i, matrix] of fc.sample(allMatrices, { numRuns: 40, seed: 7 }).entries()) hash.update((await product(backend, matrix, 1 + (i % 19), i)).y);
  for (const [i, dim] of [8, 24, 64, 72, 128].entries()) {
    const tokens = 20 + 130 * i;
    const attend = await openAttention(backend, { heads: 6, kvHeads: 2, dim, capacity: tokens }, 1);
    hash.update(await attend({ projected: normal(tokens * 10 * dim, i), past: [0], fresh: tokens }));
  }
  await backend.hasOwnKernels();
  for (const [m, n, depth] of [[5, 3, 7], [48, 64, 256], [67, 75, 300], [100, 33, 513]] as const) hash.update(await gradientOfWeights(backend, m, n, depth));
  for (const [i, dim] of [16, 32, 80].entries()) {
    const { outputs } = await runCausal(backend, causalInputs(backend, { time: 9 + 20 * i, before: 7 * i, lanes: 4, dim, dimV: 48, masks: i, seed: i }), { ownKernels: true });
    for (const numbers of Object.values(outputs)) hash.update(numbers);
  }
  return hash.digest("hex");
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) process.stdout.write(await digest());

import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { random } from "../src/random/index.ts";
import { openBackend } from "../src/runtime/index.ts";
import { blockElements, type InBlocks } from "./block-elements.ts";
import { allMatrices, lookedUp, product } from "./own-kernel-samples.ts";
import { openAttention } from "./own-attention.ts";
import { openOwnKernels } from "../src/runtime/own-kernels.ts";

const backend = await openBackend("cpu");
const here = await backend.hasOwnKernels();

/** To the nearest whole number, halves to the even one, as processors round. */
function rounded(v: number): number {
  const nearest = Math.round(v);
  return nearest - v === 0.5 && nearest % 2 !== 0 ? nearest - 1 : nearest;
}

/** x rounded to 8 bits in tiles of 32 columns, step by step in float32 as the kernels do it. */
function roundedRows(x: Float32Array): Float64Array {
  const out = new Float64Array(x.length);
  for (let at = 0; at < x.length; at += 32) {
    const largest = Math.max(...x.subarray(at, at + 32).map(Math.abs));
    const [scale, inverse] = [Math.fround(largest / 127), largest === 0 ? 0 : Math.fround(127 / largest)];
    for (let i = at; i < at + 32; i++) out[i] = rounded(Math.fround(x[i]! * inverse)) * scale;
  }
  return out;
}

/** Rows [n, columns] times the matrix transposed, and what such sums are made of: the sum of the terms' magnitudes. */
function products(matrix: InBlocks, x: ArrayLike<number>): { readonly sum: number; readonly magnitude: number }[] {
  const { rows, columns } = matrix;
  const w = blockElements(matrix);
  return Array.from({ length: (x.length / columns) * rows }, (_, at) => {
    const [of, row] = [Math.floor(at / rows), at % rows];
    let [sum, magnitude] = [0, 0];
    for (let column = 0; column < columns; column++) {
      const term = x[of * columns + column]! * w[row * columns + column]!;
      sum += term;
      magnitude += Math.abs(term);
    }
    return { sum, magnitude };
  });
}

test("this machine compiles them, or says why not", async () => {
  const kernels = await openOwnKernels();
  expect("missing" in kernels ? kernels.missing : kernels.instructions).toMatch(/^(avx512_vnni|avx2|they .+|cc could not .+)$/s);
  expect(here).toBe(!("missing" in kernels));
});

describe.skipIf(!here)("products with matrices in blocks", () => {
  test("are those of what is rounded", async () => {
    await fc.assert(
      fc.asyncProperty(allMatrices, fc.integer({ min: 1, max: 21 }), fc.integer(), async (matrix, count, seed) => {
        const { x, y } = await product(backend, matrix, count, seed);
        // Elements are made of float32, whose larger parts may cancel.
        const spread = (matrix.offsets ? Math.max(...matrix.offsets.map(Math.abs)) : 0) + 2 ** matrix.bits * Math.max(...matrix.scales.map(Math.abs));
        for (const [i, { sum, magnitude }] of products(matrix, roundedRows(x)).entries()) expect(Math.abs(y[i]! - sum), `${i}`).toBeLessThanOrEqual(1e-5 * (magnitude + spread * matrix.columns));
      }),
      { numRuns: 60 },
    );
  });

  test("have the same bits alone, among others, and whatever threads there are", async () => {
    await fc.assert(
      fc.asyncProperty(allMatrices, fc.integer({ min: 2, max: 21 }), fc.integer(), fc.nat(), async (matrix, count, seed, which) => {
        const { x, y } = await product(backend, matrix, count, seed, { threads: 2 });
        const row = which % count;
        const alone = await product(backend, matrix, 1, seed, { threads: 1, x: x.slice(row * matrix.columns, (row + 1) * matrix.columns) });
        expect(alone.y).toEqual(y.slice(row * matrix.rows, (row + 1) * matrix.rows));
      }),
      { numRuns: 40 },
    );
  });

  test("are ONNX Runtime's, but for the rounding", async () => {
    await fc.assert(
      fc.asyncProperty(allMatrices, fc.integer({ min: 1, max: 9 }), fc.integer(), async (matrix, count, seed) => {
        const { x, y } = await product(backend, matrix, count, seed);
        const library = await product(backend, matrix, count, seed, { x, ownKernels: false });
        // Either rounds every number by at most half a 127th of the largest beside it.
        const most = Math.max(...x.map(Math.abs));
        const parts = [{ ...matrix, offsets: null }, { ...matrix, scales: matrix.scales.map(() => 0) }].map((part) => products(part, new Float64Array(x.length).fill(most)));
        for (const [i, v] of library.y.entries()) expect(Math.abs(v - y[i]!), `${i}`).toBeLessThan((1.01 / 127) * (parts[0]![i]!.magnitude + parts[1]![i]!.magnitude) + 1e-6);
      }),
      { numRuns: 30 },
    );
  });

  test("of what is no number are no numbers, of that row only", async () => {
    const matrix = fc.sample(allMatrices, { numRuns: 1, seed: 1 })[0]!;
    const x = new Float32Array(3 * matrix.columns).fill(1);
    x[matrix.columns + 5] = NaN;
    x[2 * matrix.columns + 1] = Infinity;
    const { y } = await product(backend, matrix, 3, 1, { x });
    expect(Array.from(y, (v) => Number.isNaN(v))).toEqual(Array.from(y, (_, i) => i >= matrix.rows));
  });
});

describe("rows of matrices in blocks", () => {
  const ways = [false, ...(here ? [true] : [])];

  test.each(ways)("are those of the matrix, in whatever order and however often (own kernels: %s)", async (ownKernels) => {
    await fc.assert(
      fc.asyncProperty(allMatrices, fc.array(fc.nat(), { maxLength: 40 }), fc.constantFrom(1, 2), async (matrix, picks, threads) => {
        const { rows, columns } = matrix;
        const ids = picks.map((pick) => pick % rows);
        const [got, elements] = [await lookedUp(backend, matrix, ids, { threads, ownKernels }), blockElements(matrix)];
        const spread = (matrix.offsets ? Math.max(...matrix.offsets.map(Math.abs)) : 0) + 2 ** matrix.bits * Math.max(...matrix.scales.map(Math.abs));
        for (const [i, id] of ids.entries()) for (let c = 0; c < columns; c++) expect(Math.abs(got[i * columns + c]! - elements[id * columns + c]!)).toBeLessThanOrEqual(2e-7 * spread);
      }),
      { numRuns: 60 },
    );
  });

  test.each(ways)("that are not there are refused (own kernels: %s)", async (ownKernels) => {
    const [matrix] = fc.sample(allMatrices, { numRuns: 1, seed: 3 }) as [InBlocks];
    for (const id of [matrix.rows, -matrix.rows - 1, 2 ** 40]) await expect(lookedUp(backend, matrix, [0, id], { ownKernels })).rejects.toThrow(/not there|out of (the )?bounds|out of data bounds/);
  });
});

describe.skipIf(!here)("attention to a cache", () => {
  // Lengths on both sides of where keys are divided into blocks and pieces (kernels/attention.h).
  const cases = fc.record({ kvHeads: fc.integer({ min: 1, max: 3 }), group: fc.integer({ min: 1, max: 3 }), dim: fc.constantFrom(8, 16, 24, 32, 64, 72, 128), tokens: fc.oneof(fc.integer({ min: 1, max: 140 }), fc.integer({ min: 500, max: 530 })), seed: fc.integer() });
  const normals = (length: number, seed: number): Float32Array => {
    const stream = random(`attention ${seed}`);
    return Float32Array.from({ length }, () => stream.normal());
  };

  test("of a token has the same bits in whatever chunks and with whatever threads the row is read", async () => {
    await fc.assert(
      fc.asyncProperty(cases, fc.array(fc.integer({ min: 1, max: 90 }), { minLength: 1, maxLength: 8 }), async ({ kvHeads, group, dim, tokens, seed }, chunks) => {
        const sizes = { heads: kvHeads * group, kvHeads, dim, capacity: tokens + 3 };
        const width = (sizes.heads + 2 * kvHeads) * dim;
        const x = normals(tokens * width, seed);
        const whole = await (await openAttention(backend, sizes, 1))({ projected: x, past: [0], fresh: tokens });
        const inChunks = await openAttention(backend, sizes, 1, 1);
        for (let at = 0, i = 0; at < tokens; i++) {
          const fresh = Math.min(chunks[i % chunks.length]!, tokens - at);
          const part = await inChunks({ projected: x.slice(at * width, (at + fresh) * width), past: [at], fresh });
          expect(part).toEqual(whole.slice(at * sizes.heads * dim, (at + fresh) * sizes.heads * dim));
          at += fresh;
        }
      }),
      { numRuns: 25 },
    );
  });

  test("of a row has the same bits alone and among others", async () => {
    await fc.assert(
      fc.asyncProperty(cases, fc.integer({ min: 2, max: 9 }), async ({ kvHeads, group, dim, tokens, seed }, rows) => {
        const sizes = { heads: kvHeads * group, kvHeads, dim, capacity: tokens + 1 };
        const width = (sizes.heads + 2 * kvHeads) * dim;
        const first = normals(rows * tokens * width, seed);
        const next = normals(rows * width, seed + 1);
        const together = await openAttention(backend, sizes, rows);
        const start = await together({ projected: first, past: Array(rows).fill(0), fresh: tokens });
        const then = await together({ projected: next, past: Array(rows).fill(tokens), fresh: 1 });
        const row = Math.abs(seed) % rows;
        const part = (all: Float32Array, count: number): Float32Array => all.slice((row * all.length) / rows, ((row + 1) * all.length) / rows).subarray(0, count);
        const alone = await openAttention(backend, sizes, 1);
        expect(await alone({ projected: part(first, tokens * width), past: [0], fresh: tokens })).toEqual(part(start, start.length));
        expect(await alone({ projected: part(next, width), past: [tokens], fresh: 1 })).toEqual(part(then, then.length));
      }),
      { numRuns: 20 },
    );
  });
});

test.skipIf(!here)("both sets of instructions give the same bits", () => {
  const script = fileURLToPath(new URL("own-kernel-samples.ts", import.meta.url));
  const digest = (instructions: string): string => execFileSync(process.execPath, ["--import", "tsx", "--conditions", "source", script], { env: { ...process.env, LONGJING_INSTRUCTIONS: instructions }, encoding: "utf8" }).trim();
  const [wide, narrow] = [digest(""), digest("avx2")];
  expect(wide).toHaveLength(createHash("sha256").digest("hex").length);
  expect(narrow).toBe(wide);
});

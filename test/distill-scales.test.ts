import { readdirSync } from "node:fs";
import { describe, expect, test } from "vitest";
import fc from "fast-check";
import { distilledScales } from "../src/cli/distilled-scales.ts";
import { hiddenStates, logits, rotaryTables, trainingContext, type ModelConfig } from "../src/model/index.ts";
import { dequantize, quantizeModel, rescale, roundToNearest, type Grid, type StoredParameter } from "../src/quantize/index.ts";
import { random } from "../src/random/index.ts";
import { allocate, compile } from "../src/runtime/index.ts";
import { tensorsOf, typesOf } from "../src/engine/model-parameters.ts";
import { openCheckpoint } from "../src/weights/index.ts";
import { fixture, hasFixture } from "./fixtures.ts";
import { backend } from "./providers.ts";

const models = readdirSync(fixture("models")).filter((name) => hasFixture("models", name, "config.json"));
const time = 64;

/** Of every next token of `ids`, in nats: how far the second model is from the first, in the mean. */
async function divergence(config: ModelConfig, [teacher, student]: readonly ReadonlyMap<string, Float32Array>[], shapes: ReadonlyMap<string, readonly number[]>, ids: readonly number[]): Promise<number> {
  const on = await backend("cpu");
  const logprobs: Float64Array[] = [];
  for (const weights of [teacher!, student!]) {
    const parameters = Object.fromEntries([...weights].map(([name, data]) => [name, on.tensorOver("float32", shapes.get(name)!, data)]));
    const program = await compile(on, (v) => ({ logits: logits(config, v.parameters as never, hiddenStates(config, v.parameters as never, v.ids, trainingContext({ batch: 1, time }, rotaryTables(config, time))).hidden) }), { parameters: typesOf(parameters), ids: { shape: [time], dtype: "int64" } });
    const io = allocate(on, { ids: { shape: [time], dtype: "int64" }, logits: { shape: [time, config.vocab_size], dtype: "float32" } });
    const binding = program.bind({ parameters: tensorsOf(parameters), ids: io.ids }, { logits: io.logits });
    const rows = new Float64Array(ids.length * config.vocab_size);
    for (let start = 0; start < ids.length; start += time) {
      for (let t = 0; t < time; t++) io.ids.data[t] = BigInt(ids[start + t]!);
      binding.runSync();
      for (let t = 0; t < time; t++) rows.set(logSoftmax(io.logits.data.subarray(t * config.vocab_size, (t + 1) * config.vocab_size)), (start + t) * config.vocab_size);
    }
    logprobs.push(rows);
    binding.dispose();
    program.dispose();
  }
  const [p, q] = logprobs as [Float64Array, Float64Array];
  return p.reduce((sum, value, i) => sum + Math.exp(value) * (value - q[i]!), 0) / ids.length;
}

function logSoftmax(row: Float32Array): Float64Array {
  const top = row.reduce((a, b) => Math.max(a, b));
  const total = Math.log(row.reduce((sum, value) => sum + Math.exp(value - top), 0));
  return Float64Array.from(row, (value) => value - top - total);
}

describe.each(models)("scales of %s, distilled", (name) => {
  test("bring the rounded model closer to the original on the texts, and move scales and gains alone", async () => {
    const checkpoint = await openCheckpoint(fixture("models", name));
    const { config } = checkpoint;
    const read = async ({ name: of, shape }: { readonly name: string; readonly shape: readonly number[] }) => Float32Array.from((await checkpoint.read(of, shape)).data);
    const rounded: StoredParameter[] = [];
    for await (const stored of quantizeModel(config, read, { linear: { bits: 4, kind: "symmetric" }, embeddings: 32, head: 32 })) rounded.push(stored);
    const stream = random("texts");
    const ids = Array.from({ length: 24 * time }, () => stream.below(config.vocab_size));
    const original = new Map<string, Float32Array>();
    for (const { spec } of rounded) original.set(spec.name, await read(spec));
    const parts = rounded.filter(({ matrix }) => matrix !== null);
    const progress: number[] = [];
    const distilled = await distilledScales(rounded, { backend: await backend("cpu"), config, ids, read, time, onProgress: (done) => progress.push(done) });
    await checkpoint.close();
    if (parts.length === 0) return expect(distilled).toEqual(rounded);
    expect(progress).toEqual(Array.from({ length: 2 * 24 }, (_, i) => i + 1));
    const shapes = new Map(rounded.map(({ spec }) => [spec.name, spec.shape]));
    const weightsOf = (stored: readonly StoredParameter[]) => new Map(stored.map(({ spec, weights }) => [spec.name, weights]));
    const [before, after] = [await divergence(config, [original, weightsOf(rounded)], shapes, ids), await divergence(config, [original, weightsOf(distilled)], shapes, ids)];
    expect(before).toBeGreaterThan(0);
    expect(after).toBeLessThan(before);
    for (const [i, { spec, matrix, weights }] of distilled.entries()) {
      if (matrix) expect(matrix.codes).toBe(rounded[i]!.matrix!.codes);
      else if (spec.shape.length > 1 || !spec.trainable) expect(weights, spec.name).toEqual(rounded[i]!.weights);
    }
  }, 60_000);
});

const grids: readonly Grid[] = (["symmetric", "minimum", "zero_point"] as const).flatMap((kind) => ([4, 8] as const).map((bits) => ({ kind, bits })));

describe.each(grids)("a matrix on a $kind grid of $bits bits", (grid) => {
  const matrices = fc.array(fc.float({ min: -4, max: 4, noNaN: true }), { minLength: 64, maxLength: 64 }).map((values) => roundToNearest(Float32Array.from(values), [1, 64], grid));

  test("on the same grid is the same", () => {
    fc.assert(
      fc.property(matrices, (matrix) => {
        expect([...dequantize(rescale(matrix, Float32Array.of(1, 1)))]).toEqual([...dequantize(matrix)]);
      }),
    );
  });

  test("on a wider one has its values so many times as large, to a rounding of the scale", () => {
    fc.assert(
      fc.property(matrices, fc.tuple(fc.double({ min: 0.5, max: 2, noNaN: true }), fc.double({ min: 0.5, max: 2, noNaN: true })), (matrix, factors) => {
        const wide = rescale(matrix, Float32Array.from(factors));
        const [from, to] = [dequantize(matrix), dequantize(wide)];
        // Half a unit in the eleventh place of scale and minimum, each times what it stands for; the smallest float16 are evenly spaced.
        const top = 2 ** grid.bits;
        from.forEach((value, i) => {
          const block = i >> 5;
          const most = (top * Math.abs(matrix.scales[block]!) + Math.abs(matrix.mins[block]!)) * 2 * 2 ** -11 + (top + 1) * 2 ** -24;
          expect(Math.abs(to[i]! - value * factors[block]!)).toBeLessThanOrEqual(most);
        });
        if (grid.kind !== "minimum") wide.mins.forEach((min, block) => wide.scales[block] !== 0 && expect(Number.isInteger(min / wide.scales[block]!)).toBe(true));
      }),
    );
  });
});

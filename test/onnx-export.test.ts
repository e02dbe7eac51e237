import { readdirSync } from "node:fs";
import * as ort from "onnxruntime-web";
import { describe, expect, test } from "vitest";
import { causalLmOnnx, inBlocks, type ExportedWeights } from "../src/export/index.ts";
import { parameterSpecs, type ModelConfig } from "../src/model/index.ts";
import { openCheckpoint } from "../src/weights/index.ts";
import { fixture, hasFixture, readFixture } from "./fixtures.ts";

interface Expected {
  readonly input_ids: number[][];
  readonly logits: number[][][];
  readonly left_padded: { readonly input_ids: number[][]; readonly attention_mask: number[][]; readonly position_ids: number[][]; readonly logits_last: number[][] };
}

const dataName = "model.onnx_data";
const bar = 1e-4;

const models = hasFixture("models") ? readdirSync(fixture("models"), { withFileTypes: true }).filter((e) => e.isDirectory()).map((e) => e.name) : [];
const int64 = (rows: readonly (readonly number[])[]): ort.Tensor => new ort.Tensor("int64", BigInt64Array.from(rows.flat(), BigInt), [rows.length, rows[0]!.length]);

async function openModel(name: string, mostInline: number, change: (config: ModelConfig, weights: Record<string, Float32Array>) => ExportedWeights = (_, weights) => weights): Promise<ort.InferenceSession> {
  const checkpoint = await openCheckpoint(fixture("models", name));
  const weights: Record<string, Float32Array> = {};
  for (const each of checkpoint.names) weights[each] = (await checkpoint.read(each)).data;
  await checkpoint.close();
  const { model, data } = causalLmOnnx(checkpoint.config, change(checkpoint.config, weights), { dataName, mostInline });
  expect(data === null).toBe(mostInline > 0);
  const externalData = data === null ? [] : [{ path: dataName, data: Buffer.concat([...data]) }];
  return ort.InferenceSession.create(Buffer.concat([...model]), { externalData, logSeverityLevel: 4 });
}

/** What blocks stand for. */
const values = (config: ModelConfig, weights: ExportedWeights): Record<string, Float32Array> =>
  Object.fromEntries(
    parameterSpecs(config).map(({ name }) => {
      const weight = weights[name]!;
      if (weight instanceof Float32Array) return [name, weight];
      const { bits, blocks, scales, block_size, rows, columns } = weight;
      const code = (i: number): number => (bits === 8 ? blocks[i]! : (blocks[i >> 1]! >> (4 * (i & 1))) & 15);
      return [name, Float32Array.from({ length: rows * columns }, (_, i) => (code(i) - 2 ** (bits - 1)) * scales[Math.floor(i / block_size)]!)];
    }),
  );

type Cache = Record<string, ort.Tensor>;

/** The next tokens of each row, as transformers.js runs a model: logits [batch][time][vocabulary], and the cache that it gives back. */
async function step(session: ort.InferenceSession, ids: number[][], mask: number[][], positions: number[][], cache?: Cache): Promise<{ logits: number[][][]; cache: Cache }> {
  const past = Object.fromEntries(
    session.inputMetadata.flatMap((input) => {
      if (!input.isTensor || !input.name.startsWith("past_key_values.")) return [];
      const shape = input.shape.map((d) => (typeof d === "number" ? d : d === "batch_size" ? ids.length : 0));
      return [[input.name, cache?.[input.name.replace("past_key_values", "present")] ?? new ort.Tensor("float32", new Float32Array(0), shape)]];
    }),
  );
  const { logits, ...present } = await session.run({ input_ids: int64(ids), attention_mask: int64(mask), position_ids: int64(positions), ...past });
  const [, time, width] = logits!.dims as [number, number, number];
  const data = logits!.data as Float32Array;
  return { logits: ids.map((_, b) => Array.from({ length: time }, (_, t) => Array.from(data.subarray((b * time + t) * width, (b * time + t + 1) * width)))), cache: present };
}

function expectClose(got: readonly number[][], want: readonly number[][]): void {
  expect(got.length).toBe(want.length);
  for (const [t, row] of want.entries()) expect(row.reduce((most, value, i) => Math.max(most, Math.abs(value - got[t]![i]!)), 0), `at ${t}`).toBeLessThan(bar);
}

describe.each(models)("%s as ONNX", (name) => {
  const expected = readFixture<Expected>("models", name, "expected.json");
  const { input_ids: rows, logits } = expected;
  const time = rows[0]!.length;
  const range = (from: number, to: number): number[] => Array.from({ length: to - from }, (_, i) => from + i);

  test.each([["within", 1e9], ["beside", 0]])("weights %s the model: a prompt, then more tokens onto the cache that it gives back", async (_, mostInline) => {
    const session = await openModel(name, mostInline);
    let cache: Cache | undefined;
    for (const [from, to] of [[0, 9], [9, 10], [10, time]] as const) {
      const ones = rows.map(() => Array<number>(to).fill(1));
      const next = await step(session, rows.map((row) => row.slice(from, to)), ones, rows.map(() => range(from, to)), cache);
      for (const [b, row] of next.logits.entries()) expectClose(row, logits[b]!.slice(from, to));
      cache = next.cache;
    }
    await session.release();
  });

  test.each([8, 4] as const)("in blocks of %i bits says what the rounded weights say, but for activations of 8 bits", async (bits) => {
    const ones = rows.map(() => Array<number>(time).fill(1));
    const say = async (session: ort.InferenceSession): Promise<number[]> => {
      const { logits: all } = await step(session, rows, ones, rows.map(() => range(0, time)));
      await session.release();
      return all.flat(2);
    };
    const rounded = await say(await openModel(name, 1e9, (config, weights) => inBlocks(config, weights, bits)));
    const plain = await say(await openModel(name, 1e9, (config, weights) => values(config, inBlocks(config, weights, bits))));
    const gap = Math.sqrt(rounded.reduce((sum, x, i) => sum + (x - plain[i]!) ** 2, 0) / plain.length);
    expect(gap).toBeLessThan(0.2);
  });

  test("rows that are padded on the left", async () => {
    const { input_ids, attention_mask, position_ids, logits_last } = expected.left_padded;
    const session = await openModel(name, 1e9);
    const { logits: padded } = await step(session, input_ids, attention_mask, position_ids);
    expectClose(padded.map((row) => row.at(-1)!), logits_last);
    await session.release();
  });
});

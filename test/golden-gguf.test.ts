import { readdirSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { loadModel } from "../src/engine/load.ts";
import { forwardBackward } from "../src/train/probe.ts";
import { openFileSource, openGguf } from "../src/weights/index.ts";
import { fixture, fixturesDir, hasFixture, readFixture } from "./fixtures.ts";
import { backend } from "./providers.ts";

interface Expected {
  readonly file: string;
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly tensors: Readonly<Record<string, { readonly type: string; readonly shape: readonly number[] }>>;
  readonly dequantised_rows: readonly { readonly tensor: string; readonly row: number; readonly values: readonly number[] }[];
  readonly input_ids: readonly (readonly number[])[];
  readonly logits_seq0: readonly (readonly number[])[];
  readonly logits_last: readonly (readonly number[])[];
}

/** The README's bar for logits from dequantised float32 weights. */
const bar = 1e-4;

const names = hasFixture("gguf") ? readdirSync(fixture("gguf")).filter((name) => name.endsWith(".expected.json")) : [];

test("the golden set has GGUF files", () => expect(names.length, fixturesDir()).toBeGreaterThan(0));

describe.each(names)("%s", (name) => {
  const expected = readFixture<Expected>("gguf", name);
  const path = fixture("gguf", expected.file);
  const open = async () => openGguf(await openFileSource(path));

  test("metadata and tensors", async () => {
    const file = await open();
    expect(Object.fromEntries([...file.metadata].filter(([key]) => !key.startsWith("tokenizer.")))).toEqual(expected.metadata);
    expect(Object.fromEntries([...file.tensors].map(([tensor, { dtype, shape }]) => [tensor, { type: dtype, shape }]))).toEqual(expected.tensors);
    await file.close();
  });

  test("dequantised rows, bit for bit", async () => {
    const file = await open();
    for (const { tensor, row, values } of expected.dequantised_rows) {
      const whole = await file.readFloat32(tensor);
      const part = file.tensors.get(tensor)!.shape.length > 1 ? await file.readFloat32(tensor, { entries: [row, row + 1] }) : whole;
      expect(part, `${tensor} ${row}`).toEqual(Float32Array.from(values));
      expect(whole.subarray(row * part.length, (row + 1) * part.length)).toEqual(part);
    }
    await file.close();
  });

  test("logits", async () => {
    const on = await backend("cpu");
    const { config, parameters } = await loadModel(on, path);
    const { logits } = await forwardBackward(on, config, parameters, expected.input_ids, { threads: 2 });
    const time = expected.input_ids[0]!.length;
    const row = (sequence: number, at: number): Float32Array => logits.subarray((sequence * time + at) * config.vocab_size, (sequence * time + at + 1) * config.vocab_size);
    const check = (got: Float32Array, want: readonly number[]): void => {
      expect(got.length).toBe(want.length);
      expect(Math.max(...want.map((value, i) => Math.abs(value - got[i]!)))).toBeLessThanOrEqual(bar);
    };
    for (const [at, want] of expected.logits_seq0.entries()) check(row(0, at), want);
    for (const [sequence, want] of expected.logits_last.entries()) check(row(sequence, time - 1), want);
  });
});

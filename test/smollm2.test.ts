import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { loadTokenizer } from "../src/cli/load-model.ts";
import { loadModel } from "../src/engine/load.ts";
import { hiddenStates, logits, rotaryTables, trainingContext } from "../src/model/index.ts";
import { allocate, compile } from "../src/runtime/index.ts";
import type { TensorType } from "../src/tensor/index.ts";
import { chatRenderer } from "../src/text/index.ts";
import { greedy } from "../src/train/probe.ts";
import { fixture, hasFixture, readFixture } from "./fixtures.ts";
import { backend } from "./providers.ts";

interface Case {
  readonly prompt: string;
  readonly ids: readonly number[];
  /** Of each position of the prompt. */
  readonly top20: readonly { readonly ids: readonly number[]; readonly logits: readonly number[] }[];
  readonly sample_ids: readonly number[];
  readonly sampled_logits: readonly (readonly number[])[];
  readonly greedy40: readonly number[];
  /** Of each new token. */
  readonly decode_steps: readonly { readonly top5: readonly (readonly [id: number, logit: number])[]; readonly sampled: readonly number[] }[];
}

/** LONGJING_SMOLLM2 names SmolLM2-135M-Instruct.Q4_1.gguf. */
const path = process.env.LONGJING_SMOLLM2;

/** Logits reach 35 after thirty layers in float32; 1e-4 is what two correct implementations differ by. */
const bar = 5e-4;

/** The logits after every token of one sequence, [time][vocabulary]. */
async function forward(model: string, ids: readonly number[]): Promise<Float32Array[]> {
  const on = await backend("cpu");
  const { config, specs, parameters } = await loadModel(on, model);
  const time = ids.length;
  const types = { parameters: Object.fromEntries(specs.map((s) => [s.name, { shape: s.shape, dtype: "float32" } as TensorType])), ids: { shape: [time], dtype: "int64" } as TensorType };
  const program = await compile(on, (v) => ({ logits: logits(config, v.parameters, hiddenStates(config, v.parameters, v.ids, trainingContext({ batch: 1, time }, rotaryTables(config, time))).hidden) }), types, { threads: 2 });
  const buffers = allocate(on, { ids: types.ids, logits: { shape: [time, config.vocab_size], dtype: "float32" } });
  (buffers.ids!.data as BigInt64Array).set(ids.map(BigInt));
  const binding = program.bind({ parameters, ids: buffers.ids! }, { logits: buffers.logits! });
  await binding.run();
  binding.dispose();
  program.dispose();
  const all = buffers.logits!.data as Float32Array;
  return ids.map((_, t) => all.slice(t * config.vocab_size, (t + 1) * config.vocab_size));
}

/** The numbers of a one-dimensional float32 .npy file. */
function readNpy(name: string): Float32Array {
  const bytes = readFileSync(fixture("smollm2", name));
  return new Float32Array(Uint8Array.from(bytes.subarray(10 + bytes.readUInt16LE(8))).buffer);
}

const farthest = (got: ArrayLike<number>, want: ArrayLike<number>): number => Array.from(want).reduce((most, value, i) => Math.max(most, Math.abs(value - (got[i] ?? NaN))), 0);
const at = (row: Float32Array, ids: readonly number[]): number[] => ids.map((id) => row[id]!);

describe.runIf(path !== undefined && hasFixture("smollm2", "logits.json"))("SmolLM2-135M-Instruct", () => {
  const { cases } = readFixture<{ cases: Case[] }>("smollm2", "logits.json");

  test.each(cases.map((golden, index) => [index, golden] as const))("logits of prompt %i and its continuation", async (index, { ids, top20, sample_ids, sampled_logits, greedy40, decode_steps }) => {
    const rows = await forward(path!, [...ids, ...greedy40]);
    for (const [t, { ids: top, logits: want }] of top20.entries()) expect(farthest(at(rows[t]!, top), want), `top logits at ${t}`).toBeLessThan(bar);
    for (const [t, want] of sampled_logits.entries()) expect(farthest(at(rows[t]!, sample_ids), want), `logits at ${t}`).toBeLessThan(bar);
    for (const [step, { top5, sampled }] of decode_steps.entries()) {
      const row = rows[ids.length - 1 + step]!;
      expect(farthest(at(row, top5.map(([id]) => id)), top5.map(([, logit]) => logit)), `top logits of step ${step}`).toBeLessThan(bar);
      expect(farthest(at(row, sample_ids), sampled), `logits of step ${step}`).toBeLessThan(bar);
    }
    expect(farthest(rows[ids.length - 1]!, readNpy(`logits_p${index}_last.npy`))).toBeLessThan(bar);
    expect(farthest(rows[ids.length - 1 + 20]!, readNpy(`logits_p${index}_step20.npy`))).toBeLessThan(bar);
  }, 120_000);

  test("greedy continuations by prefill and decode", async () => {
    const on = await backend("cpu");
    const { config, parameters } = await loadModel(on, path!);
    for (const { ids, greedy40 } of cases) expect((await greedy(on, config, parameters, ids, greedy40.length)).new_ids).toEqual(greedy40);
  }, 120_000);

  test("token ids, decoded texts and the chat template", async () => {
    const tokenizer = await loadTokenizer(path!);
    for (const { prompt, ids } of cases) expect(tokenizer.encode(prompt)).toEqual(ids);
    for (const { text, ids, decoded } of readFixture<{ text: string; ids: number[]; decoded: string }[]>("smollm2", "tokenizer_cases.json")) {
      expect(tokenizer.encode(text), text).toEqual(ids);
      expect(tokenizer.decode(ids)).toBe(decoded);
    }
    const question = /<\|im_start\|>user\n(.*?)<\|im_end\|>/s;
    const chat = cases.find(({ prompt }) => question.test(prompt))!.prompt;
    const rendered = chatRenderer(tokenizer.chatTemplate!)([{ role: "user", content: question.exec(chat)![1] }], { ...tokenizer.specialTokens, add_generation_prompt: true });
    expect(rendered).toBe(chat);
  });
});

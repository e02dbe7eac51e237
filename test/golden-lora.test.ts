import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { LongjingError } from "../src/errors/index.ts";
import { loadModel } from "../src/engine/load.ts";
import { applyAdapters, headWeight, hiddenStates, logits, loraNames, loraSpecs, parameterSpecs, rotaryTables, targetedModules, trainingContext, type Parameters } from "../src/model/index.ts";
import { linear } from "../src/nn/linear.ts";
import { tokenLogprobs, weightedNll } from "../src/nn/losses.ts";
import { allocate, compile, type DeviceTensor } from "../src/runtime/index.ts";
import { gradientsOf, trace, type Value } from "../src/tensor/index.ts";
import { byTime } from "../src/train/layout.ts";
import { forwardBackward } from "../src/train/probe.ts";
import { encodeSafetensors, mergeAdapter, openCheckpoint, readAdapter, writeAdapter, type LoraAdapter, type TensorToWrite } from "../src/weights/index.ts";
import { fixture, fixturesDir, hasFixture, readFixture } from "./fixtures.ts";
import { backend } from "./providers.ts";

interface Expected {
  readonly base: string;
  readonly scaling: number;
  readonly input_ids: number[][];
  readonly logits_with_adapter: number[][][];
  readonly loss_with_adapter: number;
  readonly logits_after_merge_last_position: number[][];
  readonly merged_layer0_down_proj_first_row: number[];
  readonly grads: Record<string, { shape: number[]; l2: number; first8: number[] }>;
}

// The bars of the fixtures' README.
const bar = { logits: 2e-4, loss: 1e-5, gradL2: 1e-5, gradL2Absolute: 1e-7, first8: 2e-5, weight: 1e-6 };

function expectWithin(got: ArrayLike<number>, want: ArrayLike<number>, tolerance: number, what: string): void {
  expect(got.length, what).toBe(want.length);
  for (let i = 0; i < want.length; i++) expect(Math.abs(got[i]! - want[i]!) <= tolerance, `${what}[${i}]: got ${got[i]}, want ${want[i]}`).toBe(true);
}

const l2 = (values: Float32Array): number => Math.hypot(...values);

type ModelAndAdapter = { readonly adapter: LoraAdapter; readonly base: Record<string, Float32Array> } & Awaited<ReturnType<typeof loadModel>>;

async function load(name: string, baseFolder: string): Promise<ModelAndAdapter> {
  const model = await loadModel(await backend("cpu"), fixture("lora", name, baseFolder));
  const base = Object.fromEntries(model.specs.map((spec) => [spec.name, model.parameters[spec.name]!.data as Float32Array]));
  return { ...model, base, adapter: await readAdapter(fixture("lora", name), model.specs) };
}

interface Report {
  readonly logits: Float32Array;
  readonly loss: number;
  readonly grads: Readonly<Record<string, Float32Array>>;
}

/** Forward and backward through the base's parameters and the adapter's factors, which alone are asked for gradients. */
async function withAdapter({ config, specs, parameters, adapter }: ModelAndAdapter, input_ids: number[][]): Promise<Report> {
  const on = await backend("cpu");
  const [batch, time] = [input_ids.length, input_ids[0]!.length];
  const rows = batch * time;
  const float = (shape: readonly number[]) => ({ shape, dtype: "float32" }) as const;
  const data = { ids: { shape: [rows], dtype: "int64" }, targets: { shape: [rows], dtype: "int64" }, weights: float([rows, 1]) } as const;
  const factors = Object.fromEntries(loraSpecs(specs, adapter.modules).map(({ name, shape }) => [name, float(shape)]));
  const types = { parameters: Object.fromEntries(specs.map(({ name, shape }) => [name, float(shape)])), factors, ...data };
  const program = await compile(on, (v) => {
    const seen = applyAdapters(v.parameters as Parameters, adapter.modules, v.factors as Parameters);
    const { hidden } = hiddenStates(config, seen, v.ids, trainingContext({ batch, time }, rotaryTables(config, time)));
    const loss = weightedNll(tokenLogprobs(hidden, headWeight(config, seen), v.targets).logprobs, v.weights);
    return { logits: logits(config, seen, hidden), loss, grads: gradientsOf(loss, v.factors as Record<string, Value>) };
  }, types, { threads: 2 });
  const ins = allocate(on, data);
  const held = allocate(on, factors) as Record<string, DeviceTensor>;
  for (const [name, tensor] of Object.entries(held)) (tensor.data as Float32Array).set(adapter.tensors[name]!.data);
  byTime(input_ids, (row, b, t) => {
    const next = input_ids[b]![t + 1];
    (ins.ids.data as BigInt64Array)[row] = BigInt(input_ids[b]![t]!);
    (ins.targets.data as BigInt64Array)[row] = BigInt(next ?? 0);
    (ins.weights.data as Float32Array)[row] = next === undefined ? 0 : 1 / (batch * (time - 1));
  });
  const outs = allocate(on, { logits: float([rows, config.vocab_size]), loss: float([]) });
  const grads = allocate(on, factors) as Record<string, DeviceTensor>;
  await program.bind({ parameters, factors: held, ...ins }, { ...outs, grads }).run();
  const bySequence = new Float32Array(rows * config.vocab_size);
  byTime(input_ids, (row, b, t) => bySequence.set((outs.logits.data as Float32Array).subarray(row * config.vocab_size, (row + 1) * config.vocab_size), (b * time + t) * config.vocab_size));
  return { logits: bySequence, loss: (outs.loss.data as Float32Array)[0]!, grads: Object.fromEntries(Object.entries(grads).map(([name, { data: values }]) => [name, values as Float32Array])) };
}

let scratch: string;
beforeEach(() => void (scratch = mkdtempSync(join(tmpdir(), "longjing-lora-"))));
afterEach(() => rmSync(scratch, { recursive: true }));

const names = hasFixture("lora") ? readdirSync(fixture("lora")) : [];

test("the golden set has adapters", () => expect(names.length, fixturesDir()).toBeGreaterThan(0));

describe.each(names)("%s", (name) => {
  const expected = readFixture<Expected>("lora", name, "expected.json");

  test("unmerged: logits, loss and the gradient of every factor", async () => {
    const model = await load(name, expected.base);
    for (const { scale } of model.adapter.modules) expect(scale).toBeCloseTo(expected.scaling, 12);
    const report = await withAdapter(model, expected.input_ids);
    expectWithin(report.logits, expected.logits_with_adapter.flat(2), bar.logits, "logits");
    expectWithin([report.loss], [expected.loss_with_adapter], bar.loss, "loss");
    expect(Object.keys(report.grads).toSorted()).toEqual(Object.keys(expected.grads).toSorted());
    for (const [factor, want] of Object.entries(expected.grads)) {
      expectWithin([l2(report.grads[factor]!)], [want.l2], bar.gradL2 * want.l2 + bar.gradL2Absolute, `l2 of ${factor}`);
      expectWithin(report.grads[factor]!.subarray(0, want.first8.length), want.first8, bar.first8, `first values of ${factor}`);
    }
  });

  test("merged into the base", async () => {
    const { config, base, adapter } = await load(name, expected.base);
    const merged = mergeAdapter(base, adapter);
    const [width, vocabulary] = [config.intermediate_size, config.vocab_size];
    expectWithin(merged["model.layers.0.mlp.down_proj.weight"]!.subarray(0, width), expected.merged_layer0_down_proj_first_row, bar.weight, "down_proj");
    const on = await backend("cpu");
    const tensors = allocate(on, Object.fromEntries(parameterSpecs(config).map(({ name: parameter, shape }) => [parameter, { shape, dtype: "float32" as const }])));
    for (const [parameter, tensor] of Object.entries(tensors)) (tensor.data as Float32Array).set(merged[parameter]!);
    const report = await forwardBackward(on, config, tensors, expected.input_ids, { threads: 2 });
    const time = expected.input_ids[0]!.length;
    for (const [b, want] of expected.logits_after_merge_last_position.entries())
      expectWithin(report.logits.subarray((b * time + time - 1) * vocabulary, (b + 1) * time * vocabulary), want, bar.logits, `last logits of ${b}`);
  });

  test("written and read again it is the same, and its configuration is PEFT's", async () => {
    const { specs, adapter } = await load(name, expected.base);
    await writeAdapter(join(scratch, "a"), adapter);
    expect(await readAdapter(join(scratch, "a"), specs)).toStrictEqual(adapter);
    const fields = (dir: string): Record<string, unknown> => JSON.parse(readFileSync(join(dir, "adapter_config.json"), "utf8")) as Record<string, unknown>;
    expect(fields(fixture("lora", name))).toMatchObject(fields(join(scratch, "a")));
    await expect(writeAdapter(join(scratch, "a"), adapter)).rejects.toMatchObject({ code: "conflict" });
  });

  test("mutated files give the adapter or an error of ours", async () => {
    const { specs } = await load(name, expected.base);
    for (const file of ["adapter_config.json", "adapter_model.safetensors"]) {
      const dir = join(scratch, file);
      cpSync(fixture("lora", name), dir, { recursive: true });
      const bytes = readFileSync(join(dir, file));
      const change = fc.record({ at: fc.nat(Math.min(bytes.length, 2500) - 1), byte: fc.nat(255), cut: fc.option(fc.nat(bytes.length)) });
      await fc.assert(fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 4 }), async (changes) => {
        const mutated = Buffer.from(bytes);
        for (const { at, byte } of changes) mutated[at] = byte;
        writeFileSync(join(dir, file), mutated.subarray(0, changes[0]!.cut ?? mutated.length));
        await readAdapter(dir, specs).catch((error: unknown) => expect(LongjingError.is(error), String(error)).toBe(true));
      }), { numRuns: 300 });
    }
  });
});

describe.skipIf(names.length === 0)("an adapter that cannot be taken", () => {
  const folder = async (change: (config: Record<string, unknown>) => Record<string, unknown>): Promise<LoraAdapter> => {
    cpSync(fixture("lora", names[0]!), scratch, { recursive: true });
    const path = join(scratch, "adapter_config.json");
    writeFileSync(path, JSON.stringify(change(JSON.parse(readFileSync(path, "utf8")) as Record<string, unknown>)));
    const { base } = readFixture<Expected>("lora", names[0]!, "expected.json");
    const checkpoint = await openCheckpoint(fixture("lora", names[0]!, base));
    await checkpoint.close();
    return readAdapter(scratch, parameterSpecs(checkpoint.config));
  };

  test.each([
    ["modules_to_save", ["lm_head"]],
    ["bias", "all"],
    ["use_dora", true],
    ["lora_bias", true],
    ["init_lora_weights", "pissa"],
    ["peft_type", "IA3"],
    ["alpha_pattern", { "(a+)+": 3 }],
    ["alpha_pattern", Object.fromEntries(Array.from({ length: 3000 }, (_, i) => [`.*${i}`, 3]))],
  ])("%s is refused by name", async (field, value) => {
    const error: unknown = await folder((config) => ({ ...config, [field]: value })).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: "unsupported" });
    if (field !== "alpha_pattern") expect((error as LongjingError).facts.where).toContain(field);
  });

  test("another rank is a shape that does not fit", () => expect(folder((config) => ({ ...config, r: Number(config.r) + 1, rank_pattern: {} }))).rejects.toMatchObject({ code: "shape_mismatch" }));
  test("a module that no target names", () => expect(folder((config) => ({ ...config, target_modules: ["model.layers.0.self_attn.q_proj"] }))).rejects.toMatchObject({ code: "bad_file" }));
  test("a pattern that would take for ever is not run", async () => expect((await folder((config) => ({ ...config, target_modules: "(.*.*.*)*x" }))).modules.length).toBeGreaterThan(0));

  test("the base's own head is no part of it, where that is saved too", async () => {
    const { base } = readFixture<Expected>("lora", names[0]!, "expected.json");
    const checkpoint = await openCheckpoint(fixture("lora", names[0]!, base));
    await checkpoint.close();
    const { vocab_size, hidden_size } = checkpoint.config;
    const config = { ...checkpoint.config, tie_word_embeddings: false };
    const tensor = (name: string, ...shape: number[]) => ({ name: `base_model.model.lm_head.${name}`, shape, dtype: "F32" as const, data: new Float32Array(shape.reduce((a, b) => a * b, 1)) });
    const factors = [tensor("lora_A.weight", 2, hidden_size), tensor("lora_B.weight", vocab_size, 2)];
    writeFileSync(join(scratch, "adapter_config.json"), JSON.stringify({ peft_type: "LORA", r: 2, target_modules: ["lm_head"] }));
    const read = (more: readonly TensorToWrite[]): Promise<LoraAdapter> => {
      writeFileSync(join(scratch, "adapter_model.safetensors"), encodeSafetensors(more));
      return readAdapter(scratch, parameterSpecs(config));
    };
    expect(Object.keys((await read([...factors, tensor("base_layer.weight", vocab_size, hidden_size)])).tensors)).toEqual(factors.map(({ name }) => name));
    // Of another vocabulary: it does say something.
    await expect(read([...factors, tensor("base_layer.weight", vocab_size + 1, hidden_size)])).rejects.toMatchObject({ code: "unsupported" });
    await expect(read([tensor("base_layer.weight", vocab_size, hidden_size)])).rejects.toMatchObject({ code: "unsupported" });
  });

  test("rsLoRA divides by the root of the rank, patterns change a module's alpha and rank", async () => {
    const scales = async (change: Record<string, unknown>): Promise<LoraAdapter["modules"]> => (await folder((config) => ({ ...config, lora_alpha: 6, alpha_pattern: {}, use_rslora: false, ...change }))).modules;
    const rslora = await scales({ use_rslora: true });
    const patterned = await scales({ alpha_pattern: { q_proj: 3, "^model.layers.0.self_attn.q_proj": 5, roj: 7 } });
    for (const [i, { module, rank, scale }] of (await scales({})).entries()) {
      expect(scale).toBeCloseTo(6 / rank, 12);
      expect(rslora[i]!.scale).toBeCloseTo(6 / Math.sqrt(rank), 12);
      expect(patterned[i]!.scale).toBeCloseTo((module.endsWith("q_proj") ? 3 : 6) / rank, 12);
    }
    const ranks = { q_proj: rslora[0]!.rank + 1 };
    await expect(scales({ rank_pattern: ranks })).rejects.toMatchObject({ code: "shape_mismatch" });
  });
});

describe("target_modules", () => {
  const specs = ["model.embed_tokens", "model.layers.0.self_attn.q_proj", "model.layers.10.self_attn.q_proj", "model.layers.0.mlp.up_proj", "lm_head"].map((name) => ({ name: `${name}.weight`, shape: [2, 2], init: "normal", decay: true, quantizable: true, trainable: true }) as const);
  test.each([
    [["q_proj"], 2],
    [["0.self_attn.q_proj"], 1],
    [["proj"], 0],
    [["model.layers.0.mlp.up_proj", "lm_head"], 2],
    ["all-linear", 3],
    [String.raw`model\.layers\.\d\..*`, 2],
    ["q_proj", 0],
    ["(", 0],
  ])("%j", (targets, count) => {
    if (count > 0) expect(targetedModules(specs, targets)).toHaveLength(count);
    else expect(() => targetedModules(specs, targets)).toThrow(expect.objectContaining({ code: "bad_argument" }));
  });

  test("the step's graph forms no matrix of the size of the weight", () => {
    const module = "model.layers.0.self_attn.q_proj";
    const { a, b } = loraNames(module);
    const float = (shape: readonly number[]) => ({ shape, dtype: "float32" }) as const;
    const graph = trace((v) => {
      const seen = applyAdapters({ [`${module}.weight`]: v.w }, [{ module, rank: 2, scale: 3 }], { [a]: v.a, [b]: v.b });
      return gradientsOf(weightedNll(linear(v.x, seen[`${module}.weight`]!), v.y), { a: v.a, b: v.b });
    }, { w: float([64, 32]), a: float([2, 32]), b: float([64, 2]), x: float([5, 32]), y: float([5, 64]) });
    const sizes = graph.nodes.filter(({ op }) => op.name !== "input").flatMap(({ outputs }) => outputs.map(({ shape }) => shape.join("x")));
    expect(sizes).not.toContain("64x32");
  });
});

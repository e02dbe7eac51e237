import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { openStartingModel } from "../src/cli/starting-model.ts";
import { loadModel } from "../src/engine/load.ts";
import { applyAdapters, hiddenStates, logits, loraSpecs, parameterSpecs, rotaryTables, trainingContext, type Parameters } from "../src/model/index.ts";
import { allocate, compile, type DeviceTensor } from "../src/runtime/index.ts";
import { distill, evaluation, latestCheckpoint, loadTensors, readLog, rejectionSampling, runRecipe, type Recipe, type RecipeRunOptions } from "../src/train/index.ts";
import { adapterFile, optimizerFile } from "../src/train/checkpoint.ts";
import { parity } from "../src/tasks/index.ts";
import { readAdapter } from "../src/weights/index.ts";
import { longjing } from "./launcher.ts";
import { backend } from "./providers.ts";
import { document, recipe as lora, schedule } from "./tiny-lora-recipe.ts";
import { recipe as tiny } from "./tiny-recipe.ts";
import { stagesOn } from "./tiny-stages.ts";

let dir: string;
const at = (...parts: string[]): string => join(dir, ...parts);

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), "longjing-lora-training-"));
  await run(tiny, { dir: at("from") });
  // A base that answers in the form that rejection sampling keeps.
  const from = await openStartingModel(at("from"));
  await run({ ...stagesOn(""), stages: stagesOn("").stages.slice(0, 1) }, { dir: at("tuned"), base: from });
  await from.close();
  for (const [to, out] of [["hf", "base"], ["gguf", "base.gguf"]] as const) await exported(at("tuned"), "--to", to, "--out", at(out), "--type", "Q4_0");
}, 240_000);
afterAll(() => rmSync(dir, { recursive: true, force: true }));

async function run(recipe: Recipe, options: Partial<RecipeRunOptions> & { readonly dir: string }): Promise<void> {
  await runRecipe(recipe, { backend: await backend("cpu"), resume: false, cores: 1, now: () => performance.now() / 1000, checkpointEvery: 4, ...options });
}

async function exported(...args: string[]): Promise<void> {
  const { code, stderr } = await longjing(["export", ...args, "--json"]);
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
}

const newest = (run: string): string => latestCheckpoint(run).checkpoint!.path;
const bytesOf = (run: string, file: string): Buffer => readFileSync(join(newest(run), file));

/** Every kind of stage that trains. */
const all = (): Recipe => ({
  ...lora,
  stages: [
    lora.stages[0]!,
    rejectionSampling({ steps: 4, buckets: [{ time: 96, batch: 4 }], schedule, task: parity, problem: (seed, index) => parity.problem({ split: "train", seed, index, level: 1 }), problems: 40, num_generations: 8, max_completion_length: 40 }),
    distill({ steps: 4, buckets: [{ time: 96, batch: 4 }], schedule, teacher: at("base"), document }),
    lora.stages[1]!,
    evaluation("after", parity, { count: 4, samples: 2, max_tokens: 24, level: 1 }),
  ],
});

test.each(["base", "base.gguf"])("on %s every stage trains the adapter alone; stopped and resumed anywhere, the same bytes come out", async (name) => {
  const base = await openStartingModel(at(name));
  const whole = at(`whole-${name}`);
  await run(all(), { dir: whole, base });
  const losses = readLog(join(whole, "log.jsonl")).filter((line) => line.type === "metrics" && line.stage === "sft").map((line) => line["loss"] as number);
  expect(losses.at(-1)!).toBeLessThan(losses[0]!);
  const names = loraSpecs(parameterSpecs(base.config), (await readAdapter(newest(whole), parameterSpecs(base.config))).modules).map((spec) => spec.name);
  const { checkpoint } = latestCheckpoint(whole);
  expect(Object.keys(await loadTensors(checkpoint!, adapterFile)).toSorted()).toEqual(names.toSorted());
  expect(Object.keys(await loadTensors(checkpoint!, optimizerFile)).toSorted()).toEqual(["m.", "v."].flatMap((moment) => names.map((factor) => moment + factor)).toSorted());
  const parts = at(`parts-${name}`);
  for (const [stage, step] of [["sft", 3], ["rejection-sampling", 2], ["distill", 2], ["grpo", 1], ["grpo", 3]] as const) {
    const stop = new AbortController();
    await run(all(), { dir: parts, base, resume: true, signal: stop.signal, report: (event) => void (event.type === "metrics" && event.stage === stage && event.step === step && stop.abort()) });
  }
  await run(all(), { dir: parts, base, resume: true });
  for (const file of [adapterFile, optimizerFile, "adapter_config.json"]) expect(bytesOf(parts, file).equals(bytesOf(whole, file)), file).toBe(true);
  await base.close();
}, 240_000);

/** Logits after every token of a text. */
async function logitsOf(folder: string, adapterFolder?: string): Promise<Float32Array> {
  const on = await backend("cpu");
  const { config, specs, parameters } = await loadModel(on, folder);
  const adapter = adapterFolder === undefined ? { modules: [], tensors: {} } : await readAdapter(adapterFolder, specs);
  const factors = Object.fromEntries(Object.entries(adapter.tensors).map(([name, { shape, data }]) => [name, on.tensorOver("float32", shape, data)]));
  const [batch, time] = [1, 12];
  const types = (tensors: Readonly<Record<string, DeviceTensor>>) => Object.fromEntries(Object.entries(tensors).map(([name, { shape, dtype }]) => [name, { shape, dtype }]));
  const ids = on.tensor("int64", [time]);
  for (let t = 0; t < time; t++) ids.data[t] = BigInt((7 * t + 3) % config.vocab_size);
  const program = await compile(on, (v) => {
    const all = applyAdapters(v.parameters as Parameters, adapter.modules, v.factors as Parameters);
    return { logits: logits(config, all, hiddenStates(config, all, v.ids, trainingContext({ batch, time }, rotaryTables(config, time))).hidden) };
  }, { parameters: types(parameters), factors: types(factors), ids: { shape: [time], dtype: "int64" } });
  const out = allocate(on, { logits: { shape: [time, config.vocab_size], dtype: "float32" } });
  await program.bind({ parameters, factors, ids }, out).run();
  return out.logits.data as Float32Array;
}

test("merged, the model says what the base says through the adapter, and not what the base says alone", async () => {
  const folder = at("to-merge");
  const base = await openStartingModel(at("base"));
  await run(lora, { dir: folder, base, lora: { use_rslora: true, target_modules: ["q_proj", "v_proj", "down_proj"] } });
  await base.close();
  await exported(folder, "--to", "hf", "--out", at("merged"));
  await exported(at("base"), "--to", "hf", "--adapter", folder, "--out", at("merged-too"));
  const [through, merged, alone] = [await logitsOf(at("base"), newest(folder)), await logitsOf(at("merged")), await logitsOf(at("base"))];
  const furthest = (other: Float32Array): number => through.reduce((most, value, i) => Math.max(most, Math.abs(value - other[i]!)), 0);
  expect(furthest(merged)).toBeLessThan(1e-4);
  expect(furthest(alone)).toBeGreaterThan(1e-2);
  expect(readFileSync(at("merged", "model.safetensors")).equals(readFileSync(at("merged-too", "model.safetensors")))).toBe(true);
  // As a model of its own, merged into a file of another kind.
  await exported(folder, "--to", "gguf", "--type", "F32", "--out", at("merged.gguf"));
  expect(furthest(await logitsOf(at("merged.gguf")))).toBeLessThan(1e-4);
}, 240_000);

test("exported as an adapter, the factors are those of the checkpoint, and PEFT's fields those that were asked for", async () => {
  const folder = at("to-export");
  const base = await openStartingModel(at("base"));
  await run({ ...lora, stages: lora.stages.slice(0, 1) }, { dir: folder, base, maxSteps: 2, lora: { r: 2, lora_alpha: 3, use_rslora: true, target_modules: "all-linear" } });
  expect(await longjing(["export", folder, "--to", "lora", "--rank", "4", "--out", at("adapter")])).toMatchObject({ code: 2, stderr: expect.stringContaining("--rank") as string });
  await exported(folder, "--to", "lora", "--out", at("adapter"));
  const [adapter, trained] = [await readAdapter(at("adapter"), parameterSpecs(base.config)), await readAdapter(newest(folder), parameterSpecs(base.config))];
  await base.close();
  expect(adapter).toEqual(trained);
  expect(readdirSync(at("adapter"))).toEqual(["README.md", "adapter_config.json", "adapter_model.safetensors"]);
  expect(JSON.parse(readFileSync(at("adapter", "adapter_config.json"), "utf8"))).toMatchObject({ peft_type: "LORA", task_type: "CAUSAL_LM", base_model_name_or_path: at("base"), r: 2, lora_alpha: 3, use_rslora: true });
  // The folder of the adapter is a model that is read with its base.
  await exported(at("adapter"), "--to", "hf", "--out", at("from-adapter"));
  const through = await logitsOf(at("base"), at("adapter"));
  for (const [i, value] of (await logitsOf(at("from-adapter"))).entries()) expect(Math.abs(value - through[i]!)).toBeLessThan(1e-4);
}, 240_000);

test("a run goes on with the adapter that it began with, and with no other", async () => {
  const folder = at("goes-on");
  const base = await openStartingModel(at("base"));
  const short = { dir: folder, base, maxSteps: 2 };
  await run(lora, { ...short, lora: { r: 2 } });
  cpSync(folder, at("copy"), { recursive: true });
  await expect(run(lora, { ...short, resume: true, lora: { r: 3 } })).rejects.toMatchObject({ code: "conflict" });
  await run(lora, { ...short, resume: true });
  expect(bytesOf(folder, adapterFile).equals(readFileSync(join(newest(at("copy")), adapterFile)))).toBe(true);
  await base.close();
  await expect(run({ ...tiny, lora: {} }, { dir: at("none") })).rejects.toMatchObject({ code: "bad_argument" });
}, 120_000);

test("the commands train an adapter, and chat through the run that did", async () => {
  const args = ["train", join(import.meta.dirname, "tiny-lora-recipe.ts"), "--base", at("base.gguf"), "--out", at("by-command"), "--max-steps", "3", "--json"];
  const wrong = await longjing([...args, "--lora-r", "8"]);
  expect(wrong.code).toBe(2);
  expect(wrong.stdout + wrong.stderr).toContain("Train one: --lora");
  const { code, stdout } = await longjing([...args, "--lora", "--lora-r", "8", "--lora-target-modules", "q_proj", "o_proj"]);
  expect(code).toBe(0);
  const [start] = stdout.split("\n").map((line) => (line === "" ? null : (JSON.parse(line) as { readonly parameters: number; readonly trainable: number })));
  expect(start!.trainable).toBeLessThan(start!.parameters);
  expect(JSON.parse(bytesOf(at("by-command"), "adapter_config.json").toString())).toMatchObject({ r: 8, target_modules: ["q_proj", "o_proj"] });
  // A run is the adapter of its newest checkpoint; one that trained all of a model has none.
  const ask = (adapter: string) => longjing(["chat", at("base.gguf"), "--adapter", adapter, "--temperature", "0", "--max-tokens", "8", "--json"], "hi\n");
  const [byRun, byCheckpoint, whole] = await Promise.all([ask(at("by-command")), ask(newest(at("by-command"))), ask(at("tuned"))]);
  expect([byRun.code, byCheckpoint.code, whole.code]).toEqual([0, 0, 2]);
  expect(byRun.stdout).toBe(byCheckpoint.stdout);
  // One that trained all of a model is that model; one that trains an adapter is none.
  const alone = (model: string) => longjing(["chat", model, "--temperature", "0", "--max-tokens", "8", "--json"], "hi\n");
  const [run, checkpoint, adapter] = await Promise.all([alone(at("tuned")), alone(newest(at("tuned"))), alone(at("by-command"))]);
  expect([run.code, adapter.code]).toEqual([0, 2]);
  const said = (stdout: string) => ({ ...(JSON.parse(stdout) as object), model: "" });
  expect(said(run.stdout)).toEqual(said(checkpoint.stdout));
  expect(adapter.stderr).toContain("--adapter");
  const measured = (adapter: string) => longjing(["eval", "parity", "--level", "1", "--model", at("base.gguf"), "--adapter", adapter, "--problems", "2", "--samples", "1", "--max-tokens", "8", "--json"]);
  const [scored, unscored] = await Promise.all([measured(at("by-command")), measured(at("tuned"))]);
  expect([scored.code, unscored.code]).toEqual([0, 2]);
}, 120_000);

import { describe, expect, test } from "vitest";
import { Generator } from "../engine/generator.ts";
import { tensorsOf, type ModelParameters, type QuantizedTensors } from "../engine/model-parameters.ts";
import { ModelRunner } from "../engine/model-runner.ts";
import { initParameters, llamaConfig, parameterSpecs } from "../model/index.ts";
import { adamwDefaults } from "../optim/adamw.ts";
import { random } from "../random/index.ts";
import { openBackend, type Backend, type DeviceTensor } from "../runtime/index.ts";
import { gradientsOf, interpret, simplify, trace, type NdArray, type Value } from "../tensor/index.ts";
import { ndArray } from "../tensor/nd-array.ts";
import { leaves } from "../tensor/tree.ts";
import type { Checkpoint, QuantizedBlocks } from "../weights/index.ts";
import { dequantizeBlocks } from "../weights/packed.ts";
import { policyTypes, policyValues, runnerOptions } from "./frozen-base.ts";
import { loraConfigFor, loraDefaults, readBase, type AdapterOnBase } from "./lora.ts";
import { nextTokenObjective, nextTokenTypes } from "./next-token.ts";
import { policyLossDefaults } from "./objectives.ts";
import { PolicyTrainer } from "./policy-trainer.ts";
import { TrainState } from "./train-state.ts";
import { TrainStep } from "./train-step.ts";

const config = llamaConfig({ hidden_size: 64, intermediate_size: 96, num_hidden_layers: 2, num_attention_heads: 2, num_key_value_heads: 1, max_position_embeddings: 64 }, { vocabSize: 40, bosId: null, eosId: 1, padId: 0 });
const specs = parameterSpecs(config);
const [batch, time] = [3, 6];

/** A model whose linear layers are stored in blocks of 4 bits. */
function stored(): Pick<Checkpoint, "read" | "readBlocks" | "blockLayout"> {
  const weights = initParameters(specs, 0.2, random("stored"));
  const blocks = new Map<string, QuantizedBlocks>();
  for (const { name, shape, quantizable } of specs) {
    if (!quantizable) continue;
    const [rows, columns] = shape as [number, number];
    const numbers = random("blocks", name);
    const count = (rows * columns) / 32;
    const matrix: QuantizedBlocks = {
      rows,
      columns,
      bits: 4,
      block_size: 32,
      blocks: Uint8Array.from({ length: count * 16 }, () => numbers.below(256)),
      scales: Float32Array.from({ length: count }, () => 0.02 + 0.02 * numbers.next()),
      offsets: Float32Array.from({ length: count }, () => 0.02 * numbers.normal()),
    };
    blocks.set(name, matrix);
    weights[name] = dequantizeBlocks(matrix);
  }
  return {
    read: (name, shape, into) => {
      const data = weights[name]!;
      into?.set(data);
      return Promise.resolve({ shape: shape!, dtype: "F32", data: into ?? data });
    },
    blockLayout: (name) => (blocks.has(name) ? { bits: 4, block_size: 32, offsets: true } : null),
    readBlocks: async (name, _shape, into) => {
      const held = blocks.get(name) ?? null;
      if (!held || !into) return held;
      into.blocks.set(held.blocks);
      into.scales.set(held.scales);
      into.offsets!.set(held.offsets!);
      return into;
    },
  };
}

interface Adapted extends AdapterOnBase {
  readonly backend: Backend;
  readonly state: TrainState;
}

async function adapted(dtype: "auto" | "float32", { fresh = false }: { fresh?: boolean } = {}): Promise<Adapted> {
  const backend = await openBackend("cpu");
  const read = await readBase(backend, stored(), specs, loraConfigFor(specs, "base", { ...loraDefaults, r: 4 }), dtype);
  const initial = initParameters(read.specs, 0, random("factors"));
  if (!fresh) for (const values of Object.values(initial)) for (let i = 0; i < values.length; i++) values[i] = 0.2 * random("factor", values.length, i).normal();
  return { ...read, backend, state: new TrainState(backend, read.specs, initial, read.base) };
}

const stream = random("tokens");
const tokens = Array.from({ length: batch * time }, () => stream.below(config.vocab_size));
const targets = Array.from({ length: batch * time }, () => stream.below(config.vocab_size));
const weight = 1 / (batch * time);

const isTensor = (x: unknown): x is DeviceTensor => typeof x === "object" && x !== null && "data" in x;
const bytesOf = (parameters: ModelParameters): Buffer[] => leaves<DeviceTensor>(tensorsOf(parameters), isTensor).map(([, { data }]) => Buffer.from(data.buffer as ArrayBuffer, data.byteOffset, data.byteLength));

test("a target that is no linear layer is refused beside others that are", () => {
  const targets = (...target_modules: string[]) => loraConfigFor(specs, "base", { ...loraDefaults, target_modules }).target_modules;
  expect(targets("self_attn.q_proj", "v_proj")).toEqual(["q_proj", "v_proj"]);
  for (const stray of ["nope", "q_proj,v_proj", "embed_tokens"]) expect(() => targets("q_proj", stray)).toThrow(expect.objectContaining({ code: "bad_argument", message: expect.stringContaining("down_proj") as string }));
});

describe.each(["auto", "float32"] as const)("on a base as %s", (dtype) => {
  test("it is read as it is asked for", async () => {
    const { base } = await adapted(dtype);
    expect(Object.keys(base.blocks)).toEqual(dtype === "auto" ? specs.filter(({ quantizable }) => quantizable).map(({ name }) => name) : []);
    expect(Object.values(base.blocks).every((blocks) => (blocks as QuantizedTensors).exact)).toBe(true);
  });

  test("the gradient of every factor is the difference quotient of the loss", async () => {
    const { base, state } = await adapted(dtype);
    const graph = simplify(
      trace((v) => {
        const parameters = v.policy.parameters as Readonly<Record<string, Value>>;
        const { loss } = nextTokenObjective(config, { batch, time })(policyValues(base, state.policy, v.policy), v.batch as never);
        return { loss, g: gradientsOf(loss, Object.fromEntries(state.trainedNames.map((name) => [name, parameters[name]!]))) };
      }, { policy: policyTypes(base, state.policy), batch: nextTokenTypes(batch * time) }),
    );
    const given = leaves<DeviceTensor>({ frozen: tensorsOf(base.blocks), parameters: state.policy }, isTensor).map(([path, { shape, dtype: of, data }]): [string, NdArray] => [`policy/${path}`, ndArray(shape, data as ArrayLike<number>, of)]);
    const inputs: Record<string, NdArray> = { ...Object.fromEntries(given), "batch/ids": ndArray([batch * time], tokens, "int64"), "batch/targets": ndArray([batch * time], targets, "int64"), "batch/weights": ndArray([batch * time, 1], () => weight) };
    const graphOfLoss = { ...graph, outputs: graph.outputs.filter(([name]) => name === "loss") };
    const lossAt = (name: string, i: number, change: number): number => {
      const input = inputs[`policy/parameters/${name}`]!;
      const data = Float64Array.from(input.data);
      data[i]! += change;
      return interpret(graphOfLoss, { ...inputs, [`policy/parameters/${name}`]: { ...input, data } }).loss!.data[0]!;
    };
    const { gradient } = await step(await adapted(dtype), 1);
    const places = random("places");
    const h = 1e-4;
    for (const name of places.shuffle(state.trainedNames).slice(0, 6)) {
      const i = places.below(gradient[name]!.length);
      const quotient = (lossAt(name, i, h) - lossAt(name, i, -h)) / (2 * h);
      expect(Math.abs(gradient[name]![i]! - quotient), `${name}[${i}]: ${quotient}`).toBeLessThan(1e-5 + 1e-3 * Math.abs(quotient));
    }
  }, 120_000);

  test("training moves the factors alone: the base keeps every bit", async () => {
    const policy = await adapted(dtype);
    const before = bytesOf({ ...policy.base.blocks, ...policy.base.floats }).map((bytes) => Buffer.from(bytes));
    const factors = bytesOf(policy.state.parameters).map((bytes) => Buffer.from(bytes));
    await step(policy, 3);
    expect(bytesOf({ ...policy.base.blocks, ...policy.base.floats }).every((bytes, i) => bytes.equals(before[i]!))).toBe(true);
    expect(bytesOf(policy.state.parameters).every((bytes, i) => !bytes.equals(factors[i]!))).toBe(true);
    expect(Object.keys(policy.state.moments.m)).toEqual(policy.specs.map(({ name }) => name));
  });

  test("the engine samples from the very policy that is trained, before a step and after it", async () => {
    const { backend, state, base } = await adapted(dtype);
    const trainer = new PolicyTrainer(backend, config, state, 0, { minibatch: 4, loss: { ...policyLossDefaults, max_completion_length: 8 }, optimizer: { ...adamwDefaults, weight_decay: 0 }, max_grad_norm: 1 });
    const runner = new ModelRunner(backend, config, { max_num_seqs: 8, max_model_len: 32, ...runnerOptions(base) });
    for (let round = 0; round < 3; round++) {
      const requests = Array.from({ length: 8 }, (_, i) => ({ prompt_ids: tokens.slice(0, 3 + (i % 5)), sampling: { seed: 8 * round + i, max_tokens: 8 } }));
      const completions = await new Generator(runner, state.policy).generate(requests);
      const samples = completions.map((c, i) => ({ prompt_ids: requests[i]!.prompt_ids, completion_ids: c.token_ids, old_logprobs: c.logprobs, advantage: i % 2 ? 1 : -1, masked: false }));
      const metrics = await trainer.train(samples, 1e-2, random("order", round));
      expect(metrics["sampling/on_policy_deviation"]).toBeLessThan(1e-3);
    }
    trainer.dispose();
    await runner.dispose();
  });
});

/** Steps on one batch; the gradient of the first, which its first moments are. */
async function step({ backend, state }: Adapted, steps: number, epsilon = adamwDefaults.epsilon): Promise<{ readonly losses: number[]; readonly gradient: Record<string, Float32Array> }> {
  const training = await TrainStep.create(backend, state, nextTokenTypes(batch * time), nextTokenObjective(config, { batch, time }), { optimizer: { ...adamwDefaults, epsilon, weight_decay: 0 }, max_grad_norm: 1e9 });
  (training.batch.ids.data as BigInt64Array).set(tokens.map(BigInt));
  (training.batch.targets.data as BigInt64Array).set(targets.map(BigInt));
  (training.batch.weights.data as Float32Array).fill(weight);
  const losses: number[] = [];
  let gradient: Record<string, Float32Array> = {};
  for (let i = 0; i < steps; i++) {
    losses.push((await training.run(1e-3)).loss);
    if (i === 0) gradient = Object.fromEntries(Object.entries(state.moments.m).map(([name, { data }]) => [name, (data as Float32Array).slice()]));
  }
  training.dispose();
  return { losses, gradient };
}

test("on blocks of 4 bits training is what it is on the float32 that they stand for, but for the order of sums", async () => {
  const [blocks, floats] = [await adapted("auto"), await adapted("float32")];
  // An epsilon far above the rounding of a gradient: without it a step goes by signs, and by those of rounding where there is no gradient.
  const [a, b] = [await step(blocks, 5, 1e-2), await step(floats, 5, 1e-2)];
  expect(a.losses[4]!).toBeLessThan(a.losses[0]!);
  for (const [i, loss] of a.losses.entries()) expect(Math.abs(loss - b.losses[i]!)).toBeLessThan(1e-5);
  for (const [name, gradient] of Object.entries(a.gradient)) {
    const scale = Math.hypot(...b.gradient[name]!) / Math.sqrt(gradient.length);
    expect(Math.max(...gradient.map((g, i) => Math.abs(g - b.gradient[name]![i]!))), name).toBeLessThan(1e-3 * scale + 1e-6);
  }
});

test("a fresh adapter is drawn as PEFT draws it, and is the base itself", async () => {
  const { state, base } = await adapted("float32", { fresh: true });
  for (const { name, shape } of state.specs) {
    const values = state.parameters[name]!.data as Float32Array;
    const bound = 1 / Math.sqrt(shape[1]!);
    if (name.endsWith("lora_B.weight")) expect(values.every((v) => v === 0)).toBe(true);
    else {
      expect(values.every((v) => Math.abs(v) <= bound)).toBe(true);
      // Uniform: a variance of a third of the bound's square.
      expect(Math.abs(values.reduce((sum, v) => sum + v * v, 0) / values.length / bound ** 2 - 1 / 3)).toBeLessThan(0.15);
    }
  }
  const backend = await openBackend("cpu");
  const said = async (parameters: ModelParameters, options: Partial<ReturnType<typeof runnerOptions>>) => {
    const runner = new ModelRunner(backend, config, { max_num_seqs: 1, max_model_len: 32, ...options });
    const completions = await new Generator(runner, parameters).generate([{ prompt_ids: tokens.slice(0, 5), sampling: { temperature: 0, max_tokens: 8 } }]);
    await runner.dispose();
    return completions[0]!;
  };
  const [adaptedSays, baseSays] = [await said(state.policy, runnerOptions(base)), await said(base.floats, {})];
  expect(adaptedSays.token_ids).toEqual(baseSays.token_ids);
  for (const [i, logprob] of adaptedSays.logprobs.entries()) expect(Math.abs(logprob - baseSays.logprobs[i]!)).toBeLessThan(1e-5);
});

test.each([
  ["all-linear", ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]],
  [["q_proj", "v_proj"], ["q_proj", "v_proj"]],
  [".*\\.1\\..*q_proj", ["model.layers.1.self_attn.q_proj"]],
])("target_modules %j is written as a list that means the same", (target_modules, list) => {
  expect(loraConfigFor(specs, "base", { ...loraDefaults, target_modules }).target_modules).toEqual(list);
});

import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { loadModel } from "../src/engine/load.ts";
import { initParameters, parameterSpecs, parseConfig, type ModelConfig } from "../src/model/index.ts";
import { random } from "../src/random/index.ts";
import { ggufParameter, quantizeModel, type StoredParameter } from "../src/quantize/index.ts";
import { openBackend, type Backend } from "../src/runtime/index.ts";
import { forwardBackward } from "../src/train/index.ts";
import { encodeBlocks, ggufFileTypes, ggufParameters, openCheckpoint, writeCheckpoint, writeGguf, type Checkpoint, type GgufFileType, type GgufParameter } from "../src/weights/index.ts";
import { fixture, hasFixture } from "./fixtures.ts";

let dir: string;
let backend: Backend;
let written = 0;
beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), "longjing-gguf-export-"));
  backend = await openBackend();
});
afterAll(() => rmSync(dir, { recursive: true }));
const fresh = (): string => join(dir, `${written++}.gguf`);

async function open(path: string): Promise<Checkpoint> {
  const checkpoint = await openCheckpoint(path);
  onTestFinished(() => checkpoint.close());
  return checkpoint;
}

async function write(from: Checkpoint, parameters: Iterable<GgufParameter>): Promise<string> {
  const path = fresh();
  await writeGguf(path, { config: from.config, generationConfig: from.generationConfig, metadata: {}, parameters });
  return path;
}

const input_ids = [[5, 17, 3, 42, 9, 28, 11, 7]];
async function logits(path: string): Promise<Float32Array> {
  const { config, parameters } = await loadModel(backend, path);
  return (await forwardBackward(backend, config, parameters, input_ids)).logits;
}

const largestDifference = (a: Float32Array, b: Float32Array): number => a.reduce((most, value, i) => Math.max(most, Math.abs(value - b[i]!)), 0);

/** Of the norm. */
function relativeError(got: Float32Array, want: Float32Array): number {
  const squares = (values: Float32Array): number => values.reduce((sum, value) => sum + value * value, 0);
  return Math.sqrt(squares(got.map((value, i) => value - want[i]!)) / squares(want));
}

const names = hasFixture("models") ? readdirSync(fixture("models"), { withFileTypes: true }).filter((entry) => entry.isDirectory()).map(({ name }) => name) : [];

/** What a type may lose of a matrix of normal numbers, a little above what it does. */
const losses: Readonly<Record<GgufFileType, number>> = { F32: 0, F16: 1e-3, Q8_0: 0.01, Q4_0: 0.12, Q4_K_M: 0.08 };

describe.each(names)("%s", (name) => {
  test("computes the same from a GGUF file as from its folder", async () => {
    const folder = await open(fixture("models", name));
    const file = await write(folder, ggufParameters(folder, "F32"));
    expect(largestDifference(await logits(file), await logits(folder.path))).toBeLessThan(1e-4);
  });

  test("loses what its type loses, and no more on the way through a second file", async () => {
    const folder = await open(fixture("models", name));
    const exact = await open(await write(folder, ggufParameters(folder, "F32")));
    for (const type of Object.keys(ggufFileTypes) as GgufFileType[]) {
      const once = await open(await write(folder, ggufParameters(folder, type)));
      for (const { name: parameter, shape } of parameterSpecs(exact.config)) {
        const { data, dtype } = await once.read(parameter, shape);
        const want = (await exact.read(parameter)).data;
        if (shape.length === 1 || dtype === "F32") expect(data, parameter).toEqual(want);
        else expect(relativeError(data, want), `${parameter} as ${dtype}`).toBeLessThanOrEqual(losses[type]);
      }
      // Latents are scaled for another epsilon each time.
      if (type === "Q4_K_M" || (folder.config.model_type === "deepseek_v3" && folder.config.rms_norm_eps !== 1e-6)) continue;
      const twice = await open(await write(once, ggufParameters(once, type)));
      for (const { name: parameter } of parameterSpecs(exact.config)) {
        // Blocks of 6 bits, the head's, are fitted anew.
        if (once.info(parameter).dtype !== "Q6_K") expect(largestDifference((await twice.read(parameter)).data, (await once.read(parameter)).data), parameter).toBe(0);
      }
    }
  });
});

const tiny = { vocab_size: 48, hidden_size: 32, intermediate_size: 64, num_hidden_layers: 2, num_attention_heads: 2, num_key_value_heads: 2, eos_token_id: 1, max_position_embeddings: 64 };
const latent = { ...tiny, model_type: "deepseek_v3", q_lora_rank: 12, kv_lora_rank: 16, qk_nope_head_dim: 8, qk_rope_head_dim: 8, v_head_dim: 8, n_routed_experts: 4, n_shared_experts: 1, num_experts_per_tok: 2, n_group: 1, topk_group: 1, moe_intermediate_size: 32, first_k_dense_replace: 1, rms_norm_eps: 1e-6 };

/** A folder with a fresh model. */
async function model(json: object): Promise<Checkpoint> {
  const config = parseConfig(json, "test");
  const specs = parameterSpecs(config);
  const data = initParameters(specs, 0.3, random("gguf-export"));
  const path = join(dir, `model-${written++}`);
  await writeCheckpoint(path, { config, tensors: specs.map(({ name, shape }) => ({ name, shape, data: data[name]! })), dtype: "float32" });
  return open(path);
}

describe("rotations and norms that llama.cpp computes in its own way", () => {
  const yarn = { rope_type: "yarn", factor: 4, original_max_position_embeddings: 16 };
  test.each<[string, object]>([
    ["llama, YaRN", { ...tiny, model_type: "llama", rope_scaling: yarn }],
    ["llama, YaRN with an attention factor", { ...tiny, model_type: "llama", rope_scaling: { ...yarn, attention_factor: 0.7 } }],
    ["qwen2, YaRN with two mscales", { ...tiny, model_type: "qwen2", rope_scaling: { ...yarn, mscale: 2, mscale_all_dim: 0.5 } }],
    ["qwen3, linear", { ...tiny, model_type: "qwen3", rope_scaling: { rope_type: "linear", factor: 2 } }],
    ["deepseek_v3, YaRN", { ...latent, rope_scaling: yarn }],
    ["deepseek_v3, YaRN with equal mscales", { ...latent, rope_scaling: { ...yarn, mscale: 0.7, mscale_all_dim: 0.7 } }],
    ["deepseek_v3, YaRN with different mscales", { ...latent, rope_scaling: { ...yarn, mscale: 1.5, mscale_all_dim: 0.7 } }],
    ["deepseek_v3, halves, another epsilon", { ...latent, rope_interleave: false, rms_norm_eps: 1e-3 }],
    ["deepseek_v3, no low rank of queries", { ...latent, q_lora_rank: null }],
  ])("%s", async (_, json) => {
    const folder = await model(json);
    const file = await write(folder, ggufParameters(folder, "F32"));
    expect(largestDifference(await logits(file), await logits(folder.path))).toBeLessThan(1e-4);
  });
});

test("groups of experts that are all kept are one, as llama.cpp wants fewer kept than there are", async () => {
  const folder = await model({ ...latent, n_group: 2, topk_group: 2 });
  const file = await write(folder, ggufParameters(folder, "F32"));
  expect((await open(file)).config).toMatchObject({ n_group: 1, topk_group: 1 });
  expect(largestDifference(await logits(file), await logits(folder.path))).toBeLessThan(1e-4);
});

describe("blocks that are given as they are", () => {
  test("are written as they are, with their rows in llama.cpp's order", async () => {
    const folder = await model({ ...tiny, model_type: "llama" });
    const values = await open(await write(folder, ggufParameters(folder, "Q8_0")));
    const blocks = ggufParameters(folder, "Q8_0").map((parameter): GgufParameter => {
      const { name, shape, dtype } = parameter;
      return { name, shape, dtype, blocks: async () => encodeBlocks(dtype as "Q8_0" | "F32", (await folder.read(name)).data, name) };
    });
    const same = await open(await write(folder, blocks));
    for (const name of folder.names) {
      expect(same.info(name)).toMatchObject({ dtype: values.info(name).dtype });
      expect((await same.read(name)).data, name).toEqual((await values.read(name)).data);
    }
  });

  test("take the factor of their rows where they have a scale and a minimum", async () => {
    const folder = await model({ ...latent, hidden_size: 32, rms_norm_eps: 1e-3 });
    const stored: StoredParameter[] = [];
    for await (const parameter of quantizeModel(folder.config, async ({ name, shape }) => (await folder.read(name, shape)).data, { linear: { bits: 4, kind: "minimum" }, embeddings: 16, head: 16 })) stored.push(parameter);
    const rounded = join(dir, `model-${written++}`);
    await writeCheckpoint(rounded, { config: folder.config, tensors: stored.map(({ spec: { name, shape }, weights: data }) => ({ name, shape, data })), dtype: "float32" });
    const file = await write(folder, stored.map(ggufParameter));
    expect((await open(file)).info("model.layers.0.self_attn.kv_a_proj_with_mqa.weight")).toMatchObject({ dtype: "Q4_1" });
    expect(relativeError(await logits(file), await logits(rounded))).toBeLessThan(1e-3);
  });

  test("are refused where their rows would have to be scaled and cannot", async () => {
    const folder = await model({ ...latent, rms_norm_eps: 1e-3 });
    const blocks = ggufParameters(folder, "F16").map(({ name, shape, dtype }): GgufParameter => ({ name, shape, dtype, blocks: async () => encodeBlocks(dtype as "F16", (await folder.read(name)).data, name) }));
    await expect(write(folder, blocks)).rejects.toMatchObject({ code: "unsupported", facts: { where: expect.stringMatching(/_a_proj/) } });
  });
});

describe("refused, and no file is left", () => {
  const moe = { ...tiny, model_type: "qwen3_moe", num_experts: 4, num_experts_per_tok: 2, moe_intermediate_size: 32, norm_topk_prob: true };
  test.each<[string, object, string]>([
    ["Llama 3's rotation outside llama", { ...tiny, model_type: "qwen2", rope_scaling: { rope_type: "llama3", factor: 8, low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 32 } }, "rope_type"],
    ["YaRN with other ends of its ramp", { ...tiny, model_type: "llama", rope_scaling: { rope_type: "yarn", factor: 4, beta_fast: 16 } }, "beta_fast, beta_slow"],
    ["weights of experts that do not sum to 1", { ...moe, norm_topk_prob: false }, "norm_topk_prob"],
    ["dense layers among mixtures", { ...moe, mlp_only_layers: [1] }, "mlp_only_layers"],
    ["mixtures in every other layer", { ...latent, num_hidden_layers: 3, moe_layer_freq: 2 }, "moe_layer_freq"],
    ["a low rank of queries where llama.cpp expects none", { ...latent, num_hidden_layers: 27 }, "q_lora_rank"],
    ["biases that llama.cpp has not", { ...tiny, model_type: "qwen3", attention_bias: true }, "attention_bias"],
  ])("%s", async (_, json, where) => {
    const folder = await model(json);
    const path = fresh();
    const { config, generationConfig } = folder;
    await expect(writeGguf(path, { config, generationConfig, metadata: {}, parameters: ggufParameters(folder, "F32") })).rejects.toMatchObject({ code: "unsupported", facts: { where } });
    expect(existsSync(path)).toBe(false);
  });

  test("but of more end tokens than there are keys, those that fit are written and the others named", async () => {
    const folder = await model({ ...tiny, model_type: "llama", eos_token_id: [1, 2, 3] });
    const path = fresh();
    const { config } = folder;
    const generationConfig = { bos_token_id: null, eos_token_id: [3, 4, 5], pad_token_id: null, do_sample: false };
    expect(await writeGguf(path, { config, generationConfig, metadata: { "tokenizer.ggml.eos_token_id": 5 }, parameters: ggufParameters(folder, "F32") })).toEqual({ eos_left_out: [3, 4] });
    expect((await open(path)).config.eos_token_id).toEqual([5, 1, 2]);
    expect(await writeGguf(fresh(), { config, generationConfig: null, metadata: {}, parameters: ggufParameters(folder, "F32") })).toEqual({ eos_left_out: [] });
  });

  test("parameters that are not the model's, experts of two types, a file that is there", async () => {
    const folder = await model(moe);
    const parameters = ggufParameters(folder, "F32");
    const config: ModelConfig = folder.config;
    const attempt = (list: readonly GgufParameter[], path = fresh()) => writeGguf(path, { config, generationConfig: null, metadata: {}, parameters: list });
    await expect(attempt(parameters.slice(1))).rejects.toMatchObject({ code: "not_found", facts: { got: "model.embed_tokens.weight" } });
    await expect(attempt([...parameters, { ...parameters[0]!, name: "more" }])).rejects.toMatchObject({ code: "bad_argument", facts: { got: "more" } });
    await expect(attempt(parameters.map((p, i) => (i === 0 ? { ...p, shape: [1, 2] } : p)))).rejects.toMatchObject({ code: "shape_mismatch" });
    const expert = parameters.findIndex(({ name }) => name.includes(".experts.1."));
    await expect(attempt(parameters.map((p, i) => (i === expert ? ({ ...p, dtype: "F16" } as GgufParameter) : p)))).rejects.toMatchObject({ code: "bad_argument" });
    const failing = parameters.map((p, i) => (i === 3 ? ({ ...p, values: () => Promise.reject(new Error("gone")) } as GgufParameter) : p));
    const before = readdirSync(dir);
    await expect(attempt(failing)).rejects.toThrow("gone");
    expect(readdirSync(dir)).toEqual(before);
    const path = fresh();
    await attempt(parameters, path);
    await expect(attempt(parameters, path)).rejects.toMatchObject({ code: "conflict" });
  });
});

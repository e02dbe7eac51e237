import { appendFile, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { disposeParameters, loadFrozenModel, loadModel, ModelRunner, type ModelParameters, type QuantizedTensors } from "../src/engine/index.ts";
import { parseTest, testName } from "../src/engine/bench-decode.ts";
import { initParameters, llamaConfig, parameterSpecs } from "../src/model/index.ts";
import { random } from "../src/random/index.ts";
import type { Backend, DeviceTensor, SessionOptions } from "../src/runtime/index.ts";
import { writeGguf, type GgufFileType } from "../src/weights/index.ts";
import { ggufParameters } from "../src/weights/gguf-write.ts";
import { backend, providersHere } from "./providers.ts";

// Enough rows that a matrix, also of two joined, is read in several parts.
const shape = { hidden_size: 256, intermediate_size: 1280, num_hidden_layers: 2, num_attention_heads: 4, num_key_value_heads: 2, max_position_embeddings: 64 };
const config = llamaConfig(shape, { vocabSize: 96, bosId: 0, eosId: 1, padId: 2 });
const specs = parameterSpecs(config);
const values = initParameters(specs, 0.08, random("frozen model"));
let folder: string;
beforeAll(async () => void (folder = await mkdtemp(join(tmpdir(), "longjing-frozen-"))));
afterAll(() => rm(folder, { recursive: true, force: true }));

async function write(type: GgufFileType, name: string = type): Promise<string> {
  const path = join(folder, `${name}.gguf`);
  const checkpoint = { path, config, generationConfig: null, names: [], info: () => ({ shape: [], dtype: "F32" as const }), blockLayout: () => null, readBlocks: async () => null, close: async () => {}, read: async (name: string) => ({ shape: [], dtype: "F32" as const, data: values[name]! }) };
  await writeGguf(path, { config, generationConfig: null, metadata: {}, parameters: ggufParameters(checkpoint, type) });
  return path;
}

const prompts = [[5, 9, 30, 31, 7], [11, 60]];
const next = [17, 3];

describe.each(["F32", "F16", "Q8_0", "Q4_0", "Q4_K_M"] as const)("%s", (type) => {
  const processors = providersHere.filter((p) => p !== "webgpu");

  test.each(processors.flatMap((provider) => (["auto", "float32"] as const).map((dtype) => [provider, dtype] as const)))("a frozen model says what its numbers say (%s, %s)", async (provider, dtype) => {
    // Of blocks, the kernel rounds activations to 8 bits for each 32 of them, unless it is told not to.
    const bar = type.startsWith("F") || dtype === "float32" ? 1e-4 : 0.05;
    const on = await backend(provider);
    const path = join(folder, `${type}.gguf`);
    if (provider === "cpu" && dtype === "auto") await write(type);
    const blocking = provider === "cpu";
    const logitsOf = async (runner: ModelRunner, parameters: Parameters<ModelRunner["forward"]>[0]): Promise<Float32Array[]> => {
      const first = (await runner.forward(parameters, 0, prompts.map((token_ids) => ({ token_ids, past: 0 })), blocking)).slice();
      const second = (await runner.forward(parameters, 0, next.map((id, b) => ({ token_ids: [id], past: prompts[b]!.length })), blocking)).slice();
      const further = (await runner.extend(parameters, 1, 3, [40, 41, 42], 2, blocking)).slice();
      await runner.dispose();
      return [first, second, further];
    };
    const plain = await loadModel(on, path);
    const frozen = await loadFrozenModel(on, path, { dtype });
    const size = { max_num_seqs: 2, max_model_len: 16 };
    const want = await logitsOf(new ModelRunner(on, config, size), plain.parameters);
    const got = await logitsOf(new ModelRunner(on, config, { ...size, frozen: frozen.parameters }), {});
    const rootMeanSquare = (row: Float32Array): number => Math.sqrt(row.reduce((s, v) => s + v * v, 0) / row.length);
    for (const [k, row] of want.entries()) {
      expect(got[k]!.length).toBe(row.length);
      expect(rootMeanSquare(got[k]!.map((value, i) => value - row[i]!))).toBeLessThan(bar * rootMeanSquare(row));
    }
    expect(Object.keys(frozen.parameters)).toContain("model.layers.0.self_attn.qkv_proj.weight");
    disposeParameters(frozen.parameters);
    disposeParameters(plain.parameters);
  });
});

test.each(["Q8_0", "Q4_0", "Q4_K_M"] as const)("%s: whoever reads the blocks, a model's numbers are the same, and are there when it says so", async (type) => {
  const on = await backend("cpu");
  const path = await write(type, `blocks-${type}`);
  // Plain loops; our kernels, where there are any; our kernels, which know no type.
  const ways: Backend[] = [{ ...on, hasOwnKernels: async () => false }, on, { ...on, hasOwnKernels: () => on.hasOwnKernels(), ownFunctions: () => on.ownFunctions() && { ...on.ownFunctions()!, readBlocks: async () => false } }];
  const numbers = async (way: Backend): Promise<Record<string, number[]>> => {
    const { parameters } = await loadFrozenModel(way, path);
    const tensors = Object.entries(parameters).flatMap(([name, p]): [string, DeviceTensor | undefined][] => ("blocks" in p ? [[`${name}/blocks`, p.blocks], [`${name}/scales`, p.scales], [`${name}/offsets`, p.offsets]] : [[name, p]]));
    await Promise.all(tensors.map(([, tensor]) => tensor?.load?.("data")));
    const found = Object.fromEntries(tensors.flatMap(([name, tensor]) => (tensor ? [[name, Array.from(tensor.data as Float32Array)]] : [])));
    disposeParameters(parameters);
    return found;
  };
  const [plain, ...others] = await Promise.all(ways.map(numbers));
  expect(Object.keys(plain!).length).toBeGreaterThan(20);
  for (const other of others) expect(other).toEqual(plain);
});

describe("a GGUF file's matrices", () => {
  const size = { max_num_seqs: 1, max_model_len: 16 };
  const linear = "model.layers.0.mlp.down_proj.weight";
  const blocksOf = (parameters: ModelParameters, name: string): DeviceTensor => (parameters[name] as QuantizedTensors).blocks;
  const written = ({ data }: DeviceTensor): boolean => (data as Uint8Array).some((byte) => byte !== 0);
  const load = (parameters: ModelParameters): Promise<unknown> => Promise.all(Object.values(parameters).map((p) => ("blocks" in p ? p.blocks : p).load?.("data")));
  async function logitsOf(on: Backend, frozen: ModelParameters, session: SessionOptions = {}): Promise<Float32Array> {
    const runner = new ModelRunner(on, config, { ...size, frozen, session });
    const logits = (await runner.extend({}, 0, 0, prompts[0]!, 1, true)).slice();
    await runner.dispose();
    return logits;
  }

  test.each(["Q8_0", "Q4_0", "Q4_K_M"] as const)("%s: tiles made straight from a file say what tiles made of its blocks say", async (type) => {
    const on = await backend("cpu");
    if (!(await on.hasOwnKernels())) return;
    const path = await write(type, `tiles-${type}`);
    const { parameters } = await loadFrozenModel(on, path);
    const straight = await logitsOf(on, parameters);
    // Blocks that only our operators read were never there.
    expect([linear, "model.embed_tokens.weight"].map((name) => written(blocksOf(parameters, name)))).toEqual([false, false]);
    const throughBlocks = (await loadFrozenModel(on, path)).parameters;
    await load(throughBlocks);
    expect(written(blocksOf(throughBlocks, linear))).toBe(true);
    expect(await logitsOf(on, throughBlocks)).toEqual(straight);

    // A session that reads blocks has them all the same.
    const library = await logitsOf(on, throughBlocks, { ownKernels: false });
    expect(await logitsOf(on, parameters, { ownKernels: false })).toEqual(library);
    expect(library).not.toEqual(straight);
    expect(await logitsOf(on, parameters)).toEqual(straight);
    for (const each of [parameters, throughBlocks]) disposeParameters(each);
  });

  test("may be disposed of while they are read", async () => {
    const on = await backend("cpu");
    const [path, other] = [await write("Q8_0", "disposed"), await write("Q4_0", "disposed-4")];
    const fresh = async (from: string): Promise<Float32Array> => {
      const { parameters } = await loadFrozenModel(on, from);
      const logits = await logitsOf(on, parameters);
      disposeParameters(parameters);
      return logits;
    };
    const [eight, four] = [await fresh(path), await fresh(other)];
    for (let i = 0; i < 20; i++) for (const from of [path, other]) disposeParameters((await loadFrozenModel(on, from)).parameters);
    expect([await fresh(path), await fresh(other)]).toEqual([eight, four]);
  });

  test("are read when a program needs them, and in the form that it needs, of the file whose header was read and no other", async () => {
    const on = await backend("cpu");
    if (!(await on.hasOwnKernels())) return;
    const path = await write("Q8_0", "changes");
    const { parameters } = await loadFrozenModel(on, path);
    const straight = await logitsOf(on, parameters);
    await appendFile(path, "more");
    await expect(logitsOf(on, parameters, { ownKernels: false })).rejects.toMatchObject({ code: "bad_file", message: expect.stringContaining("changed") });
    expect(await logitsOf(on, parameters)).toEqual(straight);
    disposeParameters(parameters);
  });
});

test("a long prompt alone, which is computed in pieces, says what it says beside another", async () => {
  const on = await backend("cpu");
  const parameters = Object.fromEntries(specs.map(({ name, shape }) => [name, on.tensorOver("float32", shape, values[name]!)]));
  const runner = new ModelRunner(on, config, { max_num_seqs: 2, max_model_len: 640 });
  const prompt = Array.from({ length: 600 }, (_, i) => (i * 37) % config.vocab_size);
  const beside = (await runner.forward(parameters, 0, [{ token_ids: prompt, past: 0 }, { token_ids: prompt.slice(0, 40), past: 0 }], true)).slice(0, config.vocab_size);
  expect(Math.max(...beside)).toBeGreaterThan(0.01);
  const furthest = (from: Float32Array): number => from.reduce((worst, value, i) => Math.max(worst, Math.abs(value - beside[i]!)), 0);
  expect(furthest(await runner.extend(parameters, 0, 0, prompt, 1, true))).toBeLessThan(1e-5);
  // Logits of more tokens than a piece has: the last of them is the same.
  for (const wanted of [1, 300, 600]) expect(furthest((await runner.extend(parameters, 0, 0, prompt, wanted, true)).slice((wanted - 1) * config.vocab_size))).toBeLessThan(1e-5);
  await runner.dispose();
  disposeParameters(parameters);
});

test("names of speed tests", () => {
  for (const name of ["pp:512", "tg:1:128", "tg:64:2048"]) expect(testName(parseTest(name)!)).toBe(name);
  for (const name of ["pp", "pp:0", "tg:1", "tg:0:5", "tg:1:128:3", "xx:1", "pp:-1", ""]) expect(parseTest(name)).toBeNull();
});

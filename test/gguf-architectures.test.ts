import { readdirSync } from "node:fs";
import { describe, expect, onTestFinished, test } from "vitest";
import type { DeepseekV3Config } from "../src/model/index.ts";
import { bytesSource, openCheckpoint, type Checkpoint } from "../src/weights/index.ts";
import { openGgufCheckpoint } from "../src/weights/gguf-model.ts";
import { fixture, hasFixture, readFixture } from "./fixtures.ts";
import { absorbed, ggufMetadata, ggufTensors, writeGguf } from "./gguf-writer.ts";

const names = hasFixture("models") ? readdirSync(fixture("models"), { withFileTypes: true }).filter((entry) => entry.isDirectory()).map(({ name }) => name) : [];

/** A configuration without what GGUF has no key for: a fresh model's deviation, and how a converter has ordered the rotation. */
const storable = ({ initializer_range: _range, ...config }: Checkpoint["config"]): object => ({ ...config, ...("rope_interleave" in config && { rope_interleave: true }) });

describe.each(names)("%s by way of GGUF", (name) => {
  const open = async (): Promise<Checkpoint> => {
    const checkpoint = await openCheckpoint(fixture("models", name));
    onTestFinished(() => checkpoint.close());
    return checkpoint;
  };

  const expectSame = async (bytes: Uint8Array, want: Checkpoint): Promise<void> => {
    const got = await openGgufCheckpoint(bytesSource(bytes, "model.gguf"));
    expect(storable(got.config)).toEqual(storable(want.config));
    expect(got.names).toEqual(want.names);
    for (const parameter of want.names) {
      const { shape, data } = await want.read(parameter);
      const into = new Float32Array(data.length);
      expect((await got.read(parameter, shape)).data, parameter).toEqual(data);
      expect((await got.read(parameter, shape, into)).data, parameter).toBe(into);
      expect(into, parameter).toEqual(data);
    }
  };

  test("has the same configuration and the same parameters", async () => {
    const want = await open();
    await expectSame(writeGguf(ggufMetadata(want.config), await ggufTensors(want)), want);
  });

  const latent = readFixture<{ model_type: string }>("models", name, "config.json").model_type === "deepseek_v3";
  test.runIf(latent)("with absorbed attention too", async () => {
    const want = await open();
    const config = want.config as DeepseekV3Config;
    const keys = ggufMetadata(config);
    const absorbedKeys = {
      ...keys,
      "deepseek2.attention.head_count_kv": 1,
      "deepseek2.attention.key_length": config.kv_lora_rank + config.qk_rope_head_dim,
      "deepseek2.attention.value_length": config.kv_lora_rank,
      "deepseek2.attention.key_length_mla": config.qk_nope_head_dim + config.qk_rope_head_dim,
      "deepseek2.attention.value_length_mla": config.v_head_dim,
    };
    await expectSame(writeGguf(absorbedKeys, absorbed(config, await ggufTensors(want))), want);
  });

  test("a tensor that is not there is named, and another architecture too", async () => {
    const want = await open();
    const tensors = await ggufTensors(want);
    tensors.delete("output_norm.weight");
    const got = await openGgufCheckpoint(bytesSource(writeGguf(ggufMetadata(want.config), tensors), "model.gguf"));
    await expect(got.read("model.norm.weight")).rejects.toMatchObject({ code: "not_found", facts: { expected: "output_norm.weight" } });
    const other = { ...ggufMetadata(want.config), "general.architecture": "rwkv7" };
    await expect(openGgufCheckpoint(bytesSource(writeGguf(other, tensors), "model.gguf"))).rejects.toMatchObject({ code: "unsupported", facts: { got: "rwkv7" } });
  });
});

/** As llama.cpp computes them; a Llama file, changed. */
describe.runIf(names.includes("llama_gqa"))("a file that says more than its converter writes", () => {
  const bias = (size: number) => ({ shape: [size], data: Float32Array.from({ length: size }, (_, i) => i + 1) });
  const changed = async (keys: Parameters<typeof writeGguf>[0], extra: Record<string, { shape: number[]; data: Float32Array }> = {}): Promise<Checkpoint> => {
    const want = await openCheckpoint(fixture("models", "llama_gqa"));
    const tensors = await ggufTensors(want);
    tensors.delete("rope_freqs.weight");
    await want.close();
    return openGgufCheckpoint(bytesSource(writeGguf({ ...ggufMetadata({ ...want.config, rope: { rope_type: "default", rope_theta: 10_000 } }), ...keys }, new Map([...tensors, ...Object.entries(extra)])), "model.gguf"));
  };
  const rope = async (keys: Parameters<typeof writeGguf>[0], factors?: number[]) => (await changed(keys, factors && { "rope_freqs.weight": { shape: [factors.length], data: Float32Array.from(factors) } })).config.rope;

  test.each([
    ["attn_output", "self_attn.o_proj", ["self_attn.q_proj", "self_attn.v_proj"]],
    ["ffn_down", "mlp.down_proj", ["mlp.gate_proj", "mlp.up_proj"]],
  ])("one bias, %s, makes the others of its kind zeros", async (tensor, given, others) => {
    const { config, read } = await changed({}, { [`blk.1.${tensor}.bias`]: bias(64) });
    expect(config).toMatchObject({ attention_bias: tensor === "attn_output", mlp_bias: tensor === "ffn_down" });
    expect((await read(`model.layers.1.${given}.bias`)).data).toEqual(bias(64).data);
    for (const other of [`model.layers.0.${given}`, ...others.map((module) => `model.layers.1.${module}`)]) expect((await read(`${other}.bias`)).data.every((value) => value === 0), other).toBe(true);
  });

  test("the rotation is interpolated by the older key too, and by what the factors leave", async () => {
    const linear = { rope_type: "linear", rope_theta: 10_000, factor: 4 };
    expect(await rope({ "llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 4 })).toEqual(linear);
    expect(await rope({ "llama.rope.scale_linear": 4 })).toEqual(linear);
    expect(await rope({ "llama.rope.scaling.factor": 4 })).toEqual(linear);
    expect(await rope({ "llama.rope.scaling.factor": 4 }, Array<number>(8).fill(1))).toEqual(linear);
    expect(await rope({ "llama.rope.scaling.factor": 2 }, Array<number>(8).fill(2))).toEqual(linear);
    expect(await rope({ "llama.rope.scaling.type": "none", "llama.rope.scaling.factor": 4 })).toEqual({ rope_type: "default", rope_theta: 10_000 });
  });

  test.each([
    ["a tensor of the output that nothing takes", {}, { "output.bias": bias(320) }, "output.bias"],
    ["a norm behind attention", {}, { "blk.0.post_attention_norm.weight": bias(64) }, "blk.0.post_attention_norm.weight"],
    ["a layer more than it counts", {}, { "blk.2.attn_q.weight": bias(64) }, "blk.2.attn_q.weight"],
    ["a factor on cos and sin without YaRN", { "llama.rope.scaling.attn_factor": 0.7 }, {}, 0.7],
    ["YaRN over factors", { "llama.rope.scaling.type": "yarn", "llama.rope.scaling.factor": 2 }, { "rope_freqs.weight": bias(8) }, "yarn"],
    ["attention to later tokens", { "llama.attention.causal": false }, {}, false],
  ])("%s is refused by name", async (_, keys, tensors, got) => {
    await expect(changed(keys as Record<string, string>, tensors)).rejects.toMatchObject({ code: "unsupported", facts: { got } });
  });

  test("an id that the vocabulary lacks is none, and so is a value that sampling cannot take", async () => {
    const { config, generationConfig } = await changed({
      "tokenizer.ggml.padding_token_id": 2 ** 32 - 1,
      "tokenizer.ggml.eot_token_id": 3,
      "tokenizer.ggml.eom_token_id": 10_000,
      "general.sampling.temp": 0.7,
      "general.sampling.top_p": 0,
      "general.sampling.min_p": 7,
      "general.sampling.top_k": 40,
    });
    expect(config).toMatchObject({ pad_token_id: null, eos_token_id: [315, 3] });
    expect(generationConfig).toEqual({ bos_token_id: config.bos_token_id, eos_token_id: [315, 3], pad_token_id: null, do_sample: true, temperature: 0.7, top_k: 40 });
  });

  test("modules that guess further tokens, and a picture's encoder, are left aside", async () => {
    const { config, names: read } = await changed({ "llama.block_count": 3, "llama.nextn_predict_layers": 1 }, { "blk.2.nextn.eh_proj.weight": bias(8), "blk.2.attn_norm.weight": bias(64), "v.patch_embd.weight": bias(8) });
    expect(config.num_hidden_layers).toBe(2);
    expect(read.filter((name) => name.includes("layers.2"))).toEqual([]);
  });
});

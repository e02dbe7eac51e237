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

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { loadServedModel, shippedModel } from "../src/cli/load-model.ts";
import { initParameters, llamaConfig, parameterSpecs } from "../src/model/index.ts";
import { random } from "../src/random/index.ts";
import { liveObjects } from "../src/runtime/lifetime.ts";
import { writeGguf } from "../src/weights/index.ts";

test("a model that cannot be served leaves nothing behind", async () => {
  const folder = await mkdtemp(join(tmpdir(), "longjing-load-failure-"));
  try {
    const path = join(folder, "mute.gguf");
    const config = llamaConfig({ hidden_size: 64, intermediate_size: 128, num_hidden_layers: 2, num_attention_heads: 2, num_key_value_heads: 1, max_position_embeddings: 64 }, { vocabSize: 96, bosId: 0, eosId: 1, padId: 2 });
    const specs = parameterSpecs(config);
    const values = initParameters(specs, 0.02, random("load failure"));
    const parameters = specs.map(({ name, shape }) => ({ name, shape, dtype: shape.length === 2 ? ("Q8_0" as const) : ("F32" as const), values: async () => values[name]! }));
    await writeGguf(path, { config, generationConfig: null, metadata: {}, parameters });
    const before = { ...liveObjects };
    await expect(loadServedModel(path)).rejects.toMatchObject({ code: "bad_file", message: expect.stringContaining("tokenizer") });
    await expect(loadServedModel(await shippedModel(), { adapter: join(folder, "nowhere") })).rejects.toMatchObject({ code: "not_found" });
    expect(liveObjects).toEqual(before);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

import { join } from "node:path";
import { expect, test } from "vitest";
import { loadFrozenModel, loadModel, ModelRunner } from "../src/engine/index.ts";
import { fixturesDir } from "./fixtures.ts";
import { backend } from "./providers.ts";

test.each(["qwen3_moe", "deepseek_v3_qlora_yarn", "deepseek_v3_noqlora"])("%s frozen says what it says when it can be trained", async (name) => {
  const on = await backend("cpu");
  const path = join(fixturesDir(), "models", name);
  const prompt = [3, 1, 4, 1, 5, 9, 2, 6];
  const said = async (load: typeof loadModel | typeof loadFrozenModel): Promise<Float32Array> => {
    const { config, parameters } = await load(on, path);
    const runner = new ModelRunner(on, config, { max_num_seqs: 1, max_model_len: 16, ...(load === loadFrozenModel && { frozen: parameters }) });
    const logits = (await runner.extend(parameters, 0, 0, prompt, 1, true)).slice();
    await runner.dispose();
    return logits;
  };
  const [free, frozen] = [await said(loadModel), await said(loadFrozenModel)];
  expect(Math.max(...free.map((x, i) => Math.abs(x - frozen[i]!)))).toBeLessThan(1e-3);
});

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { benchSpeed } from "../src/engine/bench-decode.ts";
import { initParameters, parameterSpecs, parseConfig } from "../src/model/index.ts";
import { random } from "../src/random/index.ts";
import { runRecipe } from "../src/train/index.ts";
import { longjing } from "./launcher.ts";
import { backend } from "./providers.ts";
import { recipe } from "./tiny-recipe.ts";

const dir = mkdtempSync(join(tmpdir(), "longjing-measure-"));
const model = join(dir, "checkpoints", "final-step-1");
beforeAll(async () => {
  await runRecipe(recipe, { backend: await backend("cpu"), dir, seed: 3, resume: false, cores: 2, now: () => 0 });
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

test.each([
  [["train", "--size", "S", "--seconds", "0.1", "--threads", "2"], { engine: "longjing", size: "S" }],
  [["grpo", "--model", model, "--size", "own", "--prompts", "2", "--group", "2", "--prompt-tokens", "5", "--new-tokens", "6", "--steps", "1"], { engine: "longjing" }],
  [["decode", model, "tg:3:8", "pp:8", "--repetitions", "1"], { engine: "longjing", test: "pp:8" }],
])("bench %j ends with a JSON line", async (args, facts) => {
  const { code, stdout } = await longjing(["bench", ...args, "--json"]);
  expect(code).toBe(0);
  const result = JSON.parse(stdout.trimEnd().split("\n").at(-1)!) as { tokens_per_second: number | number[] };
  expect(result).toMatchObject(facts);
  for (const rate of [result.tokens_per_second].flat()) expect(rate).toBeGreaterThan(0);
});

test("the speed of a model with a single token is measured", async () => {
  const on = await backend("cpu");
  const config = parseConfig({ model_type: "llama", vocab_size: 1, hidden_size: 8, intermediate_size: 8, num_hidden_layers: 1, num_attention_heads: 1, bos_token_id: 0, eos_token_id: null }, "test");
  const specs = parameterSpecs(config);
  const values = initParameters(specs, 0.1, random("one token"));
  const parameters = Object.fromEntries(specs.map(({ name, shape }) => [name, on.tensorOver("float32", shape, values[name]!)]));
  const { tokens_per_second } = await benchSpeed(on, { config, specs, parameters }, { kind: "tg", batch: 1, context: 4 }, { repetitions: 1, now: () => performance.now() / 1000 });
  expect(Math.min(...tokens_per_second)).toBeGreaterThan(0);
});

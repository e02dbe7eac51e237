import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
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

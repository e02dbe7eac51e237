import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { openStartingModel } from "../src/cli/starting-model.ts";
import { latestCheckpoint, readLog, runRecipe, type RecipeRunOptions } from "../src/train/index.ts";
import { backend } from "./providers.ts";
import { recipe as tiny } from "./tiny-recipe.ts";
import { stagesOn } from "./tiny-stages.ts";

let dir: string;
let from: string;
beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), "longjing-stages-"));
  from = join(dir, "from");
  await run(tiny, { dir: from });
}, 120_000);
afterAll(() => rmSync(dir, { recursive: true, force: true }));

async function run(recipe: typeof tiny, options: Partial<RecipeRunOptions> & { readonly dir: string }): Promise<void> {
  await runRecipe(recipe, { backend: await backend("cpu"), resume: false, cores: 1, now: () => performance.now() / 1000, checkpointEvery: 4, ...options });
}

const weightsOf = (run: string): Buffer => readFileSync(join(latestCheckpoint(run).checkpoint!.path, "model.safetensors"));
const metricsOf = (run: string, stage: string): Record<string, number>[] => readLog(join(run, "log.jsonl")).filter((l) => l.type === "metrics" && l.stage === stage) as unknown as Record<string, number>[];

test("a model that is there is fine-tuned, samples for itself, and learns from a teacher; resumed anywhere, the same bytes come out", async () => {
  const base = await openStartingModel(from);
  const recipe = stagesOn(latestCheckpoint(from).checkpoint!.path);
  const whole = join(dir, "whole");
  await run(recipe, { dir: whole, base });
  const losses = metricsOf(whole, "sft").map(({ loss }) => loss!);
  const mean = (xs: number[]): number => xs.reduce((a, b) => a + b, 0) / xs.length;
  expect(mean(losses.slice(-8))).toBeLessThan(mean(losses.slice(0, 8)));
  const notice = readLog(join(whole, "log.jsonl")).find((l) => l.type === "notice") as unknown as Record<string, number>;
  expect(notice).toMatchObject({ stage: "rejection-sampling", samples: 320 });
  expect(notice.kept).toBeLessThanOrEqual(notice.readable!);
  expect(notice.readable).toBeLessThanOrEqual(notice.correct!);
  const divergences = metricsOf(whole, "distill").map(({ divergence }) => divergence!);
  expect(divergences.every((d) => d >= 0)).toBe(true);
  expect(divergences.at(-1)!).toBeLessThan(divergences[0]!);
  const parts = join(dir, "parts");
  for (const [stage, step] of [["sft", 3], ["rejection-sampling", 2], ["rejection-sampling", 5], ["distill", 2]] as const) {
    const stop = new AbortController();
    await run(recipe, { dir: parts, base, resume: true, signal: stop.signal, report: (event) => void (event.type === "metrics" && event.stage === stage && event.step === step && stop.abort()) });
  }
  await run(recipe, { dir: parts, base, resume: true });
  expect(weightsOf(parts).equals(weightsOf(whole))).toBe(true);
  await base.close();
}, 240_000);

test("a recipe without a model wants one, and a recipe with one takes no other", async () => {
  await expect(run(stagesOn(from), { dir: join(dir, "none") })).rejects.toMatchObject({ code: "bad_argument" });
  const base = await openStartingModel(from);
  await expect(run(tiny, { dir: join(dir, "two"), base })).rejects.toMatchObject({ code: "bad_argument" });
  await base.close();
});

test("a teacher of another vocabulary is refused", async () => {
  const base = await openStartingModel(from);
  const other = stagesOn("test/golden/models/qwen2_tied");
  await expect(run({ ...other, stages: other.stages.slice(2, 3) }, { dir: join(dir, "other"), base })).rejects.toMatchObject({ code: "bad_argument", facts: { expected: `${base.config.vocab_size} tokens` } });
  await base.close();
});

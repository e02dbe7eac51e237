import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { constant } from "../src/optim/index.ts";
import { parity, type Task } from "../src/tasks/index.ts";
import { average, evaluation, loadTensors, preflightStage, rejectionSampling, runRecipe, sft, type Recipe, type Stage } from "../src/train/index.ts";
import { stageEnd } from "../src/train/checkpoint.ts";
import { backend } from "./providers.ts";
import { recipe as tiny } from "./tiny-recipe.ts";

const dir = mkdtempSync(join(tmpdir(), "longjing-earlier-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const problem = (seed: number, index: number) => parity.problem({ split: "train", seed, index, level: 1 });
const document = (seed: number, index: number) => ({ prompt: problem(seed, index).prompt, completion: "<think></think><answer>even</answer>" });
const tuned = (name: string): Stage => sft({ name, steps: 2, buckets: [{ time: 96, batch: 4 }], schedule: constant({ learning_rate: 1e-3, num_warmup_steps: 0 }), document });
/** Everything is right here: what is tested is where the fine-tuning starts. */
const lenient: Task<readonly number[]> = { ...parity, score: () => ({ reward: 1, parts: { correct: 1, format: 1 }, parsed: "" }) };
const sampling = (name: string, from?: string): Stage =>
  rejectionSampling({ name, steps: 1, buckets: [{ time: 128, batch: 4 }], schedule: constant({ learning_rate: 0, num_warmup_steps: 0 }), task: lenient, problem, problems: 4, num_generations: 1, max_completion_length: 8, ...(from !== undefined && { from }) });

const recipe = (...stages: Stage[]): Recipe => ({ ...tiny, stages: [tiny.stages[0]!, tuned("left"), tuned("right"), ...stages] });
const run = async (folder: string, stages: readonly Stage[]): Promise<unknown> =>
  await runRecipe(recipe(...stages), { backend: await backend("cpu"), dir: folder, resume: true, seed: 1, cores: 1, now: () => performance.now() / 1000 });
const after = async (stage: string): Promise<Record<string, readonly number[]>> => {
  const tensors = await loadTensors(stageEnd(dir, stage), "model.safetensors");
  return Object.fromEntries(Object.entries(tensors).map(([name, { data }]) => [name, [...data]]));
};

beforeAll(async () => {
  await run(dir, [average({ of: ["left", "right"] }), sampling("onward"), sampling("anew", "left"), average({ name: "back", of: ["right"] })]);
});

test("an average is the mean of each parameter, to a rounding of float32", async () => {
  const [left, right, mean] = [await after("left"), await after("right"), await after("average")];
  expect(left).not.toEqual(right);
  for (const [name, values] of Object.entries(mean)) values.forEach((value, i) => expect(value).toBeCloseTo((left[name]![i]! + right[name]![i]!) / 2, 6));
});

test("rejection sampling goes on with its policy, or anew from an earlier stage", async () => {
  expect(await after("onward")).toEqual(await after("average"));
  expect(await after("anew")).toEqual(await after("left"));
});

test("the average of one stage is that stage", async () => {
  expect(await after("back")).toEqual(await after("right"));
});

test("a stage that starts from one that does not come before it is refused before anything is trained", async () => {
  const folder = join(dir, "refused");
  for (const stage of [average({ of: ["left", "later"] }), average({ of: ["average"] }), sampling("anew", "later"), sampling("anew", "anew")])
    await expect(run(folder, [stage])).rejects.toMatchObject({ code: "bad_argument", message: expect.stringContaining(stage.name) as string });
  expect(existsSync(folder)).toBe(false);
});

test("a stage of nothing is refused where it is made", () => {
  const schedule = constant({ learning_rate: 0 });
  const none: readonly (() => Stage)[] = [
    () => average({ of: [] as unknown as [string] }),
    () => sft({ steps: 1, buckets: [], schedule, document }),
    () => sft({ steps: 1, buckets: [{ time: 96, batch: 0 }], schedule, document }),
    () => evaluation("e", parity, { count: 0, samples: 1, max_tokens: 8, level: 1 }),
    () => evaluation("e", parity, { count: 1, samples: 0, max_tokens: 8, level: 1 }),
    () => preflightStage({ task: parity, problem, problems: 0, num_generations: 2, max_tokens: 8 }),
    () => rejectionSampling({ steps: 1, buckets: [{ time: 128, batch: 4 }], schedule, task: parity, problem, problems: 0.5, num_generations: 1, max_completion_length: 8 }),
  ];
  for (const make of none) expect(make).toThrow(expect.objectContaining({ code: "bad_argument" }));
});

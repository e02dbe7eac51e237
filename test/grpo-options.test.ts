import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { constant } from "longjing/optim";
import { parity, type ParityGold, type Problem, type Task } from "longjing/tasks";
import { grpo, readLog, runRecipe, type GrpoOptions, type PolicyLossOptions, type TimedLogLine } from "longjing/train";
import { afterAll, describe, expect, test } from "vitest";
import { backend } from "./providers.ts";
import { recipe } from "./tiny-recipe.ts";

const dir = mkdtempSync(join(tmpdir(), "longjing-grpo-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const problem = (seed: number, index: number): Problem<ParityGold> => parity.problem({ split: "train", seed, index, level: 1 });
/** Rewards that differ within a group whatever the model has learnt: what is tested is the step. */
const task: Task<ParityGold> = {
  ...parity,
  score: (_, completion) => {
    const correct = [...completion].reduce((sum, c) => sum + c.charCodeAt(0), 0) % 2;
    return { reward: correct, parts: { correct, format: 1 }, parsed: completion };
  },
};
const common = { task, problem, steps: 3, prompts: 4, num_generations: 4, max_completion_length: 24, minibatch: 8, schedule: constant({ learning_rate: 1e-3 }), reward_weights: { accuracy: 1, format: 1 } } as const;
let runs = 0;

/** A short pretraining, then three steps of GRPO with these options; the log's lines of GRPO and the final weights. */
async function train(options: Partial<GrpoOptions<ParityGold>>): Promise<{ lines: TimedLogLine[]; before: Buffer; after: Buffer }> {
  const folder = join(dir, String(runs++));
  const stages = [recipe.stages[0]!, grpo({ ...common, ...options })];
  await runRecipe({ ...recipe, stages }, { backend: await backend("cpu"), dir: folder, seed: 5, resume: false, cores: 2, now: () => performance.now() / 1000 });
  const weights = (name: string): Buffer => readFileSync(join(folder, "checkpoints", name, "model.safetensors"));
  return { lines: readLog(join(folder, "log.jsonl")).filter((l) => l.stage === "grpo" && l.type === "metrics"), before: weights("pretrain-step-30"), after: weights("grpo-step-3") };
}

const losses: readonly (readonly [string, Partial<PolicyLossOptions>])[] = [
  ["grpo", { loss_type: "grpo" }],
  ["bnpo", { loss_type: "bnpo" }],
  ["dr_grpo", { loss_type: "dr_grpo" }],
  ["dapo with clip-higher", { loss_type: "dapo", epsilon_high: 0.28 }],
  ["cispo", { loss_type: "cispo", epsilon_high: 5 }],
  ["gspo", { loss_type: "grpo", importance_sampling_level: "sequence", epsilon: 3e-4, epsilon_high: 4e-4 }],
  ["dual clip", { delta: 3 }],
  ["k1", { beta: 0.05, kl_estimator: "k1" }],
];

test.each(losses)("%s trains: finite loss, changed weights, on-policy at first", async (_, loss) => {
  const { lines, before, after } = await train({ loss });
  expect(lines).toHaveLength(3);
  for (const line of lines) {
    expect(Number.isFinite(line.loss)).toBe(true);
    expect(line["sampling/on_policy_deviation"]).toBeLessThan(1e-3);
  }
  expect(after.equals(before)).toBe(false);
});

describe("what a step is made of", () => {
  test("dynamic sampling trains on groups with signal, within its limit of rollouts", async () => {
    const { lines } = await train({ max_rollouts: 4, reward_weights: { accuracy: 1, format: 0 } });
    for (const line of lines) {
      expect(line.rollouts).toBeLessThanOrEqual(4);
      // Below the limit the step was filled; every group that was kept has right and wrong completions.
      if ((line.rollouts as number) < 4) expect(line.frac_reward_zero_std).toBe(0);
    }
  });

  test("soft overlong punishment lowers the reward of long completions", async () => {
    const { lines } = await train({ soft_punish_cache: 20 });
    expect(lines.every((line) => (line["rewards/overlong/mean"] as number) <= 0)).toBe(true);
    expect(lines.some((line) => (line["rewards/overlong/mean"] as number) < 0)).toBe(true);
  });

  test("shuffled rewards keep their mean and lose their meaning", async () => {
    const [honest, shuffled] = [await train({}), await train({ shuffle_rewards: true })];
    // The first step samples from the same weights, so the same rewards are dealt out.
    expect(shuffled.lines[0]!.reward).toBeCloseTo(honest.lines[0]!.reward as number, 10);
    expect(shuffled.after.equals(honest.after)).toBe(false);
  });

  test("completions cut at the limit can be left out of the loss", async () => {
    const { lines } = await train({ mask_truncated_completions: true, max_completion_length: 6 });
    expect(lines).toHaveLength(3);
    expect(lines.every((line) => Number.isFinite(line.loss))).toBe(true);
  });
});

test.each<Partial<GrpoOptions<ParityGold>>>([
  { reward_weights: { accuracy: Number.NaN } },
  { reward_weights: { acuracy: 1 } },
  { reward_funcs: [], reward_weights: {} },
  { reward_funcs: [{ name: "a", reward: () => 0 }, { name: "a", reward: () => 1 }], reward_weights: {} },
  { num_generations: 1 },
  { prompts: 0.5 },
  { max_rollouts: 0 },
  { best_window_steps: 0 },
  { temperature: 0 },
])("%o is refused where the stage is made", (options) => {
  expect(() => grpo({ ...common, ...options })).toThrow(expect.objectContaining({ code: "bad_argument" }));
});

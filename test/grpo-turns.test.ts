import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { llamaConfig } from "longjing/model";
import { constant } from "longjing/optim";
import { guess, transcripts, type GuessGold, type Problem } from "longjing/tasks";
import { hermes, toolInstructions, trainWordVocabulary } from "longjing/text";
import { evaluation, grpo, pretrain, readLog, runRecipe, solveRateCurriculum, withoutClock, type Recipe, type RecipeEvent } from "longjing/train";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { backend } from "./providers.ts";

const dir = mkdtempSync(join(tmpdir(), "longjing-turns-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const corpus = { split: "train", levels: [1], longShare: 0.5 } as const;
const problem = (seed: number, index: number, level = 1): Problem<GuessGold> => guess.problem({ split: "train", seed, index, level });
const texts = (): string[] => [...transcripts(guess, { ...corpus, seed: 0, count: 100 })].flatMap(({ prompt, completion, tools = [], exchanges = [] }) => [toolInstructions(hermes, tools), `${prompt}${completion}`, ...exchanges.map((e) => e.completion)]);
const steps = 6;
const last = `grpo-step-${steps}`;

/** Several turns, a curriculum and a best checkpoint, as small as can be. */
const recipe: Recipe = {
  name: "tiny-turns",
  description: "GRPO over conversations",
  tokenizer: () => trainWordVocabulary(texts(), { vocabSize: 360 }),
  model: (tokenizer) => llamaConfig({ hidden_size: 48, intermediate_size: 96, num_hidden_layers: 2, num_attention_heads: 2 }, tokenizer),
  stages: [
    pretrain({ steps: 150, batch: 4, time: 320, schedule: constant({ learning_rate: 5e-3, num_warmup_steps: 5 }), documents: (seed, start) => transcripts(guess, { ...corpus, seed, start, count: Number.MAX_SAFE_INTEGER }) }),
    grpo({
      task: guess,
      problem,
      steps,
      prompts: 3,
      num_generations: 4,
      max_completion_length: 160,
      max_turn_length: 60,
      max_tool_calling_iterations: 4,
      minibatch: 6,
      schedule: constant({ learning_rate: 1e-3 }),
      curriculum: solveRateCurriculum({ levels: 2, raise_at: 0, lower_at: -1, window: 4 }),
      best_window_steps: 2,
      log_completions_steps: 2,
    }),
    evaluation("final", guess, { count: 4, samples: 2, max_tokens: 120, level: 1 }),
  ],
};

async function train(folder: string, until: (event: RecipeEvent) => boolean = () => false): Promise<"finished" | "stopped"> {
  const stop = new AbortController();
  const report = (event: RecipeEvent): void => {
    if (until(event)) stop.abort();
  };
  return runRecipe(recipe, { backend: await backend("cpu"), dir: folder, seed: 3, resume: true, cores: 2, now: () => performance.now() / 1000, report, signal: stop.signal });
}
const outcome = (folder: string): unknown => [withoutClock(readLog(join(folder, "log.jsonl"))), readFileSync(join(folder, "checkpoints", last, "SHA256SUMS"), "utf8")];

describe("GRPO over conversations", () => {
  const straight = join(dir, "straight");
  beforeAll(async () => {
    expect(await train(straight)).toBe("finished");
  }, 120_000);
  const metrics = () => readLog(join(straight, "log.jsonl")).filter(({ stage, type }) => stage === "grpo" && type === "metrics");

  test("the run is worth looking at: tools are called, the level rises, something is learnt from", () => {
    const lines = metrics();
    expect(lines).toHaveLength(steps);
    expect(lines.every((line) => (line["tools/call_frequency"] as number) > 0 && (line["num_turns/mean"] as number) > 1)).toBe(true);
    expect(new Set(lines.map((line) => line["curriculum/level"]))).toEqual(new Set([1, 2]));
    expect(lines.some((line) => (line["frac_reward_zero_std"] as number) < 1)).toBe(true);
    // What the engine sampled turn by turn is what the trainer sees as a whole.
    for (const line of lines) expect(line["sampling/on_policy_deviation"]).toBeLessThan(1e-3);
  });

  test("the best checkpoint is kept beside the last", () => {
    const marks = readdirSync(join(straight, "checkpoints")).flatMap((name) => {
      const { stage, step, marks } = JSON.parse(readFileSync(join(straight, "checkpoints", name, "state.json"), "utf8")) as { stage: string; step: number; marks: string[] };
      return stage === "grpo" ? marks.map((mark) => [mark, step] as const) : [];
    });
    const rewards = metrics().map((line) => line["reward"] as number);
    const levels = metrics().map((line) => line["curriculum/level"] as number);
    const windows = [2, 4, 6].map((end) => ({ end, level: levels[end - 1]!, reward: (rewards[end - 2]! + rewards[end - 1]!) / 2 }));
    const best = windows.reduce((a, b) => (b.level > a.level || (b.level === a.level && b.reward > a.reward) ? b : a));
    expect(marks).toContainEqual(["last", steps]);
    expect(marks).toContainEqual(["best", best.end]);
  });

  test("stopped after every step and resumed, it ends in the same bytes", async () => {
    const folder = join(dir, "every");
    let sessions = 1;
    for (; (await train(folder, (event) => event.type === "metrics" && event.stage === "grpo")) === "stopped"; sessions++);
    expect(sessions).toBeGreaterThanOrEqual(steps);
    expect(outcome(folder)).toEqual(outcome(straight));
  });
});

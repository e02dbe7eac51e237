import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { readLog, runRecipe, withoutClock, type RecipeEvent, type RecipeRunOptions } from "../src/train/index.ts";
import { backend } from "./providers.ts";
import { recipe } from "./tiny-recipe.ts";

const dir = mkdtempSync(join(tmpdir(), "longjing-resume-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

type Options = Partial<Omit<RecipeRunOptions, "backend" | "dir">>;

/** Runs or resumes; ends as soon as `until` says so of an event. */
async function train(folder: string, options: Options = {}, until: (event: RecipeEvent) => boolean = () => false): Promise<"finished" | "stopped"> {
  const stop = new AbortController();
  const report = (event: RecipeEvent): void => {
    if (until(event)) stop.abort();
  };
  return await runRecipe(recipe, { backend: await backend("cpu"), dir: folder, seed: 3, resume: true, checkpointEvery: 3, cores: 2, now: () => performance.now() / 1000, report, signal: stop.signal, ...options });
}

/** All of a run that must not depend on when it was stopped. */
function outcome(folder: string): unknown {
  const checkpoints = join(folder, "checkpoints");
  const sums = ["pretrain-step-30", "base-step-1", "grpo-step-8", "final-step-1"].map((name) => [name, readFileSync(join(checkpoints, name, "SHA256SUMS"), "utf8")]);
  return { sums, log: withoutClock(readLog(join(folder, "log.jsonl"))) };
}

describe("a run that is stopped and resumed equals one that never was", () => {
  const straight = join(dir, "straight");
  beforeAll(async () => {
    expect(await train(straight)).toBe("finished");
  });

  test("the run is worth comparing: rewards differ within groups, and the reference is behind the policy", () => {
    const steps = readLog(join(straight, "log.jsonl")).filter(({ stage, type }) => stage === "grpo" && type === "metrics");
    expect(steps).toHaveLength(8);
    expect(steps.some(({ frac_reward_zero_std }) => (frac_reward_zero_std as number) < 1)).toBe(true);
    expect(steps.some(({ kl }) => (kl as number) > 0)).toBe(true);
  });

  const moments: readonly [string, string, number][] = [
    ["stage", "pretrain", 0],
    ["metrics", "pretrain", 30],
    ["stage", "base", 0],
    ["metrics", "grpo", 8],
    ["progress", "final", 1],
  ];

  test.each(moments)("at %s of %s, step %d", async (type, stage, step) => {
    const folder = join(dir, `${type}-${stage}-${step}`);
    expect(await train(folder, {}, (event) => event.type === type && "stage" in event && event.stage === stage && event.step >= step)).toBe("stopped");
    expect(await train(folder)).toBe("finished");
    expect(outcome(folder)).toEqual(outcome(straight));
  });

  test("at every step in turn", async () => {
    const folder = join(dir, "every");
    let sessions = 1;
    for (; (await train(folder, {}, (event) => event.type === "metrics" || event.type === "evaluation")) === "stopped"; sessions++);
    expect(sessions).toBeGreaterThan(30);
    expect(outcome(folder)).toEqual(outcome(straight));
  });
});

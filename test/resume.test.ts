import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
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
async function train(folder: string, options: Options = {}, until: (event: RecipeEvent) => boolean = () => false, made = recipe): Promise<"finished" | "stopped"> {
  const stop = new AbortController();
  const report = (event: RecipeEvent): void => {
    if (until(event)) stop.abort();
  };
  return await runRecipe(made, { backend: await backend("cpu"), dir: folder, seed: 3, resume: true, checkpointEvery: 3, cores: 2, now: () => performance.now() / 1000, report, signal: stop.signal, ...options });
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

  test("steps that it was not to take at first are taken, and are those of a run that was to take them", async () => {
    const folder = join(dir, "longer");
    const begin = { ...recipe, stages: recipe.stages.slice(0, 1) };
    expect(await train(folder, { maxSteps: 10 }, () => false, begin)).toBe("finished");
    expect(await train(folder, {}, () => false, begin)).toBe("finished");
    const tensors = (of: string): string[] => readFileSync(join(of, "checkpoints", "pretrain-step-30", "SHA256SUMS"), "utf8").split("\n").filter((line) => line.endsWith(".safetensors"));
    expect(tensors(folder)).toEqual(tensors(straight));
  });

  test("what later stages are built on is not changed under them, and the record stays true", async () => {
    const config = readFileSync(join(straight, "config.json"), "utf8");
    const checkpoints = readdirSync(join(straight, "checkpoints"));
    const longer = { ...recipe, stages: recipe.stages.map((stage) => (stage.name === "grpo" ? { ...stage, steps: 12 } : stage)) };
    await expect(train(straight, {}, () => false, longer)).rejects.toMatchObject({ code: "conflict", message: expect.stringMatching(/grpo: 8 steps; expected: 12 steps/) });
    expect(readFileSync(join(straight, "config.json"), "utf8")).toBe(config);
    expect(readdirSync(join(straight, "checkpoints"))).toEqual(checkpoints);
    expect(await train(straight, { maxSteps: 2 })).toBe("finished");
  });

  test("an edited recipe is told of once; a run that did not know its recipe's source is not suspected", async () => {
    const begin = { ...recipe, stages: recipe.stages.slice(0, 1) };
    const folder = join(dir, "edited");
    const warnings = async (options: Options): Promise<readonly string[]> => {
      let told: readonly string[] = [];
      await train(folder, options, (event) => event.type === "start" && ((told = event.warnings), false), begin);
      return told;
    };
    const edited = [expect.stringMatching(/source has changed/)];
    for (const [options, expected] of [[{ maxSteps: 2 }, []], [{ maxSteps: 2, recipeSha256: "aa" }, []], [{ maxSteps: 2 }, []], [{ maxSteps: 2, recipeSha256: "bb" }, edited], [{ maxSteps: 2, recipeSha256: "bb" }, []], [{ maxSteps: 3, recipeSha256: "bb" }, [expect.stringMatching(/: max_steps$/)]]] as const) expect(await warnings(options)).toEqual(expected);
  });

  test("at every step in turn", async () => {
    const folder = join(dir, "every");
    let sessions = 1;
    for (; (await train(folder, {}, (event) => event.type === "metrics" || event.type === "evaluation")) === "stopped"; sessions++);
    expect(sessions).toBeGreaterThan(30);
    expect(outcome(folder)).toEqual(outcome(straight));
  });
});

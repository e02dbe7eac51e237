import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { serve } from "@hono/node-server";
import { constant } from "longjing/optim";
import { judgeReward, remoteReward, rewardApp, taskRewarder } from "longjing/rewards";
import { accuracyReward, codeReward, formatReward, openSandbox, parity, type ParityGold, type Problem, type RewardFunction, type Task } from "longjing/tasks";
import { grpo, readLog, runRecipe, withoutClock, type GrpoOptions, type RecipeRunOptions, type TimedLogLine } from "longjing/train";
import { afterAll, afterEach, describe, expect, test } from "vitest";
import { backend } from "./providers.ts";
import { recipe } from "./tiny-recipe.ts";

const dir = mkdtempSync(join(tmpdir(), "longjing-rewards-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));
const servers: Server[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    server.close();
  }
});

/** Rewards that differ within a group whatever the model has learnt: what is tested is where they come from. */
const task: Task<ParityGold> = {
  ...parity,
  score: (_, completion) => {
    const correct = [...completion].reduce((sum, c) => sum + c.charCodeAt(0), 0) % 2;
    return { reward: correct, parts: { correct, format: Number(completion.length % 3 === 0) }, parsed: completion };
  },
};
const problem = (seed: number, index: number): Problem<ParityGold> => parity.problem({ split: "train", seed, index, level: 1 });
const steps = 4;
const common = { task, problem, steps, prompts: 3, num_generations: 4, max_completion_length: 20, minibatch: 6, schedule: constant({ learning_rate: 1e-3 }) } as const;
const own: RewardFunction<ParityGold> = { name: "remote", reward: ({ score }) => score.reward };

/** A short pretraining, then GRPO with these options, in a folder; resumes what is there. */
async function train(name: string, options: Partial<GrpoOptions<ParityGold>>, more: Partial<RecipeRunOptions> = {}): Promise<string> {
  const folder = join(dir, name);
  const stages = [recipe.stages[0]!, grpo({ ...common, ...options })];
  await runRecipe({ ...recipe, stages }, { backend: await backend("cpu"), dir: folder, seed: 5, resume: true, cores: 2, now: () => performance.now() / 1000, ...more });
  return folder;
}
const linesOf = (folder: string): TimedLogLine[] => readLog(join(folder, "log.jsonl")).filter((l) => l.stage === "grpo" && l.type === "metrics");
const outcome = (folder: string): unknown => [withoutClock(readLog(join(folder, "log.jsonl"))), readFileSync(join(folder, "checkpoints", `grpo-step-${steps}`, "SHA256SUMS"), "utf8")];

/** The task's own rewards over HTTP; `fails` says which requests, counted from 1, are answered by 503. */
async function served(fails: (turn: number) => boolean = () => false): Promise<string> {
  let turn = 0;
  const app = rewardApp(taskRewarder(task));
  const server = serve({ fetch: (request) => (fails(++turn) ? new Response("busy", { status: 503 }) : app.fetch(request)), port: 0, hostname: "127.0.0.1" }) as Server;
  servers.push(server);
  await new Promise<void>((resolve) => server.once("listening", resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/get_reward`;
}

describe("rewards over HTTP", () => {
  test("train what the same rewards at hand train, to the byte, whatever has to be asked again", async () => {
    const straight = await train("at-hand", { reward_funcs: [own] });
    const url = await served((turn) => turn % 3 === 0);
    expect(outcome(await train("over-http", { reward_funcs: [remoteReward(url, { retryDelay: 0.001, concurrency: 4 })] }))).toEqual(outcome(straight));
  });

  test("that fail end the run with their error; it goes on from the step before as if nothing had been", async () => {
    const straight = await train("unbroken", { reward_funcs: [own] });
    const options = { retries: 0, cache: 0 };
    // Twelve completions a step: the third step meets a server that is gone.
    const url = await served((turn) => turn > 30);
    await expect(train("broken", { reward_funcs: [remoteReward(url, options)] })).rejects.toMatchObject({ code: "network" });
    expect(readdirSync(join(dir, "broken", "checkpoints"))).toContain("grpo-step-2");
    expect(outcome(await train("broken", { reward_funcs: [remoteReward(await served(), options)] }))).toEqual(outcome(straight));
  });

  test("that throw are told as the recipe's own fault, with where", async () => {
    const broken: RewardFunction<ParityGold> = { name: "mine", reward: () => { throw new TypeError("no such gold"); } };
    await expect(train("thrown", { reward_funcs: [broken] })).rejects.toMatchObject({ code: "bad_argument", message: expect.stringMatching(/"mine".*TypeError: no such gold at .*grpo-rewards/) as string });
  });

  test("that make the gradients overflow end the run; its newest checkpoint is of the step before", async () => {
    const straight = await train("finite", { reward_funcs: [own] });
    let asked = 0;
    // Each is a finite number, but their difference is none.
    const huge: RewardFunction<ParityGold> = { ...own, reward: (sample) => (++asked > 24 ? 1e308 * (asked % 2 === 0 ? 1 : -1) : own.reward(sample)) };
    await expect(train("overflow", { reward_funcs: [huge] })).rejects.toThrow(/Training has diverged/);
    expect(readdirSync(join(dir, "overflow", "checkpoints")).toSorted()).toEqual(["grpo-step-2", "pretrain-step-30"]);
    expect(outcome(await train("overflow", { reward_funcs: [own] }))).toEqual(outcome(straight));
  });

  test("that fail may leave their samples out", async () => {
    const url = await served((turn) => turn % 2 === 0);
    const lines = linesOf(await train("masked", { reward_funcs: [remoteReward(url, { retries: 0, cache: 0 })], reward_failure: "mask" }));
    expect(lines.map((line) => line["frac_reward_failed"])).toEqual(lines.map(() => 0.5));
    expect(lines.every((line) => Number.isFinite(line["loss"]))).toBe(true);
    const none = linesOf(await train("all-masked", { reward_funcs: [remoteReward(await served(() => true), { retries: 0 })], reward_failure: "mask" }));
    expect(none.map((line) => line["frac_reward_failed"])).toEqual(none.map(() => 1));
  });
});

test("a judge model and a sandbox reward in training", async () => {
  const judge = createServer((request, response) => {
    request.resume().on("end", () => response.end(JSON.stringify({ choices: [{ message: { content: "Well.\nVERDICT: CORRECT" } }] })));
  });
  servers.push(judge);
  await new Promise<void>((resolve) => judge.listen(0, "127.0.0.1", resolve));
  const sandbox = openSandbox({ threads: 1, seconds: 1 });
  const baseUrl = `http://127.0.0.1:${(judge.address() as AddressInfo).port}`;
  const [line] = linesOf(await train("judged", { steps: 1, reward_funcs: [judgeReward({ baseUrl, model: "judge", gold: () => "even" }), codeReward(sandbox, () => [{ stdin: "", stdout: "" }])] }));
  await sandbox.close();
  for (const name of ["judge", "code"]) {
    expect(line![`rewards/${name}/mean`]).toBeGreaterThanOrEqual(0);
    expect(line![`rewards/${name}/mean`]).toBeLessThanOrEqual(1);
  }
});

describe("several reward functions", () => {
  const three = [accuracyReward, formatReward, own];

  test("have a metric each, whatever their weight, and the reward is their weighted sum", async () => {
    const weights = { accuracy: 2, remote: 0.5 };
    for (const line of linesOf(await train("weighted", { reward_funcs: three, reward_weights: weights }))) {
      const mean = (name: string): number => line[`rewards/${name}/mean`] as number;
      expect(line["reward"]).toBeCloseTo(2 * mean("accuracy") + mean("format") + 0.5 * mean("remote"), 10);
    }
  });

  test("are normalised one by one by GDPO, which trains another policy", async () => {
    const [sum, each] = [await train("sum", { reward_funcs: three }), await train("gdpo", { reward_funcs: three, multi_objective_aggregation: "normalize_then_sum" })];
    // The first step samples from the same weights.
    expect(linesOf(each)[0]!["reward"]).toBe(linesOf(sum)[0]!["reward"]);
    expect(outcome(each)).not.toEqual(outcome(sum));
  });

  test("a weight of none of them is refused", async () => {
    await expect(train("stray", { reward_weights: { acuracy: 1 } })).rejects.toThrow(/no reward function.*acuracy/);
  });
});

import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { ReasoningGym } from "../src/cli/reasoning-gym.ts";
import { readEntries, traceWriters } from "../src/tasks/index.ts";

const root = join(import.meta.dirname, "..");
const dir = mkdtempSync(join(tmpdir(), "longjing-gym-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const python = process.env["LONGJING_PYTHON"] ?? "python3";
const installed = spawnSync(python, ["-c", "import reasoning_gym"]).status === 0;

/** A Python that answers by the protocol without reasoning-gym: adding is its only task. */
function stub(): string {
  const path = join(dir, "python");
  const answer = `process.stdin.setEncoding("utf8"); require("node:readline").createInterface({ input: process.stdin }).on("line", (line) => {
    const q = JSON.parse(line);
    const entry = (i) => ({ question: q.config.seed + "+" + i, answer: String(q.config.seed + i), metadata: {} });
    const response = q.task === "none" ? { error: "KeyError: none" } : q.op === "tasks" ? { tasks: ["adding"] } : q.op === "entries" ? { entries: Array.from({ length: q.count }, (_, i) => entry(q.start + i)) } : { score: Number(q.answer === entry(q.index).answer) };
    console.log(JSON.stringify(response));
  });`;
  writeFileSync(path, `#!${process.execPath}\n${answer}\n`, { mode: 0o755 });
  return path;
}

const longjing = (args: readonly string[], env: Readonly<Record<string, string>>): string => execFileSync(process.execPath, [join(root, "bin/longjing"), "tasks", "import", "reasoning-gym", ...args], { env: { ...process.env, ...env }, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });

describe("reasoning-gym over a pipe", () => {
  test("answers belong to their requests, however many are under way", async () => {
    const gym = new ReasoningGym(stub());
    const config = { seed: 7 };
    const asked = [gym.tasks(), gym.score("adding", config, 2, "9"), gym.score("adding", config, 2, "8"), gym.entries("adding", config, 1, 2)];
    expect(await Promise.all(asked)).toEqual([["adding"], 1, 0, [1, 2].map((i) => ({ task: "adding", question: `7+${i}`, answer: String(7 + i), metadata: {} }))]);
    await expect(gym.entries("none", config, 0, 1)).rejects.toThrow(/KeyError: none/);
    expect(await gym.score("adding", config, 0, "7")).toBe(1);
    gym.close();
  });

  test("a Python that is not there, or has no reasoning-gym, says what to do", async () => {
    await expect(new ReasoningGym(join(dir, "no-python")).tasks()).rejects.toThrow(/pip install reasoning-gym/);
  });

  test("problems are written with what makes them again", () => {
    const env = { LONGJING_PYTHON: stub() };
    const out = join(dir, "problems.jsonl");
    const hard = join(dir, "hard.json");
    writeFileSync(hard, JSON.stringify({ levels: { hard: { adding: { config: { seed: 1, terms: 9 } } } } }));
    longjing(["--all", "--hard", hard, "--config", '{"sign":"+"}', "--size", "450", "--seed", "5", "--out", out], env);
    const lines = readFileSync(out, "utf8").trim().split("\n").map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(lines.map((l) => l["index"])).toEqual(Array.from({ length: 450 }, (_, i) => i));
    expect(lines[449]).toMatchObject({ task: "adding", question: "5+449", answer: "454", config: { seed: 5, terms: 9, sign: "+", size: 450 } });
    expect(readEntries(out)).toHaveLength(450);
    expect(longjing(["--task", "adding", "--size", "2"], env).trim().split("\n")).toHaveLength(2);
    expect(() => longjing(["--hard", hard, "--task", "other"], env)).toThrow(/no hard configuration/);
    expect(existsSync(out)).toBe(true);
  });

  test("a file that cannot be written is a failure of the disk, and where there are no problems none is made", () => {
    const env = { LONGJING_PYTHON: stub() };
    for (const out of [join(dir, "nowhere", "problems.jsonl"), ...(existsSync("/dev/full") ? ["/dev/full"] : [])]) expect(() => longjing(["--task", "adding", "--out", out], env)).toThrow(/The problems cannot be written/);
    const out = join(dir, "none.jsonl");
    expect(() => longjing(["--task", "none", "--out", out], env)).toThrow(/KeyError: none/);
    expect(existsSync(out)).toBe(false);
  });

  test.runIf(installed)("every task that is listed makes problems of its own", { timeout: 120_000 }, async () => {
    const gym = new ReasoningGym(python);
    const tasks = await gym.tasks();
    expect(tasks.length).toBeGreaterThan(100);
    for (const task of tasks) expect(await gym.entries(task, { size: 1, seed: 0 }, 0, 1), task).toHaveLength(1);
    gym.close();
  });

  test.runIf(installed)("each trace ends with an answer that reasoning-gym's own verifier accepts", { timeout: 300_000 }, async () => {
    const gym = new ReasoningGym(python);
    const unworked = new Set(["bf", "figlet_font", "maze", "rotten_oranges", "rush_hour", "shortest_path"]);
    for (const task of Object.keys(traceWriters).filter((name) => !unworked.has(name))) {
      const config = { size: 20, seed: 11 };
      for (const [index, entry] of (await gym.entries(task, config, 0, 20)).entries()) {
        const trace = traceWriters[task]!(entry);
        if (trace) expect(await gym.score(task, config, index, trace.answer), `${task} ${index}`).toBe(1);
      }
    }
    gym.close();
  });
});

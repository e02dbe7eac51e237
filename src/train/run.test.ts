import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { fromState, random } from "../random/index.ts";
import type { RandomState } from "../random/index.ts";
import { readLog, withoutClock } from "./log.ts";
import { openRun, readRunConfig, readLedger, runState } from "./run.ts";
import type { Run } from "./run.ts";

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "longjing-run-"));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const config = { seed: 1, recipe: "none" };

/** A trainer of nothing: a random walk that logs where it is. Ends after `until` steps without a word, as if killed. */
function walk(run: Run, until: number, every: number): void {
  const start = run.checkpoint?.step ?? 0;
  const { at, source } = run.checkpoint === null ? { at: 0, source: random("walk").state() } : (run.checkpoint.state as unknown as { at: number; source: RandomState });
  const stream = fromState(source);
  let position = at;
  for (let step = start; step < until; step++) {
    position += stream.normal();
    run.log({ stage: "walk", step, position }, { step_time: Math.E });
    run.account("walk", { seconds: 1, cores: 2, tokens: 3, flops: 4 });
    if ((step + 1) % every !== 0) continue;
    const tensor = { shape: [1], data: Float32Array.of(position) };
    run.save({ stage: "walk", step: step + 1, tensors: { position: tensor }, optimizer: { position: tensor }, state: { at: position, source: [...stream.state()] } });
  }
}

/** Opens, walks, and drops the lock, as the death of a process does. */
function session(folder: string, until: number, every: number): void {
  const run = openRun(folder, { config, resume: true });
  walk(run, until, every);
  rmSync(join(folder, "lock"));
}

describe("resuming", () => {
  test("after any deaths, log and checkpoints equal those of a run that was never stopped", () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 20 }), { maxLength: 4 }), fc.integer({ min: 1, max: 6 }), (deaths, every) => {
        const [stopped, straight] = ["stopped", "straight"].map((name) => join(dir, name)) as [string, string];
        for (const folder of [stopped, straight]) rmSync(folder, { recursive: true, force: true });
        for (const until of deaths) session(stopped, until, every);
        session(stopped, 20, every);
        session(straight, 20, every);
        expect(withoutClock(readLog(join(stopped, "log.jsonl")))).toEqual(withoutClock(readLog(join(straight, "log.jsonl"))));
        const last = 20 - (20 % every);
        const sums = [stopped, straight].map((folder) => readFileSync(join(folder, "checkpoints", `walk-step-${last}`, "SHA256SUMS"), "utf8"));
        expect(sums[0]).toBe(sums[1]);
      }),
      { numRuns: 25 },
    );
  });

  test("passes over a damaged checkpoint, and says so", () => {
    session(dir, 10, 2);
    writeFileSync(join(dir, "checkpoints", "walk-step-10", "model.safetensors"), "");
    const run = openRun(dir, { config, resume: true });
    expect(run.checkpoint?.step).toBe(8);
    expect(run.warnings).toEqual([expect.stringContaining("walk-step-10")]);
    expect(readLog(join(dir, "log.jsonl")).length).toBe(8);
    run.close();
  });

  test("prunes what a run has left that died between a save and its pruning", () => {
    const every = openRun(dir, { config, keepLast: 100 });
    walk(every, 10, 2);
    rmSync(join(dir, "lock"));
    const kept = (): string[] => readdirSync(join(dir, "checkpoints")).toSorted();
    expect(kept()).toHaveLength(5);
    const run = openRun(dir, { config, resume: true });
    expect(run.checkpoint?.step).toBe(10);
    expect(kept()).toEqual(["walk-step-10", "walk-step-8"]);
    run.close();
  });

  test("with another configuration says what has changed, and keeps the new one", () => {
    openRun(dir, { config }).close();
    const other = { config: { ...config, seed: 2, steps: 5 }, resume: true };
    // One that gives up before anything came of it, as with a model that does not fit, leaves the run what it was made from.
    openRun(dir, other).close();
    expect(readRunConfig(dir)).toEqual(config);
    const run = openRun(dir, other);
    run.log({ stage: "walk", step: 1 });
    run.close();
    // A field that the run did not have is none that has changed.
    expect(run.changed).toEqual(["seed"]);
    expect(readRunConfig(dir)).toEqual({ ...config, seed: 2, steps: 5 });
    const again = openRun(dir, { config: { ...config, seed: 2, steps: 5 }, resume: true });
    again.close();
    expect(again.changed).toEqual([]);
  });
});

test("a folder that holds a run is not started over", () => {
  session(dir, 4, 2);
  const before = readFileSync(join(dir, "log.jsonl"), "utf8");
  expect(() => openRun(dir, { config })).toThrow(expect.objectContaining({ code: "conflict" }));
  expect(readFileSync(join(dir, "log.jsonl"), "utf8")).toBe(before);
  expect(existsSync(join(dir, "lock"))).toBe(false);
});

test("two trainers do not share a folder", () => {
  const run = openRun(dir, { config });
  expect(() => openRun(dir, { config, resume: true })).toThrow(expect.objectContaining({ code: "conflict" }));
  expect(runState(dir)).toBe("running");
  run.close();
  expect(runState(dir)).toBe("stopped");
  const resumed = openRun(dir, { config, resume: true });
  resumed.finish();
  resumed.close();
  expect(runState(dir)).toBe("finished");
});

test("the ledger counts what was spent, steps that were done again too", () => {
  session(dir, 4, 2);
  writeFileSync(join(dir, "checkpoints", "walk-step-4", "model.safetensors"), "");
  session(dir, 6, 2);
  const ledger = readLedger(dir);
  const steps = 4 + (6 - 2);
  expect(ledger?.stages.walk).toMatchObject({ seconds: steps, tokens: 3 * steps, flops: 4 * steps });
  expect(ledger?.sessions.map((one) => one.resumed_from)).toEqual([null, "walk-step-2"]);
  expect(ledger?.finished).toBe(false);
});

test("a damaged ledger or configuration is told, not replaced", () => {
  session(dir, 2, 2);
  for (const name of ["ledger.json", "config.json"]) {
    const path = join(dir, name);
    const text = readFileSync(path, "utf8");
    writeFileSync(path, text.slice(1));
    expect(() => openRun(dir, { config, resume: true })).toThrow(expect.objectContaining({ code: "bad_file", facts: expect.objectContaining({ where: path }) }));
    expect(readFileSync(path, "utf8")).toBe(text.slice(1));
    writeFileSync(path, text);
  }
});

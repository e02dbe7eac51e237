import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import type * as FileSystem from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { latestCheckpoint, saveCheckpoint } from "./checkpoint.ts";
import { openRun } from "./run.ts";

/** Which of the calls that change the disk fails, counted from 0, and how; -1: none. */
const fault = vi.hoisted(() => ({ at: -1, code: "ENOSPC", calls: 0 }));

vi.mock("node:fs", async (original) => {
  const real = await original<typeof FileSystem>();
  const failing = <A extends unknown[], R>(call: (...args: A) => R) => (...args: A): R => {
    if (fault.calls++ === fault.at) throw Object.assign(new Error(`${fault.code}: injected`), { code: fault.code, syscall: "injected" });
    return call(...args);
  };
  const { mkdirSync, openSync, writeSync, fsyncSync, renameSync } = real;
  return { ...real, mkdirSync: failing(mkdirSync), openSync: failing(openSync), writeSync: failing(writeSync), fsyncSync: failing(fsyncSync), renameSync: failing(renameSync) };
});

let dir: string;
beforeEach(() => {
  Object.assign(fault, { at: -1, calls: 0 });
  dir = mkdtempSync(join(tmpdir(), "longjing-faults-"));
});
afterEach(() => {
  fault.at = -1;
  rmSync(dir, { recursive: true, force: true });
});

function save(step: number): string {
  const tensor = { shape: [2], data: Float32Array.of(step, -step) };
  return saveCheckpoint(dir, { stage: "grpo", step, log_lines: step, tensors: { w: tensor }, optimizer: { m: tensor }, state: { step } }, 1);
}

describe.each(["ENOSPC", "EACCES", "EIO"])("%s", (code) => {
  test("at any call of a save: a typed error, and a whole checkpoint stays; the next save works", () => {
    save(1);
    fault.calls = 0;
    save(2);
    const callsOfOneSave = fault.calls;
    expect(callsOfOneSave).toBeGreaterThan(20);
    for (let at = 0; at < callsOfOneSave; at++) {
      const step = 3 + at;
      const before = latestCheckpoint(dir).checkpoint?.step;
      Object.assign(fault, { at, code, calls: 0 });
      expect(() => save(step)).toThrow(expect.objectContaining({ code: "disk", facts: expect.objectContaining({ where: expect.stringContaining(`grpo-step-${step}`) }) }));
      fault.at = -1;
      const { checkpoint, warnings } = latestCheckpoint(dir);
      expect(warnings).toEqual([]);
      // A failure after the rename (flushing the folder, pruning) leaves the new one, any other the one before.
      expect([before, step]).toContain(checkpoint?.step);
    }
    save(1000);
    expect(latestCheckpoint(dir).checkpoint?.step).toBe(1000);
    expect(readdirSync(join(dir, "checkpoints"))).toEqual(["grpo-step-1000"]);
  });

  test("at any call of opening a run: a typed error, and the run opens afterwards", () => {
    const open = (): void => openRun(join(dir, "run"), { config: { seed: 1 }, resume: true }).close();
    open();
    fault.calls = 0;
    open();
    const callsOfOneOpening = fault.calls;
    expect(callsOfOneOpening).toBeGreaterThan(5);
    for (let at = 0; at < callsOfOneOpening; at++) {
      Object.assign(fault, { at, code, calls: 0 });
      expect(open).toThrow(expect.objectContaining({ code: "disk" }));
      fault.at = -1;
      open();
    }
  });
});

test("a full disk is told as one", () => {
  Object.assign(fault, { at: 5, code: "ENOSPC", calls: 0 });
  expect(() => save(1)).toThrow(/disk is full/);
});

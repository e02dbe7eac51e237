import { createHash } from "node:crypto";
import { appendFileSync, cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { damageOf, latestCheckpoint, loadTensors, modelFile, optimizerFile, removeLeftovers, saveCheckpoint } from "./checkpoint.ts";
import type { Checkpoint, CheckpointContents } from "./checkpoint.ts";

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "longjing-checkpoint-"));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

function contentsOf(step: number, more: Partial<CheckpointContents> = {}): CheckpointContents {
  return {
    stage: "grpo",
    step,
    log_lines: step,
    tensors: { "model.norm.weight": { shape: [3], data: Float32Array.of(step, 0.5, -0) }, "a.weight": { shape: [2, 2], data: new Float32Array(4).fill(step) } },
    optimizer: { "model.norm.weight.exp_avg": { shape: [3], data: Float32Array.of(1e-30, 1, 2) } },
    state: { random: [1, -2, 3, 4], cursor: { epoch: 1, index: step } },
    extraFiles: { "config.json": "{}" },
    ...more,
  };
}

const names = (): string[] => readdirSync(join(dir, "checkpoints")).sort();
const latest = (): Checkpoint => latestCheckpoint(dir).checkpoint as Checkpoint;

describe("a saved checkpoint", () => {
  test("gives back what was put in", async () => {
    const contents = contentsOf(7);
    const path = saveCheckpoint(dir, contents);
    const { checkpoint, warnings } = latestCheckpoint(dir);
    expect(warnings).toEqual([]);
    expect(checkpoint).toEqual({ path, stage: "grpo", step: 7, order: 1, log_lines: 7, marks: [], state: contents.state });
    expect(await loadTensors(latest(), modelFile)).toEqual(contents.tensors);
    expect(await loadTensors(latest(), optimizerFile)).toEqual(contents.optimizer);
  });

  test("lists every file under its SHA-256", () => {
    const path = saveCheckpoint(dir, contentsOf(7));
    const hashed = readdirSync(path)
      .filter((name) => name !== "SHA256SUMS")
      .map((name) => `${createHash("sha256").update(readFileSync(join(path, name))).digest("hex")}  ${name}`);
    expect(readFileSync(join(path, "SHA256SUMS"), "utf8").trimEnd().split("\n").sort()).toEqual(hashed.sort());
  });

  test("is the same bytes in another folder", () => {
    const sums = ["one", "other"].map((name) => readFileSync(join(saveCheckpoint(join(dir, name), contentsOf(7)), "SHA256SUMS"), "utf8"));
    expect(sums[0]).toBe(sums[1]);
  });

  test("may be saved again, but not replaced by other tensors", () => {
    saveCheckpoint(dir, contentsOf(1));
    saveCheckpoint(dir, contentsOf(2));
    saveCheckpoint(dir, contentsOf(2));
    expect(latest()).toMatchObject({ step: 2, order: 2 });
    const { tensors } = contentsOf(3);
    expect(() => saveCheckpoint(dir, contentsOf(2, { tensors }))).toThrow(expect.objectContaining({ code: "conflict" }));
    expect(latest().state).toEqual(contentsOf(2).state);
    expect(names()).toEqual(["grpo-step-1", "grpo-step-2"]);
  });

  test("gives way to another account of its tensors: a stage was cut to where it stood", () => {
    saveCheckpoint(dir, contentsOf(1));
    saveCheckpoint(dir, contentsOf(2));
    saveCheckpoint(dir, contentsOf(2, { state: "the stage is done" }));
    expect(latest()).toMatchObject({ step: 2, order: 2, state: "the stage is done" });
    expect(names()).toEqual(["grpo-step-1", "grpo-step-2"]);
  });

  test("replaces a damaged one of its name", () => {
    saveCheckpoint(dir, contentsOf(1));
    truncateSync(join(saveCheckpoint(dir, contentsOf(2)), modelFile), 10);
    saveCheckpoint(dir, contentsOf(2));
    expect(latestCheckpoint(dir)).toMatchObject({ checkpoint: { step: 2, order: 2 }, warnings: [] });
  });
});

describe("the latest checkpoint", () => {
  test("is none in an empty or missing folder", () => {
    expect(latestCheckpoint(dir)).toEqual({ checkpoint: null, warnings: [] });
    expect(latestCheckpoint(join(dir, "missing"))).toEqual({ checkpoint: null, warnings: [] });
  });

  test("goes by the order of saving, over stages", () => {
    saveCheckpoint(dir, contentsOf(900, { stage: "pretrain" }));
    saveCheckpoint(dir, contentsOf(5));
    expect(latest()).toMatchObject({ stage: "grpo", step: 5, order: 2 });
  });

  test("whatever happens to one file of the newest, the one before it is taken and the damage told", () => {
    saveCheckpoint(dir, contentsOf(1));
    const path = saveCheckpoint(dir, contentsOf(2));
    const whole = join(dir, "whole");
    cpSync(path, whole, { recursive: true });
    const harm = fc.constantFrom("flip", "truncate", "append", "delete");
    fc.assert(
      fc.property(fc.constantFrom(...readdirSync(path)), harm, fc.double({ min: 0, max: 0.999, noNaN: true }), fc.integer({ min: 1, max: 255 }), (name, how, where, bits) => {
        rmSync(path, { recursive: true });
        cpSync(whole, path, { recursive: true });
        const file = join(path, name);
        const bytes = readFileSync(file);
        const at = Math.floor(where * bytes.length);
        if (how === "delete") rmSync(file);
        if (how === "append") appendFileSync(file, "x");
        if (how === "truncate") truncateSync(file, at);
        if (how === "flip") writeFileSync(file, bytes.with(at, (bytes[at] as number) ^ bits));
        const { checkpoint, warnings } = latestCheckpoint(dir);
        expect(checkpoint?.step).toBe(1);
        expect(warnings).toEqual([expect.stringContaining(path)]);
      }),
      { numRuns: 300 },
    );
    expect(damageOf(whole)).toBeNull();
  });

  test("is none, with a warning for each, when all are damaged", () => {
    for (const step of [1, 2]) rmSync(join(saveCheckpoint(dir, contentsOf(step)), "SHA256SUMS"));
    const { checkpoint, warnings } = latestCheckpoint(dir);
    expect(checkpoint).toBeNull();
    expect(warnings.length).toBe(2);
  });
});

describe("pruning", () => {
  test("keeps the last ones, and the newest of each mark and stage", () => {
    const save = fc.record({ stage: fc.constantFrom("pretrain", "grpo"), marks: fc.subarray(["best", "last"]) });
    fc.assert(
      fc.property(fc.array(save, { minLength: 1, maxLength: 12 }), fc.integer({ min: 1, max: 4 }), (saves, keepLast) => {
        rmSync(dir, { recursive: true, force: true });
        saves.forEach(({ stage, marks }, step) => saveCheckpoint(dir, contentsOf(step, { stage, marks }), keepLast));
        const kept = saves.flatMap(({ stage, marks }, step) => {
          const superseded = (mark: string): boolean => saves.slice(step + 1).some((later) => later.stage === stage && later.marks.includes(mark));
          const stays = step >= saves.length - keepLast || marks.some((mark) => !superseded(mark));
          return stays ? [`${stage}-step-${step}`] : [];
        });
        expect(names()).toEqual(kept.sort());
      }),
      { numRuns: 40 },
    );
  });

  test("one mark, as checkpoints had it before, is read as a list of it", () => {
    const path = saveCheckpoint(dir, contentsOf(3, { marks: ["best"] }));
    for (const [old, marks] of [['"mark": "best"', ["best"]], ['"mark": null', []]] as const) {
      const [state, sums] = ["state.json", "SHA256SUMS"].map((name) => join(path, name)) as [string, string];
      const before = readFileSync(state, "utf8");
      const text = before.replace(/"marks?": (?:\[[^\]]*\]|"\w+"|null)/, old);
      const hash = (content: string): string => createHash("sha256").update(content).digest("hex");
      writeFileSync(state, text);
      writeFileSync(sums, readFileSync(sums, "utf8").replace(hash(before), hash(text)));
      expect(latestCheckpoint(dir)).toMatchObject({ checkpoint: { marks }, warnings: [] });
    }
  });

  test("keeping none is refused", () => {
    expect(() => saveCheckpoint(dir, contentsOf(1), 0)).toThrow(expect.objectContaining({ code: "bad_argument" }));
  });
});

test("leftovers of a killed write are no checkpoints, and go", () => {
  const path = saveCheckpoint(dir, contentsOf(1));
  cpSync(path, join(dir, "checkpoints", ".tmp-grpo-step-9"), { recursive: true });
  mkdirSync(join(dir, "checkpoints", ".tmp-discarded-grpo-step-0"));
  expect(latestCheckpoint(dir)).toMatchObject({ checkpoint: { step: 1 }, warnings: [] });
  removeLeftovers(dir);
  expect(names()).toEqual([basename(path)]);
});

test.each(["../evil", "a/b", ".hidden", "", "SHA256SUMS", modelFile])("%j is no name for a file of a checkpoint", (name) => {
  expect(() => saveCheckpoint(dir, contentsOf(1, { extraFiles: { [name]: "" } }))).toThrow(expect.objectContaining({ code: "bad_argument" }));
  expect(latestCheckpoint(dir).checkpoint).toBeNull();
});

test("a stage whose name leads elsewhere is refused", () => {
  expect(() => saveCheckpoint(dir, contentsOf(1, { stage: "../../x" }))).toThrow(expect.objectContaining({ code: "bad_argument" }));
});

test("where a file stands in the folder's place, the error says so", () => {
  writeFileSync(join(dir, "checkpoints"), "");
  expect(() => saveCheckpoint(dir, contentsOf(1))).toThrow(expect.objectContaining({ code: "disk" }));
});

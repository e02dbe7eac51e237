import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, describe, expect, test } from "vitest";
import { random } from "../../random/index.ts";
import { renderTranscript } from "../../text/transcript.ts";
import { readEntries } from "../read-entries.ts";
import type { Entry } from "./entry.ts";
import { gymTask } from "./task.ts";

const dir = mkdtempSync(join(tmpdir(), "longjing-entries-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const sum = (n: number): Entry => ({ task: "decimal_chain_sum", question: `${n}.5000 + 1.2500 =`, answer: `${n + 1}.7500`, metadata: {} });
const letters = (n: number): Entry => ({ task: "palindrome_generation", question: `Letters: ${[..."abcabc", ..."de".repeat(2 * n)].join(", ")}`, answer: null, metadata: {} });
const entries = Array.from({ length: 20 }, (_, n) => [sum(n), letters(n)]).flat();
const task = gymTask(entries, { decimal_chain_sum: 3, palindrome_generation: 1 });

describe("imported problems as a task", () => {
  test("what it demonstrates is right", () => {
    fc.assert(
      fc.property(fc.nat(), fc.constantFrom("train" as const, "test" as const), (index, split) => {
        const problem = task.problem({ split, seed: 0, index });
        expect(task.score(problem, task.solution(problem, random("any"))).reward).toBe(1);
        expect(task.score(problem, task.demonstration(problem, random("any"), "short")).parts.correct).toBe(1);
      }),
    );
  });

  test("held-out problems are never trained on", () => {
    const drawn = (split: "train" | "test"): Set<string> => new Set(Array.from({ length: 300 }, (_, index) => task.problem({ split, seed: 1, index }).prompt));
    expect([...drawn("test")].filter((prompt) => drawn("train").has(prompt))).toEqual([]);
  });

  test("another palindrome of the same letters is right; one of others is not", () => {
    const problem = { prompt: "", language: "en" as const, level: 1, gold: letters(1) };
    const score = (answer: string): number => task.score(problem, renderTranscript("", answer)).parts.correct;
    expect([score("cbadeedabc"), score("abcdeedcba"), score("abcdeedcb"), score("aabbccddee")]).toEqual([1, 1, 0, 0]);
  });

  test("a sum is a number, however many zeros it ends with", () => {
    const problem = { prompt: "", language: "en" as const, level: 1, gold: sum(3) };
    const score = (answer: string): number => task.score(problem, renderTranscript("", answer)).parts.correct;
    expect([score("4.75"), score("4.750000"), score("4.76"), score("0x4"), score("")]).toEqual([1, 1, 0, 0, 0]);
  });

  test("tasks without a weight are not drawn, and nothing to draw is refused", () => {
    const one = gymTask(entries, { palindrome_generation: 1 });
    expect(new Set(Array.from({ length: 50 }, (_, index) => one.problem({ split: "train", seed: 0, index }).gold.task))).toEqual(new Set(["palindrome_generation"]));
    expect(() => gymTask(entries, { sudoku: 1 })).toThrow(/no problems/);
  });
});

describe("a file of problems", () => {
  test("is read line by line, with what makes a problem again where the file has it", () => {
    const path = join(dir, "problems.jsonl");
    const made = entries.map((entry, index) => (index % 2 === 0 ? { ...entry, config: { seed: 3 }, index } : entry));
    writeFileSync(path, `${made.map((entry) => JSON.stringify({ ...entry, more: true })).join("\n")}\n`);
    expect(readEntries(path)).toEqual(made);
  });

  test("with another line says which", () => {
    const path = join(dir, "broken.jsonl");
    writeFileSync(path, `${JSON.stringify(entries[0])}\n{"task":1}\n`);
    expect(() => readEntries(path)).toThrow(/broken\.jsonl:2/);
    writeFileSync(path, "{");
    expect(() => readEntries(path)).toThrow(/not JSON/);
    expect(() => readEntries(join(dir, "none.jsonl"))).toThrow(/tasks import/);
  });
});

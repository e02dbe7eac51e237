import { describe, expect, test } from "vitest";
import { createColors } from "picocolors";
import type { Evaluation } from "../eval/index.ts";
import { summaryText } from "./run-summary.ts";

const colors = createColors(false);
const measured = (accuracy: number, more: Partial<Evaluation> = {}): Evaluation => ({
  problems: 10, samples: 2, sampled: { accuracy, interval: { low: 0, high: 1 } }, greedy: { accuracy: accuracy / 2, interval: { low: 0, high: 1 } },
  pass_at: { "1": accuracy, "2": 1 }, format: 1, language_consistency: null, mean_length: 12, clipped_ratio: 0, ...more,
});
const cells = (text: string): string[][] => text.split("\n").filter((line) => line !== "").map((line) => line.trimEnd().split(/ {3,}/));

describe("what a run has come to", () => {
  test("of one task: a column an evaluation, and the change", () => {
    const [header, accuracy] = cells(summaryText({ evaluations: [{ stage: "base", task: "parity", ...measured(0.2) }, { stage: "final", task: "parity", ...measured(0.5) }], cost: null }, colors));
    expect(header).toEqual(["", "base", "final", "change"]);
    expect([accuracy![0], accuracy!.at(-1)]).toEqual(["accuracy", "+30.0"]);
  });

  test("of several: a row a task, a column a stage, and a row for each that has not kept to its language", () => {
    const evaluations = [
      { stage: "base-parity", task: "parity", ...measured(0.2, { language_consistency: 0.5 }) },
      { stage: "base-letters", task: "letters", ...measured(0.4, { language_consistency: 1 }) },
      { stage: "r1-zero-parity", task: "parity", ...measured(0.6, { language_consistency: 1 }) },
      { stage: "last", task: "letters", ...measured(1) },
    ];
    expect(cells(summaryText({ evaluations, cost: null }, colors)).slice(0, -1)).toEqual([
      ["", "base", "r1-zero", "last"],
      ["parity", "20.0 · 10.0", "60.0 · 30.0", "–"],
      ["letters", "40.0 · 20.0", "–", "100.0 · 50.0"],
      ["parity, language kept", "50.0", "100.0", "–"],
    ]);
  });
});

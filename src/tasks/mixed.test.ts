import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { random } from "../random/index.ts";
import { compare } from "./compare.ts";
import { guess } from "./guess.ts";
import { mixedTask } from "./mixed.ts";
import { parity } from "./parity.ts";
import { weekday } from "./weekday.ts";

const parts = [
  { task: parity, weight: 3, levels: [1, 2], languages: ["en", "zh"] },
  { task: weekday, weight: 1, languages: ["zh"] },
  { task: compare, weight: 0 },
] as const;
const mixed = mixedTask(parts);
const problems = Array.from({ length: 2000 }, (_, index) => mixed.problem({ split: "train", seed: 1, index }));

describe("a mixture of tasks", () => {
  test("draws each as often as its weight says, at its levels and in its languages", () => {
    const share = (f: (problem: (typeof problems)[number]) => boolean) => problems.filter(f).length / problems.length;
    // Five standard errors.
    expect(Math.abs(share(({ gold }) => gold.task === parity) - 3 / 4)).toBeLessThan(5 * Math.sqrt(3 / 16 / problems.length));
    expect(share(({ gold }) => gold.task === compare)).toBe(0);
    const drawn = new Set(problems.map(({ gold, language }) => `${gold.task.name} ${gold.problem.level} ${language}`));
    expect([...drawn].toSorted()).toEqual(["parity 1 en", "parity 1 zh", "parity 2 en", "parity 2 zh", "weekday 2 zh"]);
    expect(mixed.problem({ split: "train", seed: 1, index: 0, language: "en" }).language).toBe("en");
  });

  test("a problem is its task's own, of the split that was asked for, and its task judges it", () => {
    fc.assert(
      fc.property(fc.nat(), fc.nat(), fc.constantFrom("train", "test"), (seed, index, split) => {
        const problem = mixed.problem({ split, seed, index });
        const { task, problem: own } = problem.gold;
        expect(mixed.problem({ split, seed, index })).toEqual(problem);
        expect(own.prompt).toBe(problem.prompt);
        expect(own.address!.split).toBe(split);
        const stream = random("solution", seed);
        expect(mixed.score(problem, mixed.solution(problem, stream)).parts).toEqual({ correct: 1, format: 1 });
        for (const said of [mixed.demonstration(problem, stream, "short"), "nothing"]) expect(mixed.score(problem, said)).toEqual(task.score(own, said));
      }),
    );
  });

  test.each([
    ["nothing", []],
    ["no weight", [{ task: parity, weight: 0 }]],
    ["a negative weight", [{ task: parity, weight: 2 }, { task: weekday, weight: -1 }]],
    ["no number", [{ task: parity, weight: Number.NaN }]],
  ])("%s is refused", (_, wrong) => {
    expect(() => mixedTask(wrong)).toThrow(expect.objectContaining({ code: "bad_argument" }));
  });

  test("a task of several turns is refused", () => {
    expect(() => mixedTask([{ task: guess, weight: 1 }])).toThrow(expect.objectContaining({ code: "unsupported" }));
  });
});

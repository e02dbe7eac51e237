import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { random } from "../random/index.ts";
import { parseTranscript } from "../text/transcript.ts";
import { arithmetic } from "./arithmetic.ts";
import { countdown, createCountdown } from "./countdown.ts";
import { evaluate } from "./expression.ts";
import { isInteger } from "./rational.ts";
import { parity } from "./parity.ts";
import type { Task } from "./task.ts";

const anywhere = <G>(task: Task<G>) =>
  fc
    .record({ index: fc.nat(), level: fc.integer({ min: 1, max: task.levels }), seed: fc.nat() })
    .map(({ index, level, seed }) => {
      const problem = task.problem({ split: "train", seed, index, level });
      const { thinking, answer } = parseTranscript(task.demonstration(problem, random(seed), "long"));
      return { problem, thinking: thinking as string, answer: answer as string };
    });

/** Every "left=value" of a text is true. */
function expectTrueFacts(thinking: string): void {
  for (const fact of thinking.split(/\s+/).filter((word) => word.includes("="))) {
    const [left, value] = fact.split("=") as [string, string];
    const result = evaluate(left);
    expect(result.ok && isInteger(result.value, Number(value))).toBe(true);
  }
}

describe("countdown's search", () => {
  it("writes true facts only, and ends at the target", () => {
    fc.assert(
      fc.property(anywhere(countdown), ({ problem, thinking }) => {
        expectTrueFacts(thinking);
        expect(thinking.split(/[\s=]/).at(-1)).toBe(`${problem.gold.target}`);
      }),
    );
  });

  it("stops at the first match: with three numbers, no pair before the last makes what is wanted", () => {
    fc.assert(
      fc.property(fc.nat(), (index) => {
        const problem = countdown.problem({ split: "train", seed: 1, index, level: 2 });
        const { thinking } = parseTranscript(countdown.solution(problem, random(index)));
        const lines = (thinking as string).split("\n");
        const values = (line: string): string[] => line.split(" ").map((fact) => fact.split("=")[1] as string);
        const blocks = (lines.length - 1) / 2;
        for (let block = 0; block < blocks; block++) {
          const wanted = values(lines[2 * block] as string);
          const made = values(lines[2 * block + 1] as string);
          const last = block === blocks - 1;
          expect(made.findIndex((value) => wanted.includes(value))).toBe(last ? made.length - 1 : -1);
        }
      }),
    );
  });

  it("guesses with the right numbers, right as often as it is told to be", () => {
    const sure = createCountdown({ shortHitRate: 1 });
    fc.assert(
      fc.property(fc.nat(), fc.integer({ min: 1, max: countdown.levels }), (index, level) => {
        const problem = countdown.problem({ split: "train", seed: 2, index, level });
        const guess = countdown.demonstration(problem, random(index), "short");
        expect(countdown.score(problem, guess).parts.format).toBe(1);
        expect(sure.score(problem, sure.demonstration(problem, random(index), "short")).reward).toBe(1);
      }),
    );
  });
});

it("arithmetic's columns are true, and their last digits spell a sum's or difference's answer", () => {
  fc.assert(
    fc.property(anywhere(arithmetic), ({ problem, thinking, answer }) => {
      expectTrueFacts(thinking);
      expect(answer).toBe(`${problem.gold.answer}`);
      if (problem.gold.operator === "*") return;
      const digits = thinking.split("\n").map((line) => (line.match(/=\d*?(\d)(?: \1)?$/) as RegExpMatchArray)[1] as string);
      const last = problem.gold.operator === "+" ? (thinking.match(/=(\d*)\d \d$/)?.[1] ?? "") : "";
      expect(Number(last + digits.reverse().join(""))).toBe(problem.gold.answer);
    }),
  );
});

it("parity's thoughts count the ones of every prefix and name each parity", () => {
  fc.assert(
    fc.property(anywhere(parity), ({ problem, thinking, answer }) => {
      const ones = problem.gold.map((_, i) => problem.gold.slice(0, i + 1).filter((bit) => bit === 1).length);
      const words = problem.language === "en" ? ["even", "odd"] : ["偶", "奇"];
      const steps = ones.map((count) => `${count} ${words[count % 2]}`);
      expect(thinking).toBe(steps.join(" "));
      expect(answer).toBe(steps.at(-1));
    }),
  );
});

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { LongjingError } from "../errors/index.ts";
import { random } from "../random/index.ts";
import { parseTranscript, renderTranscript, tags } from "../text/transcript.ts";
import { transcripts } from "./corpus.ts";
import { createCountdown } from "./countdown.ts";
import { guess } from "./guess.ts";
import { tasks } from "./table.ts";
import { formatWeight, sameAnswer, splitOf, type Address, type Problem, type Task } from "./task.ts";

const suite: [string, Task<unknown>][] = [...Object.entries(tasks), ["countdown with hits", createCountdown({ shortHitRate: 0.5 })], ["guess", guess]];

/** Text that comes near to a transcript. */
const nearly = fc
  .array(fc.oneof(fc.constantFrom(...Object.values(tags), "even", "odd", "奇", "(", ")", "+", "-", "*", "/"), fc.nat(99), fc.string()))
  .map((parts) => parts.join(""));
const anything = fc.oneof(nearly, fc.string({ unit: "binary" }), nearly.map((answer) => renderTranscript("", answer)));

describe.each(suite)("the laws of a task: %s", (_, task) => {
  const address: fc.Arbitrary<Required<Address>> = fc.record({
    split: fc.constantFrom("train", "test"),
    seed: fc.nat(),
    index: fc.nat(),
    level: fc.integer({ min: 1, max: task.levels }),
    language: fc.constantFrom("en", "zh"),
  });
  const problem = address.map((where) => task.problem(where));

  it("makes equal problems of equal addresses, and asks the same in each language", () => {
    fc.assert(
      fc.property(address, (where) => {
        const [en, zh] = [task.problem({ ...where, language: "en" }), task.problem({ ...where, language: "zh" })];
        expect(task.problem({ ...where })).toEqual(where.language === "en" ? en : zh);
        expect(zh.gold).toEqual(en.gold);
        expect(zh.prompt).toMatch(/\p{Script=Han}/u);
        expect(en.prompt).not.toMatch(/\p{Script=Han}/u);
      }),
    );
  });

  it("gives gold solutions the maximum", () => {
    fc.assert(
      fc.property(problem, fc.nat(), (asked, seed) => {
        const solution = task.solution(asked, random(seed));
        expect(task.score(asked, solution)).toMatchObject({ reward: 1, parts: { correct: 1, format: 1 } });
        expect(task.demonstration(asked, random(seed), "long")).toBe(solution);
      }),
    );
  });

  it("answers well-formed, without a thought, when short", () => {
    fc.assert(
      fc.property(problem, fc.nat(), (asked, seed) => {
        const short = task.demonstration(asked, random(seed), "short");
        expect(parseTranscript(short)).toMatchObject({ thinking: "", wellFormed: true });
        expect(task.score(asked, short).parts.format).toBe(1);
        expect(task.demonstration(asked, random(seed), "short")).toBe(short);
      }),
    );
  });

  it("scores any string within bounds, the same twice, and right answers above wrong ones", () => {
    fc.assert(
      fc.property(problem, anything, (asked, completion) => {
        const score = task.score(asked, completion);
        expect(task.score(asked, completion)).toEqual(score);
        const { correct, format } = score.parts;
        expect([0, 1]).toContain(correct);
        expect([0, 1]).toContain(format);
        if (correct === 1) expect(score.reward).toBeGreaterThanOrEqual(1 - formatWeight);
        else expect(score.reward).toBe(format === 1 ? formatWeight : 0);
        if (score.parsed === null) expect(score.reward).toBe(0);
      }),
      { numRuns: 1000 },
    );
  });

  it("gives nothing for the prompt echoed, in tags or not, nor for an answer that is only thought", () => {
    fc.assert(
      fc.property(problem, fc.nat(), (asked, seed) => {
        const { answer } = parseTranscript(task.solution(asked, random(seed)));
        for (const completion of [asked.prompt, renderTranscript(asked.prompt, asked.prompt), `<think>${answer}</think>`, answer]) {
          expect(task.score(asked, completion as string).parts.correct).toBe(0);
          expect(task.score(asked, completion as string).reward).toBe(0);
        }
      }),
    );
  });

  it("gives nothing for a right answer among others, nested, or inside the thoughts", () => {
    fc.assert(
      fc.property(problem, fc.nat(), (asked, seed) => {
        const gold = task.solution(asked, random(seed));
        const { answer } = parseTranscript(gold);
        for (const completion of [
          gold + gold,
          `${gold}<answer>${answer}</answer>`,
          `<think></think><answer>7</answer><answer>${answer}</answer>`,
          `<think><answer>${answer}</answer></think>`,
          `<think><think></think><answer>${answer}</answer>`,
          `<think></think><answer><answer>${answer}</answer></answer>`,
          `<think></think><answer>${answer} ${answer}</answer>`,
          `<think></think><answer>${answer}`,
        ]) {
          expect(task.score(asked, completion).reward).toBe(0);
        }
      }),
    );
  });

  it("judges answers alike that say the same, and says so of an answer's own variants", () => {
    const variants = (answer: string): string[] => [answer, ` ${answer}\n`, answer.toUpperCase(), answer.replaceAll(", ", ","), `(${answer})`, answer.replaceAll(/(\d+)\*(\d+)/g, "$2*$1")];
    fc.assert(
      fc.property(problem, problem, fc.nat(), anything, (asked, other, seed, text) => {
        const answers = [asked, other].flatMap((one) => variants(parseTranscript(task.solution(one, random(seed))).answer as string));
        for (const a of [...answers, text]) {
          expect(sameAnswer(task, a, ` ${a} `)).toBe(true);
          for (const b of [...answers, text]) {
            if (!sameAnswer(task, a, b)) continue;
            expect(sameAnswer(task, b, a)).toBe(true);
            expect(task.score(asked, renderTranscript("", b)).parts.correct).toBe(task.score(asked, renderTranscript("", a)).parts.correct);
          }
        }
      }),
    );
  });

  it("does not read megabytes twice", () => {
    const asked = task.problem({ split: "train", seed: 0, index: 0 });
    for (const piece of ["<think>", "<answer>", "<", "(", "1+", "9", "even"]) {
      const huge = piece.repeat(2 ** 20);
      expect(task.score(asked, huge).reward).toBe(0);
      expect(task.score(asked, renderTranscript("", huge)).reward).toBe(0);
    }
  });

  it("never asks in one split what it asks in the other", () => {
    const shape = ({ gold }: Problem<unknown>): string => JSON.stringify(canonical(gold));
    const seen = (split: "train" | "test", level: number): Set<string> =>
      new Set(Array.from({ length: 400 }, (_, index) => shape(task.problem({ split, seed: index % 3, index, level }))));
    for (let level = 1; level <= task.levels; level++) {
      const test = seen("test", level);
      expect(test.size).toBeGreaterThan(10);
      expect([...seen("train", level)].filter((key) => test.has(key))).toEqual([]);
    }
  });

  it("refuses a level that it does not have", () => {
    for (const level of [0, task.levels + 1, 1.5, Number.NaN]) {
      expect(() => task.problem({ split: "train", seed: 0, index: 0, level })).toThrow(LongjingError);
    }
  });

  it("makes any part of a corpus again", () => {
    const options = { split: "train", seed: 5, languages: ["en", "zh"], levels: [1, 2], longShare: 0.5 } as const;
    const whole = [...transcripts(task, { ...options, count: 40 })];
    expect(whole).toHaveLength(40);
    expect([...transcripts(task, { ...options, start: 30, count: 10 })]).toEqual(whole.slice(30));
    const thoughts = (longShare: number): number =>
      [...transcripts(task, { ...options, longShare, count: 40 })].filter((t) => !t.completion.startsWith("<think></think>")).length;
    expect([thoughts(0), thoughts(1)]).toEqual([0, 40]);
    expect(() => [...transcripts(task, { ...options, longShare: 2, count: 1 })]).toThrow(LongjingError);
  });
});

it("holds out a fifth of the problems", () => {
  const held = Array.from({ length: 5000 }, (_, i) => splitOf("any", `${i}`)).filter((split) => split === "test").length;
  // Six standard deviations of a binomial with 5000 draws at 1/5.
  expect(Math.abs(held - 1000)).toBeLessThan(6 * Math.sqrt(5000 * 0.2 * 0.8));
});

/** What makes two problems the same whatever the task: its numbers in any order, without one of several solutions. */
function canonical(gold: unknown): unknown {
  if (typeof gold !== "object" || gold === null || Array.isArray(gold)) return gold;
  return Object.fromEntries(
    Object.entries(gold)
      .filter(([field]) => field !== "expression")
      .map(([field, value]) => [field, Array.isArray(value) ? value.toSorted((a: number, b: number) => a - b) : value]),
  );
}

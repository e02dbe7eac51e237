import type { Random } from "../random/index.ts";
import { renderTranscript } from "../text/transcript.ts";
import { answerOnly, poseProblem, scoreTranscript, type Language, type Problem, type Task } from "./task.ts";

export interface SortingGold {
  readonly numbers: readonly number[];
  readonly descending: boolean;
}

const name = "sorting";
const defaultLevel = 2;
/** How many numbers, and the largest, at each level. */
const levels: readonly (readonly [count: number, largest: number])[] = [[4, 99], [6, 99], [10, 999], [16, 999]];

const prompts: Readonly<Record<Language, readonly ((numbers: string, descending: boolean) => string)[]>> = {
  en: [(numbers, descending) => `Sort from ${descending ? "largest to smallest" : "smallest to largest"}: ${numbers}`],
  zh: [(numbers, descending) => `从${descending ? "大到小" : "小到大"}排列：${numbers}`],
};

/** Whole numbers put in order; equal ones stay as often as they are. */
export const sorting: Task<SortingGold> = {
  name,
  levels: levels.length,
  defaultLevel,
  problem: (address) => poseProblem({ name, levels, defaultLevel, prompts, draw, key, say: (prompt, { numbers, descending }) => prompt(numbers.join(", "), descending) }, address),
  solution: (problem) => thinkLong(problem),
  demonstration: (problem, _random, kind) => (kind === "long" ? thinkLong(problem) : answerOnly(sorted(problem.gold).join(", "))),
  score: ({ gold }, completion) =>
    scoreTranscript(completion, (answer) => {
      const said = answer.trim();
      const numbers = said.length < 200 && /^\d{1,3}(?:, ?\d{1,3})*$/.test(said) ? said.split(",").map(Number) : null;
      const legal = numbers?.length === gold.numbers.length;
      return { legal, correct: legal && sorted(gold).every((number, i) => number === numbers[i]) };
    }),
  sameAnswer: (a, b) => a.replaceAll(", ", ",") === b.replaceAll(", ", ","),
};

function draw([count, largest]: readonly [number, number], random: Random): SortingGold {
  for (;;) {
    const gold = { numbers: Array.from({ length: count }, () => random.below(largest + 1)), descending: random.below(2) === 1 };
    if (sorted(gold).some((number, i) => number !== gold.numbers[i])) return gold;
  }
}

const sorted = ({ numbers, descending }: SortingGold): number[] => numbers.toSorted((a, b) => (descending ? b - a : a - b));

/** Selection: takes the next number, then writes what is left, until nothing is. */
function thinkLong({ gold }: Problem<SortingGold>): string {
  let rest = [...gold.numbers];
  const steps = sorted(gold).map((next) => {
    rest = rest.toSpliced(rest.indexOf(next), 1);
    return `${next}${rest.length > 0 ? ` | ${rest.join(", ")}` : ""}`;
  });
  return renderTranscript(steps.join("\n"), sorted(gold).join(", "));
}

const key = ({ numbers, descending }: SortingGold): string => `${numbers.toSorted((a, b) => a - b).join(" ")} ${descending}`;

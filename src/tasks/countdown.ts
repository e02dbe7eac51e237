import type { Random } from "../random/index.ts";
import { renderTranscript } from "../text/transcript.ts";
import { guess, search } from "./countdown-search.ts";
import { evaluate } from "./expression.ts";
import { equal, isInteger } from "./rational.ts";
import { answerOnly, poseProblem, scoreTranscript, type Language, type Problem, type Task } from "./task.ts";

export interface CountdownGold {
  readonly numbers: readonly number[];
  readonly target: number;
  /** One of the right answers. */
  readonly expression: string;
}

interface Level {
  /** How many numbers, each from 1 to `largest`. */
  readonly count: 2 | 3 | 4;
  readonly largest: number;
  /** Targets are 1 to this. */
  readonly target: number;
}

const name = "countdown";
const defaultLevel = 2;
const levels: readonly Level[] = [
  { count: 2, largest: 10, target: 50 },
  { count: 3, largest: 10, target: 50 },
  { count: 3, largest: 20, target: 100 },
  { count: 4, largest: 10, target: 50 },
  { count: 4, largest: 20, target: 100 },
];

const prompts: Readonly<Record<Language, readonly ((numbers: readonly number[], target: number) => string)[]>> = {
  en: [
    (numbers, target) => `Make ${target} from ${numbers.join(" ")}.`,
    (numbers, target) => `Use ${numbers.join(", ")} to make ${target}.`,
    (numbers, target) => `Countdown: ${numbers.join(" ")}. Target: ${target}.`,
  ],
  zh: [
    (numbers, target) => `用${numbers.join("、")}算出${target}。`,
    (numbers, target) => `数字：${numbers.join("、")}。目标：${target}。`,
  ],
};

export interface CountdownOptions {
  /** How often a short demonstration is right on purpose. Default 0: it is a random legal expression, right by luck. */
  readonly shortHitRate?: number;
}

/**
 * Combine each number exactly once with + - * / and parentheses to reach the target; intermediate results may be any
 * rational. Problems are uniform over number lists and targets that a search over positive integers can reach.
 */
export function createCountdown({ shortHitRate = 0 }: CountdownOptions = {}): Task<CountdownGold> {
  return {
    name,
    levels: levels.length,
    defaultLevel,
    problem: (address) => poseProblem({ name, levels, defaultLevel, prompts, draw, key, say: (prompt, gold) => prompt(gold.numbers, gold.target) }, address),
    solution: thinkLong,
    demonstration(problem, random, kind) {
      if (kind === "long") return thinkLong(problem, random);
      const { gold, level } = problem;
      return answerOnly(random.next() < shortHitRate ? gold.expression : guess(gold.numbers, largestResult(level), random));
    },
    score: ({ gold }, completion) =>
      scoreTranscript(completion, (answer) => {
        const result = evaluate(answer);
        const legal = result.ok && sorted(result.literals) === sorted(gold.numbers);
        return { legal, correct: legal && isInteger(result.value, gold.target) };
      }),
    // The same numbers, and the same value made of them.
    sameAnswer: (a, b) => {
      const [first, second] = [evaluate(a), evaluate(b)];
      return first.ok && second.ok && equal(first.value, second.value) && sorted(first.literals) === sorted(second.literals);
    },
  };
}

export const countdown: Task<CountdownGold> = createCountdown();

function draw(level: Level, random: Random): CountdownGold {
  for (;;) {
    const numbers = Array.from({ length: level.count }, () => random.between(1, level.largest));
    const target = random.between(1, level.target);
    const { expression } = search(numbers, target, level.largest ** 2, random);
    if (expression !== null) return { numbers, target, expression };
  }
}

/** Problems are the same when their numbers are, in whatever order. */
function key({ numbers, target }: CountdownGold): string {
  return `${sorted(numbers)} = ${target}`;
}

function sorted(numbers: readonly number[]): string {
  return numbers.toSorted((a, b) => a - b).join(" ");
}

function thinkLong({ gold, level }: Problem<CountdownGold>, random: Random): string {
  const { steps, expression } = search(gold.numbers, gold.target, largestResult(level), random);
  return renderTranscript(steps, expression ?? gold.expression);
}

/** Bound of intermediate results at a level: what two of its numbers can make. */
function largestResult(level: number): number {
  return (levels[level - 1] as Level).largest ** 2;
}

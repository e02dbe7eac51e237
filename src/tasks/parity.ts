import type { Random } from "../random/index.ts";
import { renderTranscript } from "../text/transcript.ts";
import { answerOnly, poseProblem, scoreTranscript, type Language, type Problem, type Task } from "./task.ts";

/** The bits, each 0 or 1. */
export type ParityGold = readonly number[];

const name = "parity";
const defaultLevel = 2;
/** Length of the bit string at each level. One length a level: step i then looks back equally far for every i. */
const levels: readonly number[] = [8, 16, 24, 32, 48];

/**
 * The bits come last in each wording, so that their distance to the thinking is the same in all. A bit (`1, `) and a step of the
 * thinking (`7 odd `) are three tokens each, so that step i looks back equally far for every i.
 */
const prompts: Readonly<Record<Language, readonly string[]>> = {
  en: ["Is the number of ones even or odd? ", "Parity of the ones: "],
  zh: ["1的个数是奇数还是偶数？", "求1的奇偶："],
};
const words: Readonly<Record<Language, readonly [even: string, odd: string]>> = { en: ["even", "odd"], zh: ["偶", "奇"] };

/**
 * Parity of a bit string, the task on which a mixture of short and long demonstrations is known to hide an ability that RL
 * brings out (Tsilivis et al., 2510.11495). Short demonstrations state the answer; long ones count the ones, bit by bit, and say
 * each time whether the count is even or odd.
 */
export const parity: Task<ParityGold> = {
  name,
  levels: levels.length,
  defaultLevel,
  problem: (address) => poseProblem({ name, levels, defaultLevel, prompts, draw, key: (bits) => bits.join(""), say: (prompt, gold) => prompt + gold.join(", ") }, address),
  solution: (problem) => thinkLong(problem),
  demonstration: (problem, _random, kind) => (kind === "long" ? thinkLong(problem) : answerOnly(parityOf(problem))),
  score: (problem, completion) =>
    scoreTranscript(completion, (answer) => {
      const said = answers.exec(answer.trim());
      if (!said || !words[problem.language].includes(said[2]!)) return { legal: false, correct: false };
      const counted = said[1] === undefined || Number(said[1]) === onesOf(problem);
      return { legal: true, correct: counted && said[2] === parityOf(problem) };
    }),
};

/** A parity, or a count and its parity, which must both be right. */
const answers = /^(?:(\d{1,3}) )?(even|odd|偶|奇)$/;

function draw(length: number, random: Random): ParityGold {
  return Array.from({ length }, () => random.below(2));
}

const onesOf = ({ gold }: Problem<ParityGold>): number => gold.reduce((sum, bit) => sum + bit, 0);
const parityOf = (problem: Problem<ParityGold>): string => words[problem.language][(onesOf(problem) % 2) as 0 | 1];

/**
 * A running count beside the running parity: a count says most of the next one by itself, while a parity and a bit say nothing
 * about the next parity unless both are read, and a small model stays on that plateau. The answer repeats the last step for the
 * same reason: beside many guessed parities, a parity alone is too faint a signal to learn copying from.
 */
function thinkLong(problem: Problem<ParityGold>): string {
  let count = 0;
  const steps = problem.gold.map((bit) => `${(count += bit)} ${words[problem.language][(count % 2) as 0 | 1]}`);
  return renderTranscript(steps.join(" "), steps.at(-1)!);
}

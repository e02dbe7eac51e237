import type { Random } from "../random/index.ts";
import { renderTranscript } from "../text/transcript.ts";
import { answerOnly, drawInSplit, scoreTranscript, type Language, type Problem, type Task } from "./task.ts";

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
 * brings out (Tsilivis et al., 2510.11495). Short demonstrations state the answer; long ones count the ones, bit by bit, and say each time whether the count is even or odd.
 */
export const parity: Task<ParityGold> = {
  name,
  levels: levels.length,
  defaultLevel,
  problem(address) {
    const { level, gold, stream } = drawInSplit({ name, levels, defaultLevel }, address, draw, (bits) => bits.join(""));
    const language = address.language ?? "en";
    return { prompt: stream.pick(prompts[language]) + gold.join(", "), language, level, gold };
  },
  solution: (problem) => thinkLong(problem),
  demonstration: (problem, _random, kind) => (kind === "long" ? thinkLong(problem) : answerOnly(said(problem))),
  score: (problem, completion) =>
    scoreTranscript(completion, (answer) => ({
      legal: words[problem.language].includes(answer.trim()),
      correct: answer.trim() === answerOf(problem),
    })),
};

function draw(length: number, random: Random): ParityGold {
  return Array.from({ length }, () => random.below(2));
}

function answerOf({ gold, language }: Problem<ParityGold>): string {
  return words[language][gold.reduce((sum, bit) => sum ^ bit, 0) as 0 | 1];
}

/** The answer as it is written: with a space before it, it is the very token that ends the thinking, and can be copied. */
const said = (problem: Problem<ParityGold>): string => ` ${answerOf(problem)}`;

/**
 * A running count beside the running parity: a count says most of the next one by itself, while a parity and a bit say nothing
 * about the next parity unless both are read, and a small model stays on that plateau.
 */
function thinkLong(problem: Problem<ParityGold>): string {
  let count = 0;
  const steps = problem.gold.map((bit) => `${(count += bit)} ${words[problem.language][(count % 2) as 0 | 1]}`);
  return renderTranscript(steps.join(" "), said(problem));
}

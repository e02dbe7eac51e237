import type { Random } from "../random/index.ts";
import { renderTranscript } from "../text/transcript.ts";
import { answerOnly, poseProblem, scoreTranscript, type Language, type Problem, type Task } from "./task.ts";

export interface BasesGold {
  readonly value: number;
  readonly base: number;
}

const name = "bases";
const defaultLevel = 2;
/** Values below this, and the bases, at each level. */
const levels: readonly (readonly [below: number, bases: readonly number[]])[] = [
  [64, [2]],
  [256, [2, 3, 8]],
  [4096, [2, 3, 5, 7, 8, 16]],
  [2 ** 20, [2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15, 16]],
];

const prompts: Readonly<Record<Language, readonly ((gold: BasesGold) => string)[]>> = {
  en: [({ value, base }) => `Write ${value} in base ${base}.`, ({ value, base }) => `What is ${value} in base ${base}?`],
  zh: [({ value, base }) => `把${value}写成${base}进制。`, ({ value, base }) => `${value}的${base}进制是多少？`],
};

/** A decimal number in another base, with a to f for ten to fifteen, by repeated division. */
export const bases: Task<BasesGold> = {
  name,
  levels: levels.length,
  defaultLevel,
  problem: (address) => poseProblem({ name, levels, defaultLevel, prompts, draw, key: ({ value, base }) => `${value} ${base}`, say: (prompt, gold) => prompt(gold) }, address),
  solution: (problem) => thinkLong(problem),
  demonstration: (problem, _random, kind) => (kind === "long" ? thinkLong(problem) : answerOnly(writtenOf(problem.gold))),
  score: ({ gold }, completion) =>
    scoreTranscript(completion, (answer) => {
      const said = answer.trim().toLowerCase();
      const legal = /^[1-9a-f][0-9a-f]{0,31}$/.test(said) && [...said].every((digit) => Number.parseInt(digit, 16) < gold.base);
      return { legal, correct: legal && said === writtenOf(gold) };
    }),
  sameAnswer: (a, b) => a.toLowerCase() === b.toLowerCase(),
};

/** From the base itself: below it there is nothing to do. */
function draw([below, among]: readonly [number, readonly number[]], random: Random): BasesGold {
  const base = random.pick(among);
  return { value: base + random.below(below - base), base };
}

const writtenOf = ({ value, base }: BasesGold): string => value.toString(base);

/** Each division with its remainder; the remainders, last first, are the digits. */
function thinkLong({ gold }: Problem<BasesGold>): string {
  const steps: string[] = [];
  for (let rest = gold.value; rest > 0; rest = Math.floor(rest / gold.base)) steps.push(`${rest} = ${gold.base} * ${Math.floor(rest / gold.base)} + ${rest % gold.base}`);
  return renderTranscript(steps.join("\n"), writtenOf(gold));
}

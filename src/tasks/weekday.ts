import type { Random } from "../random/index.ts";
import { renderTranscript } from "../text/transcript.ts";
import { answerOnly, poseProblem, scoreTranscript, type Language, type Problem, type Task } from "./task.ts";

export interface WeekdayGold {
  /** Today's: 0 is Monday. */
  readonly today: number;
  /** How many days later. */
  readonly days: number;
}

const name = "weekday";
const defaultLevel = 2;
/** Most days at each level. */
const levels: readonly number[] = [9, 99, 999, 99_999, 9_999_999];

const names: Readonly<Record<Language, readonly string[]>> = {
  en: ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"],
  zh: ["星期一", "星期二", "星期三", "星期四", "星期五", "星期六", "星期日"],
};
const prompts: Readonly<Record<Language, readonly ((today: string, days: number) => string)[]>> = {
  en: [(today, days) => `Today is ${today}. Which day of the week is it ${days} days later?`, (today, days) => `If it is ${today} now, what day will it be after ${days} days?`],
  zh: [(today, days) => `今天是${today}，${days}天后是星期几？`, (today, days) => `${today}再过${days}天是星期几？`],
};
const words: Readonly<Record<Language, { readonly leaves: string; readonly next: string; readonly comma: string }>> = {
  en: { leaves: " leaves ", next: "; then ", comma: ", " },
  zh: { leaves: "余", next: "；然后", comma: "，" },
};

/** Which day of the week comes after many days: a division by seven, and a walk through the week in words. */
export const weekday: Task<WeekdayGold> = {
  name,
  levels: levels.length,
  defaultLevel,
  problem: (address) => {
    const { language = "en" } = address;
    const say = (prompt: (today: string, days: number) => string, { today, days }: WeekdayGold): string => prompt(names[language][today]!, days);
    return poseProblem({ name, levels, defaultLevel, prompts, draw, key: ({ today, days }) => `${today} ${days}`, say }, address);
  },
  solution: (problem) => thinkLong(problem),
  demonstration: (problem, _random, kind) => (kind === "long" ? thinkLong(problem) : answerOnly(dayOf(problem))),
  score: (problem, completion) =>
    scoreTranscript(completion, (answer) => {
      const said = answer.trim();
      return { legal: names[problem.language].includes(said), correct: said === dayOf(problem) };
    }),
};

function draw(most: number, random: Random): WeekdayGold {
  return { today: random.below(7), days: 1 + random.below(most) };
}

const dayOf = ({ gold, language }: Problem<WeekdayGold>): string => names[language][(gold.today + gold.days) % 7]!;

/** Divides digit by digit, keeping what is left of seven, and counts that many days on from today. */
function thinkLong(problem: Problem<WeekdayGold>): string {
  const { gold, language } = problem;
  const { leaves, next, comma } = words[language];
  let left = 0;
  const division = [...`${gold.days}`].map((digit) => {
    const dividend = 10 * left + Number(digit);
    left = dividend % 7;
    return `${dividend}${leaves}${left}`;
  });
  const walk = Array.from({ length: left + 1 }, (_, i) => names[language][(gold.today + i) % 7]!);
  return renderTranscript(division.join(comma) + next + walk.join(comma), dayOf(problem));
}

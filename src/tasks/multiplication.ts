import type { Random } from "../random/index.ts";
import { renderTranscript } from "../text/transcript.ts";
import { answerOnly, poseProblem, scoreTranscript, type Language, type Problem, type Task } from "./task.ts";

export type MultiplicationGold = readonly [left: number, right: number];

const name = "multiplication";
const defaultLevel = 2;
/** Digits of both factors at each level; their product is exact as a number of JavaScript. */
const levels: readonly number[] = [2, 3, 4, 5, 7];

const prompts: Readonly<Record<Language, readonly ((product: string) => string)[]>> = {
  en: [(product) => `What is ${product}?`, (product) => `Multiply: ${product}`],
  zh: [(product) => `${product}等于多少？`, (product) => `计算乘积：${product}`],
};

/** Long multiplication, as on paper: a row for each digit of the right factor, and a running sum of the rows. */
export const multiplication: Task<MultiplicationGold> = {
  name,
  levels: levels.length,
  defaultLevel,
  problem: (address) => poseProblem({ name, levels, defaultLevel, prompts, draw, key: (pair) => pair.toSorted((a, b) => a - b).join(" "), say: (prompt, gold) => prompt(gold.join(" * ")) }, address),
  solution: (problem) => thinkLong(problem),
  demonstration: (problem, _random, kind) => (kind === "long" ? thinkLong(problem) : answerOnly(`${productOf(problem.gold)}`)),
  score: ({ gold }, completion) =>
    scoreTranscript(completion, (answer) => {
      const said = answer.trim();
      const legal = /^(?:0|[1-9]\d{0,15})$/.test(said);
      return { legal, correct: legal && said === `${productOf(gold)}` };
    }),
};

function draw(digits: number, random: Random): MultiplicationGold {
  const factor = (): number => 10 ** (digits - 1) + random.below(9 * 10 ** (digits - 1));
  return [factor(), factor()];
}

const productOf = ([left, right]: MultiplicationGold): number => left * right;

function thinkLong({ gold: [left, right] }: Problem<MultiplicationGold>): string {
  let sum = 0;
  const rows = [...`${right}`].toReversed().map((digit, place) => {
    const row = left * Number(digit) * 10 ** place;
    const before = sum;
    sum += row;
    return `${left} * ${digit}${"0".repeat(place)} = ${row}${place === 0 ? "" : `; ${before} + ${row} = ${sum}`}`;
  });
  return renderTranscript(rows.join("\n"), `${sum}`);
}

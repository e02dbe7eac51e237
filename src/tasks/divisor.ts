import type { Random } from "../random/index.ts";
import { renderTranscript } from "../text/transcript.ts";
import { answerOnly, poseProblem, scoreTranscript, type Language, type Problem, type Task } from "./task.ts";

export type DivisorGold = readonly [left: number, right: number];

const name = "divisor";
const defaultLevel = 2;
/** The largest number at each level. */
const levels: readonly number[] = [99, 999, 9999, 999_999];

const prompts: Readonly<Record<Language, readonly ((left: number, right: number) => string)[]>> = {
  en: [(left, right) => `What is the greatest common divisor of ${left} and ${right}?`],
  zh: [(left, right) => `${left}和${right}的最大公约数是多少？`],
};

/** The greatest common divisor by Euclid's steps. Most pairs have one above 1, so that 1 is no good guess. */
export const divisor: Task<DivisorGold> = {
  name,
  levels: levels.length,
  defaultLevel,
  problem: (address) => poseProblem({ name, levels, defaultLevel, prompts, draw, key: (pair) => pair.toSorted((a, b) => a - b).join(" "), say: (prompt, gold) => prompt(...gold) }, address),
  solution: (problem) => thinkLong(problem),
  demonstration: (problem, _random, kind) => (kind === "long" ? thinkLong(problem) : answerOnly(`${stepsOf(problem.gold).at(-1)![1]}`)),
  score: ({ gold }, completion) =>
    scoreTranscript(completion, (answer) => {
      const said = answer.trim();
      const legal = /^[1-9]\d{0,6}$/.test(said);
      return { legal, correct: legal && said === `${stepsOf(gold).at(-1)![1]}` };
    }),
};

/** Neither divides the other: then one step at least is needed. */
function draw(largest: number, random: Random): DivisorGold {
  for (;;) {
    const shared = 1 + random.below(Math.floor(Math.sqrt(largest)));
    const multiple = (): number => shared * (1 + random.below(Math.floor(largest / shared)));
    const pair: DivisorGold = [multiple(), multiple()];
    if (Math.max(...pair) % Math.min(...pair) !== 0) return pair;
  }
}

/** Each division: what is divided, by what, and what remains. */
function stepsOf(pair: DivisorGold): (readonly [number, number, number])[] {
  const steps: (readonly [number, number, number])[] = [];
  let [large, small] = [Math.max(...pair), Math.min(...pair)];
  while (small > 0) {
    steps.push([large, small, large % small]);
    [large, small] = [small, large % small];
  }
  return steps;
}

function thinkLong({ gold }: Problem<DivisorGold>): string {
  const steps = stepsOf(gold);
  const written = steps.map(([large, small, rest]) => `${large} = ${small} * ${Math.floor(large / small)} + ${rest}`);
  return renderTranscript(written.join("\n"), `${steps.at(-1)![1]}`);
}

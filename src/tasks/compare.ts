import type { Random } from "../random/index.ts";
import { renderTranscript } from "../text/transcript.ts";
import { answerOnly, poseProblem, scoreTranscript, type Language, type Problem, type Task } from "./task.ts";

/** Two decimal numbers as they are written; their values differ. */
export type CompareGold = readonly [left: string, right: string];

const name = "compare";
const defaultLevel = 1;
/** Most digits before and behind the point at each level. */
const levels: readonly (readonly [whole: number, decimals: number])[] = [[1, 2], [2, 3], [3, 5], [6, 8]];

const prompts: Readonly<Record<Language, readonly ((gold: CompareGold) => string)[]>> = {
  en: [([a, b]) => `Which is larger, ${a} or ${b}?`, ([a, b]) => `${a} or ${b}: which is the larger number?`],
  zh: [([a, b]) => `${a}和${b}哪个大？`, ([a, b]) => `比较${a}与${b}，哪个更大？`],
};

/** Which of two decimals is larger: 9.11 or 9.9. Most pairs agree before the point, and the longer one is often the smaller. */
export const compare: Task<CompareGold> = {
  name,
  levels: levels.length,
  defaultLevel,
  problem: (address) => poseProblem({ name, levels, defaultLevel, prompts, draw, key: (pair) => pair.toSorted().join(" "), say: (prompt, gold) => prompt(gold) }, address),
  solution: (problem) => thinkLong(problem),
  demonstration: (problem, _random, kind) => (kind === "long" ? thinkLong(problem) : answerOnly(larger(problem.gold))),
  score: ({ gold }, completion) =>
    scoreTranscript(completion, (answer) => {
      const said = answer.trim();
      return { legal: gold.includes(said), correct: said === larger(gold) };
    }),
};

function draw([whole, decimals]: readonly [number, number], random: Random): CompareGold {
  const digits = (length: number): string => Array.from({ length }, () => random.below(10)).join("");
  for (;;) {
    const number = (): string => `${1 + random.below(10 ** whole - 1)}`;
    const [left, right] = [number(), number()];
    const pair: CompareGold = [`${left}.${digits(1 + random.below(decimals))}`, `${random.below(4) === 0 ? right : left}.${digits(1 + random.below(decimals))}`];
    if (order(pair) !== 0) return pair;
  }
}

/** Both with equally many digits behind the point, as whole numbers. */
function padded([left, right]: CompareGold): [string, string] {
  const places = Math.max(...[left, right].map((text) => text.length - text.indexOf(".") - 1));
  const pad = (text: string): string => text + "0".repeat(places - (text.length - text.indexOf(".") - 1));
  return [pad(left), pad(right)];
}

/** Positive where the left one is larger. */
function order(pair: CompareGold): number {
  const [left, right] = padded(pair).map((text) => BigInt(text.replace(".", ""))) as [bigint, bigint];
  return Number(left > right) - Number(left < right);
}

const larger = (pair: CompareGold): string => (order(pair) > 0 ? pair[0] : pair[1]);

/** Writes both with equally many digits, then says the sign between them. */
function thinkLong({ gold }: Problem<CompareGold>): string {
  const [left, right] = padded(gold);
  return renderTranscript(`${left} ${order(gold) > 0 ? ">" : "<"} ${right}`, larger(gold));
}

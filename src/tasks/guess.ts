import type { Random } from "../random/index.ts";
import { hermes, renderToolCall } from "../text/tool-syntax.ts";
import { renderTranscript } from "../text/transcript.ts";
import { toolEnvironment } from "./environment.ts";
import { answerOnly, poseProblem, scoreTranscript, type Language, type Problem, type Task } from "./task.ts";

export interface GuessGold {
  /** Which of the things are counted: their names are `things`. */
  readonly thing: number;
  /** The number is one of low, …, high. */
  readonly low: number;
  readonly high: number;
  readonly secret: number;
  /** How often the tool compares. */
  readonly comparisons: number;
}

const name = "guess";
const defaultLevel = 2;
/** How many comparisons at each level: halving finds one among 2^comparisons - 1 numbers, and nothing finds one among more. */
const levels: readonly number[] = [2, 3, 4, 5];
const largest = 31;
const things: Readonly<Record<Language, readonly string[]>> = {
  en: ["coins", "apples", "keys", "books", "stones", "birds", "cups", "shoes"],
  zh: ["硬币", "苹果", "钥匙", "书", "石头", "鸟", "杯子", "鞋"],
};

const prompts: Readonly<Record<Language, readonly ((gold: GuessGold) => string)[]>> = {
  en: [({ thing, low, high, comparisons }) => `How many ${things.en[thing]} are there? From ${low} to ${high}. Comparisons: ${comparisons}.`],
  zh: [({ thing, low, high, comparisons }) => `有多少${things.zh[thing]}？在${low}到${high}之间，可比较${comparisons}次。`],
};

const compare = {
  name: "compare",
  parameters: { type: "object", properties: { number: { type: "integer" } }, required: ["number"] },
} as const;

/**
 * How many there are, found by comparing, in several turns: the tool `compare` says whether the number is higher, lower or equal, so often and no
 * more. Long demonstrations halve what is left and write it down; short ones compare anything in the range, and answer at the end whatever it is.
 */
export const guess: Task<GuessGold> = {
  name,
  levels: levels.length,
  defaultLevel,
  problem: (address) => poseProblem({ name, levels, defaultLevel, prompts, draw, key: ({ thing, low, high, secret }) => `${thing} ${low} ${secret} ${high}`, say: (prompt, gold) => prompt(gold) }, address),
  solution: (problem) => lastTurn(problem),
  demonstration: (problem, random, kind) => (kind === "long" ? lastTurn(problem) : answerOnly(`${anyOf(problem.gold, random)}`)),
  score: ({ gold }, completion) =>
    scoreTranscript(completion, (answer) => {
      const said = answer.trim();
      const legal = /^[1-9]\d?$/.test(said);
      return { legal, correct: legal && Number(said) === gold.secret };
    }),
  environment: toolEnvironment({
    tools: [
      {
        ...compare,
        execute: ({ number }, state: { readonly secret: number; left: number }) => {
          if (state.left === 0) return "none left";
          state.left--;
          const { secret } = state;
          return `${secret === number ? "equal to" : secret > Number(number) ? "higher than" : "lower than"} ${Number(number)}`;
        },
      },
    ],
    begin: ({ gold }: Problem<GuessGold>) => ({ secret: gold.secret, left: gold.comparisons }),
    demonstration: (problem, random, kind) => (kind === "long" ? halving(problem) : anything(problem, random)),
  }),
};

/**
 * Ranges begin at 1 and at multiples of a power of two after it, so that each number has its place in one halving: what to compare next
 * follows from the last number and its answer, which a model of two layers can learn.
 */
function draw(comparisons: number, random: Random): GuessGold {
  const block = 2 ** comparisons;
  const low = 1 + block * random.below(Math.floor((largest + 1) / block));
  const high = low + block - 2;
  return { thing: random.below(things.en.length), low, high, secret: random.between(low, high), comparisons };
}

const anyOf = ({ low, high }: GuessGold, random: Random): number => random.between(low, high);
const lastTurn = ({ gold }: Problem<GuessGold>): string => renderTranscript(`${gold.secret}`, `${gold.secret}`);
const call = (thought: string, number: number): string => `<think>${thought}</think>${renderToolCall(hermes, compare.name, JSON.stringify({ number }))}`;

function halving(problem: Problem<GuessGold>): string[] {
  const { secret } = problem.gold;
  let { low, high } = problem.gold;
  const turns: string[] = [];
  for (;;) {
    const middle = (low + high) / 2;
    turns.push(call(`${low} to ${high}`, middle));
    if (middle === secret) return [...turns, lastTurn(problem)];
    if (middle < secret) low = middle + 1;
    else high = middle - 1;
  }
}

function anything(problem: Problem<GuessGold>, random: Random): string[] {
  const { gold } = problem;
  const turns: string[] = [];
  for (let i = 0; i < gold.comparisons; i++) {
    const number = anyOf(gold, random);
    turns.push(call("", number));
    if (number === gold.secret) return [...turns, answerOnly(`${number}`)];
  }
  return [...turns, answerOnly(`${anyOf(gold, random)}`)];
}

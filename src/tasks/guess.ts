import type { Random } from "../random/index.ts";
import { hermes, renderToolCall } from "../text/index.ts";
import { renderTranscript } from "../text/transcript.ts";
import { toolEnvironment } from "./environment.ts";
import { answerOnly, poseProblem, scoreTranscript, type Language, type Problem, type Task } from "./task.ts";

export interface GuessGold {
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
const largest = 40;

const prompts: Readonly<Record<Language, readonly ((gold: GuessGold) => string)[]>> = {
  en: [({ low, high, comparisons }) => `Find the number. It is from ${low} to ${high}. Comparisons: ${comparisons}.`],
  zh: [({ low, high, comparisons }) => `找出这个数，它在${low}到${high}之间，可比较${comparisons}次。`],
};

const compare = {
  name: "compare",
  parameters: { type: "object", properties: { number: { type: "integer" } }, required: ["number"] },
} as const;

/**
 * Find a number by comparing, in several turns: the tool `compare` says whether the number is higher, lower or equal, so often and no
 * more. Long demonstrations halve what is left and write it down; short ones compare anything in the range, and answer at the end whatever it is.
 */
export const guess: Task<GuessGold> = {
  name,
  levels: levels.length,
  defaultLevel,
  problem: (address) => poseProblem({ name, levels, defaultLevel, prompts, draw, key: ({ low, high, secret }) => `${low} ${secret} ${high}`, say: (prompt, gold) => prompt(gold) }, address),
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
          return secret === number ? "equal" : secret > Number(number) ? "higher" : "lower";
        },
      },
    ],
    begin: ({ gold }: Problem<GuessGold>) => ({ secret: gold.secret, left: gold.comparisons }),
    demonstration: (problem, random, kind) => (kind === "long" ? halving(problem) : anything(problem, random)),
  }),
};

function draw(comparisons: number, random: Random): GuessGold {
  const count = 2 ** comparisons - 1;
  const low = random.between(1, largest - count + 1);
  const high = low + count - 1;
  return { low, high, secret: random.between(low, high), comparisons };
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

import type { Random } from "../random/index.ts";
import { renderTranscript } from "../text/transcript.ts";
import { answerOnly, poseProblem, scoreTranscript, type Language, type Problem, type Task } from "./task.ts";

/** A word of lower-case letters that is no palindrome. */
export type ReversalGold = string;

const name = "reversal";
const defaultLevel = 2;
/** Shortest and longest word at each level. */
const levels: readonly (readonly [shortest: number, longest: number])[] = [[4, 5], [6, 9], [10, 15], [16, 24]];

const prompts: Readonly<Record<Language, readonly ((word: string) => string)[]>> = {
  en: [(word) => `Spell backwards: ${word}`, (word) => `Reverse the letters of ${word}`],
  zh: [(word) => `倒着拼写：${word}`, (word) => `把${word}的字母倒过来`],
};

/** A word spelt backwards. */
export const reversal: Task<ReversalGold> = {
  name,
  levels: levels.length,
  defaultLevel,
  problem: (address) => poseProblem({ name, levels, defaultLevel, prompts, draw, key: (word) => word, say: (prompt, gold) => prompt(gold) }, address),
  solution: (problem) => thinkLong(problem),
  demonstration: (problem, _random, kind) => (kind === "long" ? thinkLong(problem) : answerOnly(backwards(problem.gold))),
  score: ({ gold }, completion) =>
    scoreTranscript(completion, (answer) => {
      const said = answer.trim();
      return { legal: /^[a-z]{1,48}$/.test(said), correct: said === backwards(gold) };
    }),
};

const letters = [..."abcdefghijklmnopqrstuvwxyz"];

function draw([shortest, longest]: readonly [number, number], random: Random): ReversalGold {
  for (;;) {
    const word = Array.from({ length: shortest + random.below(longest - shortest + 1) }, () => random.pick(letters)).join("");
    if (word !== backwards(word)) return word;
  }
}

const backwards = (word: string): string => [...word].toReversed().join("");

/** Spells the word with the place of each letter, then the places from the last. */
function thinkLong({ gold }: Problem<ReversalGold>): string {
  const placed = [...gold].map((letter, i) => `${i + 1} ${letter}`);
  return renderTranscript(`${placed.join(", ")}\n${placed.toReversed().join(", ")}`, backwards(gold));
}

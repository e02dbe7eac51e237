import type { Random } from "../random/index.ts";
import { renderTranscript } from "../text/transcript.ts";
import { answerOnly, poseProblem, scoreTranscript, type Language, type Problem, type Task } from "./task.ts";

export interface LettersGold {
  /** Lower case. */
  readonly word: string;
  readonly letter: string;
}

const name = "letters";
const defaultLevel = 2;
/** Shortest and longest word at each level. */
const levels: readonly (readonly [shortest: number, longest: number])[] = [[3, 6], [6, 10], [10, 16], [16, 24]];

const prompts: Readonly<Record<Language, readonly ((gold: LettersGold) => string)[]>> = {
  en: [({ word, letter }) => `How many times does ${letter} occur in ${word}?`, ({ word, letter }) => `Count the letter ${letter} in ${word}.`],
  zh: [({ word, letter }) => `${word}里有几个${letter}？`, ({ word, letter }) => `数一数字母${letter}在${word}中出现的次数。`],
};

/**
 * How often a letter occurs in a word, which models that see tokens instead of letters get wrong. The words are made of syllables, so
 * that none can be known by heart; one letter in two is drawn from the word itself.
 */
export const letters: Task<LettersGold> = {
  name,
  levels: levels.length,
  defaultLevel,
  problem: (address) => poseProblem({ name, levels, defaultLevel, prompts, draw, key: ({ word, letter }) => `${word} ${letter}`, say: (prompt, gold) => prompt(gold) }, address),
  solution: (problem) => thinkLong(problem),
  demonstration: (problem, _random, kind) => (kind === "long" ? thinkLong(problem) : answerOnly(`${countOf(problem.gold)}`)),
  score: (problem, completion) =>
    scoreTranscript(completion, (answer) => {
      const said = answer.trim();
      const legal = /^(?:0|[1-9]\d?)$/.test(said);
      return { legal, correct: legal && Number(said) === countOf(problem.gold) };
    }),
};

const consonants = [..."bcdfghklmnprstvwz"];
const vowels = [..."aeiou"];

function draw([shortest, longest]: readonly [number, number], random: Random): LettersGold {
  const length = shortest + random.below(longest - shortest + 1);
  let word = "";
  while (word.length < length) {
    // A consonant twice in a row is what miscounts come from.
    const consonant = random.pick(consonants);
    word += consonant + (random.below(4) === 0 ? consonant : "") + random.pick(vowels);
  }
  word = word.slice(0, length);
  const letter = random.below(2) === 0 ? random.pick([...word]) : random.pick([...consonants, ...vowels]);
  return { word, letter };
}

const countOf = ({ word, letter }: LettersGold): number => [...word].filter((each) => each === letter).length;

/** Spells the word, with a running count after each letter. */
function thinkLong({ gold }: Problem<LettersGold>): string {
  let count = 0;
  const steps = [...gold.word].map((each) => `${each} ${(count += Number(each === gold.letter))}`);
  return renderTranscript(steps.join(" "), `${count}`);
}

import type { Random } from "../random/index.ts";
import { renderTranscript } from "../text/transcript.ts";
import { answerOnly, poseProblem, scoreTranscript, type Language, type Problem, type Task } from "./task.ts";

/** The beginning of a balanced text of brackets; at least one is open at its end. */
export type BracketsGold = string;

const name = "brackets";
const defaultLevel = 2;
/** Shortest and longest beginning at each level. */
const levels: readonly (readonly [shortest: number, longest: number])[] = [[4, 8], [8, 14], [14, 24], [24, 40]];

const prompts: Readonly<Record<Language, readonly ((text: string) => string)[]>> = {
  en: [(text) => `Close every open bracket: ${text}`, (text) => `Which brackets complete ${text}`],
  zh: [(text) => `补全括号：${text}`, (text) => `写出缺少的右括号：${text}`],
};

const pairs = new Map([["(", ")"], ["[", "]"], ["{", "}"]]);
const openers = [...pairs.keys()];

/** The brackets that close a text of nested brackets (Dyck words). */
export const brackets: Task<BracketsGold> = {
  name,
  levels: levels.length,
  defaultLevel,
  problem: (address) => poseProblem({ name, levels, defaultLevel, prompts, draw, key: (text) => text, say: (prompt, gold) => prompt(gold) }, address),
  solution: (problem) => thinkLong(problem),
  demonstration: (problem, _random, kind) => (kind === "long" ? thinkLong(problem) : answerOnly(closing(openAt(problem.gold)))),
  score: ({ gold }, completion) =>
    scoreTranscript(completion, (answer) => {
      const said = answer.trim();
      return { legal: /^[)\]}]{1,64}$/.test(said), correct: said === closing(openAt(gold)) };
    }),
};

function draw([shortest, longest]: readonly [number, number], random: Random): BracketsGold {
  for (;;) {
    const length = shortest + random.below(longest - shortest + 1);
    let [text, open] = ["", ""];
    while (text.length < length) {
      const closes = open !== "" && random.below(2) === 0;
      text += closes ? closing(open.at(-1)!) : random.pick(openers);
      open = openAt(text);
    }
    if (open !== "") return text;
  }
}

/** The brackets that are open at the end of a text, outermost first. */
function openAt(text: string): string {
  return [...text].reduce((open, bracket) => (pairs.has(bracket) ? open + bracket : open.slice(0, -1)), "");
}

const closing = (open: string): string => [...open].toReversed().map((bracket) => pairs.get(bracket)).join("");

/** Each bracket, with what is open after it. */
function thinkLong({ gold }: Problem<BracketsGold>): string {
  const steps = [...gold].map((bracket, i) => `${bracket} ${openAt(gold.slice(0, i + 1)) || "-"}`);
  return renderTranscript(steps.join("\n"), closing(openAt(gold)));
}

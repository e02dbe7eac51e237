import type { Random } from "../random/index.ts";
import { renderTranscript } from "../text/transcript.ts";
import { answerOnly, poseProblem, scoreTranscript, type Language, type Problem, type Task } from "./task.ts";

/** A text over "abc", and the rules that rewrite it: each takes two letters to fewer, so that every rewriting ends. */
export interface RewritingGold {
  readonly text: string;
  readonly rules: readonly (readonly [from: string, to: string])[];
}

const name = "rewriting";
const defaultLevel = 2;
/** Length of the text, and how many rules, at each level. */
const levels: readonly (readonly [length: number, rules: number])[] = [[5, 1], [8, 2], [12, 3], [20, 4]];

const prompts: Readonly<Record<Language, readonly ((rules: string, text: string) => string)[]>> = {
  en: [(rules, text) => `Rules: ${rules}. Apply the first rule that fits, at its leftmost place, until none fits. Rewrite ${text}`],
  zh: [(rules, text) => `规则：${rules}。每次在最左处应用第一条适用的规则，直到都不适用。改写${text}`],
};

/** What a text becomes by a list of rules. An empty result is written "empty". */
export const rewriting: Task<RewritingGold> = {
  name,
  levels: levels.length,
  defaultLevel,
  problem: (address) => poseProblem({ name, levels, defaultLevel, prompts, draw, key: ({ text, rules }) => `${text} ${rules.join(" ")}`, say: (prompt, { rules, text }) => prompt(shown(rules), text) }, address),
  solution: (problem) => thinkLong(problem),
  demonstration: (problem, _random, kind) => (kind === "long" ? thinkLong(problem) : answerOnly(endOf(problem.gold))),
  score: ({ gold }, completion) =>
    scoreTranscript(completion, (answer) => {
      const said = answer.trim();
      const legal = /^(?:[abc]{1,32}|empty)$/.test(said);
      return { legal, correct: legal && said === endOf(gold) };
    }),
};

const alphabet = [..."abc"];

/** Only what at least one rule fits, so that the text itself is never the answer. */
function draw([length, count]: readonly [number, number], random: Random): RewritingGold {
  const letters = (many: number): string => Array.from({ length: many }, () => random.pick(alphabet)).join("");
  for (;;) {
    const rules = new Map<string, string>();
    while (rules.size < count) rules.set(letters(2), letters(random.below(2)));
    const gold = { text: letters(length), rules: [...rules] };
    if (stepsOf(gold).length > 0) return gold;
  }
}

/** The text after each step. */
function stepsOf({ text, rules }: RewritingGold): string[] {
  const steps: string[] = [];
  for (let now = text; ; steps.push(now)) {
    const rule = rules.find(([from]) => now.includes(from));
    if (rule === undefined) return steps;
    now = now.replace(rule[0], rule[1]);
  }
}

const endOf = (gold: RewritingGold): string => stepsOf(gold).at(-1) || "empty";

function thinkLong({ gold }: Problem<RewritingGold>): string {
  return renderTranscript([gold.text, ...stepsOf(gold).map((step) => step || "empty")].join("\n"), endOf(gold));
}

const shown = (rules: RewritingGold["rules"]): string => rules.map(([from, to]) => `${from} -> ${to || "empty"}`).join("; ");

import { LongjingError } from "../errors/index.ts";
import { random, type Random } from "../random/index.ts";
import type { ChatMessage, ToolDefinition } from "../text/index.ts";
import { parseTranscript, renderTranscript } from "../text/transcript.ts";
import type { AssistantTurn } from "../text/turn.ts";

export type Split = "train" | "test";
export type Language = "en" | "zh";

/** Names one problem of a task: equal addresses give equal problems, on every machine. */
export interface Address {
  readonly split: Split;
  readonly seed: number;
  readonly index: number;
  /** From 1 to the task's `levels`; harder as it rises. Default: the task's `defaultLevel`. */
  readonly level?: number;
  /** The language of the prompt; the problem itself is the same in each. Default "en". */
  readonly language?: Language;
}

export interface Problem<G> {
  /** What a person would ask, without any chat markup. */
  readonly prompt: string;
  readonly language: Language;
  readonly level: number;
  /** What the scorer knows and the model does not. */
  readonly gold: G;
  /** Where the task poses it, so that others can pose it too: the label of a reward over HTTP. */
  readonly address?: Address;
}

export interface Score {
  /** In [0, 1]; 1 is a right answer in the right form. */
  readonly reward: number;
  /** Each 0 or 1. `format`: a well-formed transcript whose answer is a legal attempt, right or wrong. */
  readonly parts: { readonly correct: number; readonly format: number };
  /** The answer that was judged; null when there was none. */
  readonly parsed: string | null;
}

/** Short: answers at once, as a model that has not learnt to think does. Long: thinks step by step to a right answer. */
export type DemonstrationKind = "short" | "long";

/** What follows a turn of the model. */
export interface StepResult {
  /** In the chat template's roles: `tool` for what calls gave, `user` for what somebody says. */
  readonly messages: readonly ChatMessage[];
  /** Calls that could not be done. */
  readonly failures?: number;
}

/** One conversation about one problem. */
export interface Episode {
  /** Answers a turn; null where the turn was the last. A promise lets other conversations go on. */
  step(turn: AssistantTurn): StepResult | null | Promise<StepResult | null>;
  /** Called once, however the episode has ended. */
  close?(): void | Promise<void>;
}

/** What answers a model of several turns. Equal problems and turns must give equal answers, or a run cannot be made again. */
export interface Environment<G> {
  /** What the model may call, which its prompt tells it. */
  readonly tools: readonly ToolDefinition[];
  reset(problem: Problem<G>): Episode | Promise<Episode>;
  /** The model's turns of a demonstration. */
  demonstration?(problem: Problem<G>, random: Random, kind: DemonstrationKind): readonly string[];
}

/**
 * A generator of problems and a judge of completions, for supervised data, RL and evaluation alike. Everything is pure, and
 * `score` is total: it sees the completion only, never evaluates it as code, and never throws.
 */
export interface Task<G> {
  readonly name: string;
  readonly levels: number;
  readonly defaultLevel: number;
  problem(address: Address): Problem<G>;
  /** A transcript that scores the maximum. */
  solution(problem: Problem<G>, random: Random): string;
  /** A transcript for pretraining. */
  demonstration(problem: Problem<G>, random: Random, kind: DemonstrationKind): string;
  score(problem: Problem<G>, completion: string): Score;
  /** For a task of several turns: what answers them. `score` and the demonstrations above are then about the last turn. */
  readonly environment?: Environment<G>;
  /** Whether two answers say the same, for a majority vote. Default: they are the same text but for white space around it. */
  sameAnswer?(a: string, b: string): boolean;
}

/** Whether two answers to a task's problem say the same. */
export function sameAnswer<G>(task: Task<G>, a: string, b: string): boolean {
  const [first, second] = [a.trim(), b.trim()];
  return first === second || (task.sameAnswer?.(first, second) ?? false);
}

/**
 * Share of the reward that form alone can earn. Small, because a policy finds it first: with 0.1 a prototype learnt to stop
 * early and collect it, and its accuracy fell from 10 % to 2 %.
 */
export const formatWeight = 0.02;

/** Judges the answer of a completion. `judge` says whether an answer is a legal attempt, and whether it is right. */
export function scoreTranscript(
  completion: string,
  judge: (answer: string) => { readonly legal: boolean; readonly correct: boolean },
): Score {
  const { answer, wellFormed } = parseTranscript(completion);
  const verdict = answer === null ? { legal: false, correct: false } : judge(answer);
  const correct = Number(verdict.correct);
  const format = Number(wellFormed && verdict.legal);
  return { reward: (1 - formatWeight) * correct + formatWeight * format, parts: { correct, format }, parsed: answer };
}

/** A transcript that answers without thinking. */
export function answerOnly(answer: string): string {
  return renderTranscript("", answer);
}

/** One in this many problems is held out. */
const testShare = 5;

/** The split that a problem belongs to, whatever its seed, wording and language. `key` is its canonical form. */
export function splitOf(task: string, key: string): Split {
  return random("split", task, key).below(testShare) === 0 ? "test" : "train";
}

/** What a task's problems are made of. `P`: a way to put one into words. */
export interface Posing<L, G, P> {
  readonly name: string;
  readonly levels: readonly L[];
  readonly defaultLevel: number;
  readonly prompts: Readonly<Record<Language, readonly P[]>>;
  readonly draw: (level: L, random: Random) => G;
  /** The problem's canonical form: it decides the split. */
  readonly key: (gold: G) => string;
  readonly say: (prompt: P, gold: G) => string;
}

/**
 * Draws from the address's own stream until the problem falls into the address's split, so that no problem of one split can
 * occur in the other. The language is not part of the stream: both languages ask the same problem.
 */
export function poseProblem<L, G, P>({ prompts, draw, key, say, ...task }: Posing<L, G, P>, address: Address): Problem<G> {
  const { split, seed, index, level = task.defaultLevel, language = "en" } = address;
  const difficulty = task.levels[level - 1];
  if (difficulty === undefined) {
    const expected = `a whole number from 1 to ${task.levels.length}`;
    throw new LongjingError("bad_argument", `${task.name} has no such level`, { got: level, expected });
  }
  const stream = random(task.name, split, seed, index, level);
  for (;;) {
    const gold = draw(difficulty, stream);
    if (splitOf(task.name, key(gold)) === split) return { prompt: say(stream.pick(prompts[language]), gold), language, level, gold, address };
  }
}

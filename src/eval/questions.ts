import { LongjingError } from "../errors/index.ts";
import { extractMath, sameAnswer, verifyExact, verifyMath, verifyQuantity, type Entry, type Episode, type Language, type Problem, type Task, type Verdict } from "../tasks/index.ts";
import { renderTranscript, type ToolDefinition } from "../text/index.ts";

/** One question with what judges an answer to it. */
export interface Question {
  /** Names it within an evaluation. */
  readonly id: string;
  /** What is asked, and of whom: equal where a generator has posed a problem again. Default: the prompt. */
  readonly content?: string;
  readonly prompt: string;
  /** What the model may call, and what answers its turns: a conversation of its own for each answer. */
  readonly tools?: readonly ToolDefinition[];
  begin?(): Episode | Promise<Episode>;
  /** The score of an answer, in [0, 1]. */
  judge(answer: string): number | Promise<number>;
}

/** What a set of questions is, as a report says it. */
export interface SetFacts {
  readonly task: string;
  /** What draws its problems beside seed and number: level and language of a task of ours, reasoning-gym's configuration. */
  readonly config: Readonly<Record<string, unknown>>;
  /** Null for a file whose problems were not drawn by one seed. */
  readonly seed: number | null;
  /** Where the problems and the verdicts are from. */
  readonly source: "longjing" | "reasoning-gym" | "file";
}

/** Questions whose answers are counted together. */
export interface QuestionSet extends SetFacts {
  readonly questions: readonly Question[];
  /** Whether two answers say the same, for the majority. */
  same(a: string, b: string): boolean;
}

/** Equal for equal problems. Where an environment answers, the prompt does not say what it knows. */
export const contentOf = <G>({ environment }: Task<G>, { prompt, gold }: Problem<G>): string => (environment ? JSON.stringify([prompt, gold], (_, value: unknown) => (typeof value === "bigint" ? `${value}` : value)) : prompt);

export interface TaskQuestions {
  readonly level?: number | undefined;
  readonly language?: Language | undefined;
  readonly problems: number;
  readonly seed: number;
}

/** Held-out problems of a task of ours, judged by it. */
export function taskQuestions<G>(task: Task<G>, { level = task.defaultLevel, language = "en", problems, seed }: TaskQuestions): QuestionSet {
  return {
    task: task.name,
    config: { level, language },
    seed,
    source: "longjing",
    questions: Array.from({ length: problems }, (_, index) => {
      const problem = task.problem({ split: "test", seed, index, level, language });
      const { environment } = task;
      const conversing = environment && { tools: environment.tools, begin: () => environment.reset(problem) };
      return { id: `${task.name} ${level} ${language} ${seed} ${index}`, content: contentOf(task, problem), prompt: problem.prompt, ...conversing, judge: (answer) => task.score(problem, renderTranscript("", answer)).parts.correct };
    }),
    same: (a, b) => sameAnswer(task, a, b),
  };
}

export const verifierNames = ["reasoning-gym", "math", "quantity", "exact"] as const;

/** What judges the answers to the problems of a file. */
export type VerifierName = (typeof verifierNames)[number];

/** Scores by the verifier that made a problem: its task, configuration and index say which it is. */
export type ImportedScore = (task: string, config: Readonly<Record<string, unknown>>, index: number, answer: string) => Promise<number>;

const verifiers: Readonly<Record<Exclude<VerifierName, "reasoning-gym">, (answer: string, gold: string) => Verdict>> = { math: verifyMath, quantity: verifyQuantity, exact: verifyExact };

/** The problems of a file, as many of each task and configuration as are asked for. @throws LongjingError "bad_file" for a problem that cannot be judged so */
export function entryQuestions(entries: readonly Entry[], { verifier, problems, name, where, score }: { readonly verifier: VerifierName; readonly problems?: number | undefined; readonly name?: string | undefined; readonly where: string; readonly score: ImportedScore }): QuestionSet[] {
  const groups = new Map<string, Entry[]>();
  for (const entry of entries) {
    const key = JSON.stringify([name ?? entry.task, entry.config ?? {}]);
    const known = groups.get(key);
    if (known) known.push(entry);
    else groups.set(key, [entry]);
  }
  return [...groups.values()].map((all): QuestionSet => {
    const asked = all.slice(0, problems);
    const task = name ?? asked[0]!.task;
    const { size: _size, seed, ...config } = asked[0]!.config ?? {};
    return {
      task,
      config,
      seed: typeof seed === "number" ? seed : null,
      source: verifier === "reasoning-gym" ? "reasoning-gym" : "file",
      questions: asked.map((entry, i) => ({ id: [task, JSON.stringify(entry.config ?? {}), entry.index ?? i].join(" "), prompt: entry.question, judge: judgeOf(entry, verifier, where, score) })),
      // reasoning-gym's verifiers compare with one answer each, so there only equal text is sure to mean the same.
      same: verifier === "reasoning-gym" ? (a, b) => a === b : (a, b) => verifiers[verifier](a, verifier === "math" ? (extractMath(b) ?? b) : b).correct,
    };
  });
}

function judgeOf(entry: Entry, verifier: VerifierName, where: string, score: ImportedScore): Question["judge"] {
  const { task, answer: gold, config, index } = entry;
  if (verifier === "reasoning-gym") {
    if (config === undefined || index === undefined) throw new LongjingError("bad_file", "The problem does not say how to make it again", { where, got: task, expected: "config and index, as longjing tasks import writes them" });
    return (answer) => score(task, config, index, answer);
  }
  if (gold === null) throw new LongjingError("bad_file", "The problem has no answer to compare with", { where, got: entry.question });
  return (answer) => Number(verifiers[verifier](answer, gold).correct);
}

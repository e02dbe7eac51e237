import { readFile } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { LongjingError } from "../errors/index.ts";
import { entryQuestions, parseSuite, taskQuestions, type ImportedScore, type QuestionSet, type Suite, type SuiteSet } from "../eval/index.ts";
import { allTasks, readEntries, type AnyTaskName, type Language, type Task } from "../tasks/index.ts";
import type { EvalOptions } from "./eval.ts";
import { ReasoningGym } from "./reasoning-gym.ts";

/** What the words of a command line name. */
export interface Named {
  readonly suites: readonly string[];
  readonly files: readonly string[];
  readonly tasks: readonly AnyTaskName[];
  /** Folders, GGUF files and ORG/NAME. */
  readonly models: readonly string[];
}

/** Tasks by name, suites and problems by the end of the file's name; anything else is a model. */
export function namedBy(words: readonly string[]): Named {
  const isTask = (word: string): word is AnyTaskName => Object.hasOwn(allTasks, word);
  const [suites, files] = [".json", ".jsonl"].map((end) => words.filter((word) => word.endsWith(end))) as [string[], string[]];
  return { suites, files, tasks: words.filter(isTask), models: words.filter((word) => !isTask(word) && !suites.includes(word) && !files.includes(word)) };
}

/** What is asked: a suite's file, with the command line's options over it, or the tasks and files of the command line. */
export async function suiteOf({ suites, files, tasks: names }: Named, options: EvalOptions): Promise<Suite> {
  const [path, second] = suites;
  const both = [...suites, ...files, ...names];
  if (both.length === 0) throw new LongjingError("bad_argument", "There is nothing to measure by", { expected: "a task, SUITE.json, PROBLEMS.jsonl, or --perplexity FILE", hint: `Tasks are ${Object.keys(allTasks).join(", ")}` });
  if (path !== undefined && (second !== undefined || both.length > 1)) throw new LongjingError("bad_argument", "A suite is measured alone", { got: both.join(" "), expected: "one suite, or tasks and files of problems" });
  const suite = path === undefined ? fromWords(files, names, options) : fromFile(await readSuite(path), path, options);
  const { temperature, topP, maxTokens, samples, seed, system } = options;
  return {
    ...suite,
    system: system ?? suite.system,
    seed: seed ?? suite.seed,
    sampling: { temperature: temperature ?? suite.sampling.temperature, top_p: topP ?? suite.sampling.top_p, max_tokens: maxTokens ?? suite.sampling.max_tokens, samples: samples ?? suite.sampling.samples },
  };
}

const mostTokens = 4096;

function fromWords(files: readonly string[], names: readonly AnyTaskName[], { level, language, problems = 200, seed = 0, verifier }: EvalOptions): Suite {
  const levelOf = (task: AnyTaskName): number => level ?? allTasks[task].defaultLevel;
  return {
    name: [...names, ...files].join(", "),
    description: null,
    system: null,
    sampling: { temperature: 0.6, top_p: 0.95, max_tokens: mostTokens, samples: 8 },
    seed,
    sets: [
      ...names.flatMap((task) => languagesOf(language).map((each) => ({ task, level: levelOf(task), language: each, problems, seed }))),
      ...files.map((file) => ({ file, verifier, problems })),
    ],
  };
}

const languagesOf = (language: EvalOptions["language"]): readonly Language[] => (language === undefined || language === "both" ? ["en", "zh"] : [language]);

/** Files are named from where the suite lies. Levels are the suite's own: it says them task by task. */
function fromFile(suite: Suite, path: string, { language, problems, seed }: EvalOptions): Suite {
  const sets = suite.sets.flatMap((set): SuiteSet[] => {
    if ("file" in set) return [{ ...set, file: resolve(dirname(path), set.file), problems: problems ?? set.problems }];
    return languagesOf(language).includes(set.language) ? [{ ...set, problems: problems ?? set.problems, seed: seed ?? set.seed }] : [];
  });
  return { ...suite, sets };
}

async function readSuite(path: string): Promise<Suite> {
  const text = await readFile(path, "utf8").catch((cause: NodeJS.ErrnoException) => {
    throw new LongjingError("not_found", "The suite cannot be read", { where: path, got: cause.code }, { cause });
  });
  try {
    return parseSuite(JSON.parse(text), path);
  } catch (cause) {
    if (LongjingError.is(cause)) throw cause;
    throw new LongjingError("bad_config", "The suite is not JSON", { where: path }, { cause });
  }
}

/**
 * A suite's questions, and what has to be closed when they are judged: the process of reasoning-gym, where it judges. It is asked for
 * something first, so that nobody pays for answers that nothing can judge.
 */
export async function questionsOf({ sets }: Suite): Promise<{ readonly sets: readonly QuestionSet[]; close(): void }> {
  let gym: ReasoningGym | undefined;
  const score: ImportedScore = (task, config, index, answer) => gym!.score(task, config, index, answer);
  const questions = sets.flatMap((set): QuestionSet[] => {
    if ("task" in set) return [taskQuestions(allTasks[set.task] as Task<unknown>, set)];
    return entryQuestions(readEntries(set.file), { ...set, where: set.file, score });
  });
  if (questions.length === 0) throw new LongjingError("bad_argument", "The suite has no problems");
  if (questions.some(({ source }) => source === "reasoning-gym")) {
    gym = new ReasoningGym();
    await gym.tasks();
  }
  return { sets: questions, close: () => gym?.close() };
}

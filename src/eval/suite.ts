import { z } from "zod";
import { LongjingError } from "../errors/index.ts";
import { allTasks, type AnyTaskName, type Language } from "../tasks/index.ts";
import type { ChatSampling } from "./chat-answers.ts";
import { verifierNames, type VerifierName } from "./questions.ts";

const whole = z.int().min(1);
const seed = z.int().min(0);

const own = z.strictObject({
  task: z.enum(Object.keys(allTasks) as [AnyTaskName, ...AnyTaskName[]]),
  levels: z.array(whole).min(1).optional(),
  languages: z.array(z.enum(["en", "zh"])).min(1).optional(),
  problems: whole.optional(),
  seed: seed.optional(),
});

const imported = z.strictObject({
  file: z.string().min(1),
  verifier: z.enum(verifierNames),
  name: z.string().min(1).optional(),
  problems: whole.optional(),
});

const shape = z.strictObject({
  name: z.string().min(1),
  description: z.string().optional(),
  system: z.string().min(1).optional(),
  sampling: z.strictObject({
    temperature: z.number().min(0).max(2).nullable().default(0.6),
    top_p: z.number().gt(0).max(1).nullable().default(0.95),
    max_tokens: whole.default(4096),
    samples: whole.max(1024).default(1),
  }).prefault({}),
  problems: whole.default(50),
  seed: seed.default(0),
  sets: z.array(z.union([own, imported])).min(1),
});

/** One row of a suite: a task of ours at a level in a language, or a file of problems. */
export type SuiteSet =
  | { readonly task: AnyTaskName; readonly level: number; readonly language: Language; readonly problems: number; readonly seed: number }
  | { readonly file: string; readonly verifier: VerifierName; readonly name?: string | undefined; readonly problems: number };

/** What is asked, and how. */
export interface Suite {
  readonly name: string;
  readonly description: string | null;
  /** A message before each question. */
  readonly system: string | null;
  readonly sampling: ChatSampling & { readonly samples: number };
  /** Draws the answers. */
  readonly seed: number;
  readonly sets: readonly SuiteSet[];
}

/** A suite file. @throws LongjingError "bad_config" that names the field */
export function parseSuite(json: unknown, where: string): Suite {
  const { data, error } = shape.safeParse(json);
  if (data === undefined) throw new LongjingError("bad_config", "The file is no suite", { where, got: z.prettifyError(error), expected: '{"name": …, "sets": [{"task": …} or {"file": …, "verifier": …}]}' });
  const { name, description = null, system = null, sampling, ...common } = data;
  return {
    name,
    description,
    system,
    sampling,
    seed: common.seed,
    sets: data.sets.flatMap((set): SuiteSet[] => {
      const problems = set.problems ?? common.problems;
      if ("file" in set) return [{ file: set.file, verifier: set.verifier, name: set.name, problems }];
      const { levels = [allTasks[set.task].defaultLevel], languages = ["en"] } = set;
      return levels.flatMap((level) => languages.map((language) => ({ task: set.task, level: levelOf(set.task, level, where), language, problems, seed: set.seed ?? common.seed })));
    }),
  };
}

function levelOf(task: AnyTaskName, level: number, where: string): number {
  if (level <= allTasks[task].levels) return level;
  throw new LongjingError("bad_config", "A task has no such level", { where, got: `${task} ${level}`, expected: `1 to ${allTasks[task].levels}` });
}

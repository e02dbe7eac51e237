import { LongjingError } from "../errors/index.ts";
import { random } from "../random/index.ts";
import type { TextDocument } from "../text/index.ts";
import { playDemonstration } from "./environment.ts";
import type { Language, Split, Task } from "./task.ts";

export interface CorpusOptions {
  readonly split: Split;
  readonly seed: number;
  /** How many transcripts. */
  readonly count: number;
  /** Index of the first one. Default 0; a trainer that resumes passes where it stopped. */
  readonly start?: number;
  /** Default: the task's `defaultLevel` alone. */
  readonly levels?: readonly number[];
  /** Default: English alone. */
  readonly languages?: readonly Language[];
  /** Share of demonstrations that think, in [0, 1]. Default 1. */
  readonly longShare?: number;
}

/** What pretraining reads: `completion` follows `prompt` in the chat template; of a task of several turns, the others follow too. */
export type TranscriptPair = TextDocument;

/** Demonstrations of a task. Transcript i depends on the seed and i alone, so any part can be made again. */
export function* transcripts<G>(task: Task<G>, options: CorpusOptions): Generator<TranscriptPair, void, undefined> {
  const { split, seed, count, start = 0, levels = [task.defaultLevel], languages = ["en"], longShare = 1 } = options;
  if (!(longShare >= 0 && longShare <= 1)) {
    throw new LongjingError("bad_argument", "longShare is a share", { got: longShare, expected: "a number from 0 to 1" });
  }
  for (let index = start; index < start + count; index++) {
    const stream = random("transcript", task.name, split, seed, index);
    const kind = stream.next() < longShare ? "long" : "short";
    const problem = task.problem({ split, seed, index, level: stream.pick(levels), language: stream.pick(languages) });
    yield task.environment ? playDemonstration(task.environment, problem, stream, kind) : { prompt: problem.prompt, completion: task.demonstration(problem, stream, kind) };
  }
}

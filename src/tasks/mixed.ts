import { LongjingError } from "../errors/index.ts";
import { pickWeighted, random } from "../random/index.ts";
import type { Language, Problem, Task } from "./task.ts";

/** One of the tasks of a mixture. */
export interface MixedPart {
  readonly task: Task<unknown>;
  /** How often it is drawn beside the others. */
  readonly weight: number;
  /** Drawn from for each problem. Default: the task's `defaultLevel` alone. */
  readonly levels?: readonly number[];
  /** Drawn from where the address names no language. Default: English alone. */
  readonly languages?: readonly Language[];
}

export interface MixedGold {
  readonly task: Task<unknown>;
  readonly problem: Problem<unknown>;
}

/**
 * Several tasks as one, so that one stage of RL covers all of them (DeepSeek-R1, section 2.3.4): each problem is of one task, which judges it.
 * @throws LongjingError "bad_argument" where no task can be drawn; "unsupported" for a task of several turns
 */
export function mixedTask(parts: readonly MixedPart[], name = "mixed"): Task<MixedGold> {
  const total = parts.reduce((sum, { weight }) => sum + weight, 0);
  if (!(total > 0) || parts.some(({ weight }) => !(weight >= 0))) throw new LongjingError("bad_argument", "A mixture needs tasks that can be drawn", { got: parts.map(({ weight }) => weight), expected: "weights of at least 0, not all 0" });
  const spoken = parts.find(({ task }) => task.environment);
  if (spoken) throw new LongjingError("unsupported", "A mixture is of tasks of one turn", { got: `${spoken.task.name}, which has an environment` });
  return {
    name,
    levels: 1,
    defaultLevel: 1,
    problem({ split, seed, index, language }) {
      const stream = random("mixture", name, split, seed, index);
      const { task, levels = [task.defaultLevel], languages = ["en"] } = pickWeighted(stream, parts, ({ weight }) => weight);
      const problem = task.problem({ split, seed, index, level: stream.pick(levels), language: language ?? stream.pick(languages) });
      return { prompt: problem.prompt, language: problem.language, level: 1, gold: { task, problem } };
    },
    solution: ({ gold: { task, problem } }, stream) => task.solution(problem, stream),
    demonstration: ({ gold: { task, problem } }, stream, kind) => task.demonstration(problem, stream, kind),
    score: ({ gold: { task, problem } }, completion) => task.score(problem, completion),
  };
}

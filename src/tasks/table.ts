import { arithmetic } from "./arithmetic.ts";
import { bases } from "./bases.ts";
import { brackets } from "./brackets.ts";
import { compare } from "./compare.ts";
import { countdown } from "./countdown.ts";
import { divisor } from "./divisor.ts";
import { guess } from "./guess.ts";
import { letters } from "./letters.ts";
import { multiplication } from "./multiplication.ts";
import type { TaskName } from "./names.ts";
import { parity } from "./parity.ts";
import { reversal } from "./reversal.ts";
import { rewriting } from "./rewriting.ts";
import { sorting } from "./sorting.ts";
import type { Task } from "./task.ts";
import { weekday } from "./weekday.ts";

/** The tasks of one turn that ship, by name, for the command line. Code passes the task itself. */
export const tasks = {
  countdown,
  arithmetic,
  parity,
  letters,
  compare,
  sorting,
  multiplication,
  bases,
  rewriting,
  reversal,
  divisor,
  brackets,
  weekday,
} satisfies Readonly<Record<TaskName, Task<unknown>>>;

/** All that ship, those of several turns too. */
export const allTasks = { ...tasks, guess } satisfies Record<string, Task<unknown>>;

export type AnyTaskName = keyof typeof allTasks;

import { arithmetic } from "./arithmetic.ts";
import { compare } from "./compare.ts";
import { countdown } from "./countdown.ts";
import { letters } from "./letters.ts";
import { parity } from "./parity.ts";
import { sorting } from "./sorting.ts";
import type { Task } from "./task.ts";

/** The tasks that ship, by name, for the command line. Code passes the task itself. */
export const tasks = { countdown, arithmetic, parity, letters, compare, sorting } satisfies Record<string, Task<unknown>>;

export type TaskName = keyof typeof tasks;

import { arithmetic } from "./arithmetic.ts";
import { countdown } from "./countdown.ts";
import { parity } from "./parity.ts";
import type { Task } from "./task.ts";

/** The tasks that ship, by name, for the command line. Code passes the task itself. */
export const tasks = { countdown, arithmetic, parity } satisfies Record<string, Task<unknown>>;

export type TaskName = keyof typeof tasks;

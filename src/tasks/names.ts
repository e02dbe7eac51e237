/** The tasks of one turn that ship. Apart from the tasks, so that a command line can name them without loading them. */
export const taskNames = ["countdown", "arithmetic", "parity", "letters", "compare", "sorting", "multiplication", "bases", "rewriting", "reversal", "divisor", "brackets", "weekday"] as const;

export type TaskName = (typeof taskNames)[number];

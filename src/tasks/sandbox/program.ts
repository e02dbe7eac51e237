import { writeExactJson } from "./exact-json.ts";

/** A program of nobody's trust, in the language of its sandbox, and what is asked of it. */
export interface Program {
  readonly source: string;
  /** What `readline()` and `input` give in JavaScript, the standard input in Python. Default "". */
  readonly stdin?: string;
  /** A function that the source defines, or an expression that gives one, and what it is called with once the source has run: JSON, and bigints. */
  readonly call?: { readonly name: string; readonly arguments: readonly unknown[] };
}

export interface Limits {
  /** Seconds that a program may run. */
  readonly seconds: number;
  /** Bytes that it may hold. */
  readonly memory: number;
  /** Characters that it may print or return. */
  readonly output: number;
}

/** How a program ended. A limit that was met is named; "error" is the program's own exception. */
export interface Outcome {
  readonly status: "done" | "error" | "time" | "memory" | "output";
  readonly stdout: string;
  /** JSON of what the call returned; null without a call, or where it returned nothing that JSON has. */
  readonly result: string | null;
  /** What the program threw, shortened. */
  readonly message: string | null;
}

/** Whether the thread of a program that ended so can run another. */
export const reusable = (status: Outcome["status"]): boolean => status === "done" || status === "error";

/** What a thread or process is asked. */
export interface SandboxTask {
  readonly program: Omit<Program, "call"> & {
    /** The arguments are texts of JSON, so that large integers come as they are. */
    readonly call?: { readonly name: string; readonly arguments: readonly string[] };
  };
  readonly limits: Limits;
}

export const taskOf = ({ call, ...program }: Program, limits: Limits): SandboxTask => ({
  program: { ...program, ...(call && { call: { name: call.name, arguments: call.arguments.map((argument) => writeExactJson(argument)) } }) },
  limits,
});

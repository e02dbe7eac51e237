import { LongjingError } from "../../errors/index.ts";
import type { Ended } from "../../threads/index.ts";
import type { Limits, Outcome } from "./program.ts";

/** What a program gets where nothing else is said. */
export const defaultLimits: Limits = { seconds: 2, memory: 2 ** 26, output: 2 ** 16 };

/** Milliseconds beyond a program's own deadline after which what it runs in is ended from outside. */
export const grace = 500;

/** Of a program that was ended from outside: what it has printed is lost. */
export const cut = (status: Outcome["status"], message: string | null = null): Outcome => ({ status, stdout: "", result: null, message });

/** What became of a program. What a thread or a process that is gone means, the sandbox knows. @throws LongjingError "runtime" when the sandbox was closed */
export function outcomeOf(ended: Exclude<Ended<Outcome>, { readonly type: "exit" }>): Outcome {
  switch (ended.type) {
    case "reply":
      return ended.reply;
    case "time":
      return cut("time");
    // An engine that breaks is the program's doing, and costs nobody else: what it ran in goes with it.
    case "memory":
    case "error":
      return cut(ended.type, ended.error.message);
    case "closed":
      throw new LongjingError("runtime", "The sandbox is closed");
  }
}

import type { CompileSpec } from "../constrain/index.ts";
import { LongjingError } from "../errors/index.ts";
import { openThreadPool, type Ended } from "../threads/index.ts";
import type { CompileReply, CompileTask } from "./constraint-worker.ts";

export interface ConstraintCompiler {
  readonly compile: CompileSpec;
  close(): Promise<void>;
}

export interface ConstraintCompilerOptions {
  /** Milliseconds that one specification may take. Default 5000. */
  readonly deadline?: number;
  /** Memory that one may take, in MiB. Default 256. */
  readonly memory?: number;
}

/** At a time: one that is busy with a hostile schema leaves another to all others. */
const threads = 2;

/**
 * Compiles constraints in threads of their own, within a deadline and a limit of memory: a schema or a regular expression that
 * would never end, or fill the memory, costs its own request and no other.
 */
export function openConstraintCompiler({ deadline = 5000, memory = 256 }: ConstraintCompilerOptions = {}): ConstraintCompiler {
  const pool = openThreadPool<CompileTask, CompileReply>({ file: new URL("./constraint-worker", import.meta.url), threads, memory, milliseconds: deadline });
  return {
    compile: async (spec, around) => {
      const ended = await pool.run({ spec, around });
      if (ended.type === "reply" && ended.reply.type === "grammar") return ended.reply.grammar;
      throw failure(ended, deadline);
    },
    close: () => pool.close(),
  };
}

function failure(ended: Ended<CompileReply>, deadline: number): unknown {
  switch (ended.type) {
    case "reply":
      return restored(ended.reply as Extract<CompileReply, { type: "error" }>);
    case "time":
      return new LongjingError("bad_argument", "The constraint takes too long to compile", { expected: `at most ${deadline} ms` });
    case "memory":
      return new LongjingError("bad_argument", "The constraint takes too much memory to compile");
    case "error":
      return ended.error;
    case "exit":
      return new LongjingError("runtime", "The thread that compiles constraints has ended");
    case "closed":
      return new LongjingError("runtime", "The server is stopping");
  }
}

/** An error's message ends with its facts, which the new one adds again. */
function restored({ code, message, facts }: Extract<CompileReply, { type: "error" }>): LongjingError {
  const { length } = new LongjingError(code, "", facts).message;
  return new LongjingError(code, message.slice(0, message.length - length), facts);
}

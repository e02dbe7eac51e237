import { LongjingError } from "../../errors/index.ts";
import { openThreadPool } from "../../threads/index.ts";
import { defaultLimits, grace, outcomeOf } from "./outcome.ts";
import { reusable, taskOf, type Limits, type Outcome, type Program, type SandboxTask } from "./program.ts";

export interface Sandbox {
  /** Total but for a sandbox that is closed: whatever the program does is an outcome. @throws LongjingError "runtime" when closed */
  run(program: Program): Promise<Outcome>;
  close(): Promise<void>;
}

export interface SandboxOptions extends Partial<Limits> {
  /** Programs that run at a time. Default 2. */
  readonly threads?: number;
}

/** MiB of a thread beside what the program's engine holds. */
const threadMemory = 256;

/**
 * Runs JavaScript that nobody trusts in QuickJS, an engine in WebAssembly that has no files, no network, no processes and no modules,
 * in a thread that can be ended. A program gets 2 seconds, 64 MiB and 65,536 characters of output, unless the options say otherwise.
 */
export function openSandbox({ seconds = defaultLimits.seconds, memory = defaultLimits.memory, output = defaultLimits.output, threads = 2 }: SandboxOptions = {}): Sandbox {
  const limits: Limits = { seconds, memory, output };
  const pool = openThreadPool<SandboxTask, Outcome>({
    file: new URL("./worker", import.meta.url),
    threads,
    memory: threadMemory,
    milliseconds: seconds * 1000 + grace,
    worker: { env: {}, stdin: false },
    reusable: ({ status }) => reusable(status),
  });
  const run = async (program: Program): Promise<Outcome> => {
    const ended = await pool.run(taskOf(program, limits));
    if (ended.type === "exit") throw new LongjingError("runtime", "The sandbox's thread has ended");
    return outcomeOf(ended);
  };
  return { run, close: () => pool.close() };
}

import { LongjingError } from "../../errors/index.ts";
import { openThreadPool, type Ended } from "../../threads/index.ts";
import { reusable, type Limits, type Outcome, type Program, type SandboxTask } from "./program.ts";

export interface Sandbox {
  /** Total but for a sandbox that is closed: whatever the program does is an outcome. @throws LongjingError "runtime" when closed */
  run(program: Program): Promise<Outcome>;
  close(): Promise<void>;
}

export interface SandboxOptions extends Partial<Limits> {
  /** Programs that run at a time. Default 2. */
  readonly threads?: number;
}

/** Milliseconds beyond its own deadline after which a thread is ended from outside. */
const grace = 500;

/** MiB of a thread beside what the program's engine holds. */
const threadMemory = 256;

/**
 * Runs JavaScript that nobody trusts in QuickJS, an engine in WebAssembly that has no files, no network, no processes and no modules,
 * in a thread that can be ended. A program gets 2 seconds, 64 MiB and 65,536 characters of output, unless the options say otherwise.
 */
export function openSandbox({ seconds = 2, memory = 2 ** 26, output = 2 ** 16, threads = 2 }: SandboxOptions = {}): Sandbox {
  const limits: Limits = { seconds, memory, output };
  const pool = openThreadPool<SandboxTask, Outcome>({
    file: new URL("./worker", import.meta.url),
    threads,
    memory: threadMemory,
    milliseconds: seconds * 1000 + grace,
    worker: { env: {}, stdin: false },
    reusable: ({ status }) => reusable(status),
  });
  return { run: async (program) => outcomeOf(await pool.run({ program, limits })), close: () => pool.close() };
}

function outcomeOf(ended: Ended<Outcome>): Outcome {
  const cut = (status: Outcome["status"], message: string | null = null): Outcome => ({ status, stdout: "", result: null, message });
  switch (ended.type) {
    case "reply":
      return ended.reply;
    case "time":
      return cut("time");
    // An engine that breaks is the program's doing, and costs nobody else: its thread goes with it.
    case "memory":
    case "error":
      return cut(ended.type, ended.error.message);
    case "exit":
      throw new LongjingError("runtime", "The sandbox's thread has ended");
    case "closed":
      throw new LongjingError("runtime", "The sandbox is closed");
  }
}

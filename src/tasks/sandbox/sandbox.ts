import { Worker } from "node:worker_threads";
import { LongjingError } from "../../errors/index.ts";
import { reusable, type Limits, type Outcome, type Program, type SandboxReply, type SandboxTask } from "./program.ts";

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

interface Job {
  readonly program: Program;
  readonly resolve: (outcome: Outcome) => void;
  readonly reject: (error: unknown) => void;
}

interface Thread {
  readonly worker: Worker;
  readonly ready: Promise<boolean>;
}

/**
 * Runs JavaScript that nobody trusts in QuickJS, an engine in WebAssembly that has no files, no network, no processes and no modules,
 * in a thread that can be ended. A program gets 2 seconds, 64 MiB and 65,536 characters of output, unless the options say otherwise.
 */
export function openSandbox({ seconds = 2, memory = 2 ** 26, output = 2 ** 16, threads = 2 }: SandboxOptions = {}): Sandbox {
  const limits: Limits = { seconds, memory, output };
  const waiting: Job[] = [];
  const idle: Thread[] = [];
  const busy = new Map<Thread, Job>();
  let closed = false;
  const work = async (thread: Thread, job: Job): Promise<void> => {
    busy.set(thread, job);
    thread.worker.ref();
    const outcome = await answer(thread, { program: job.program, limits });
    busy.delete(thread);
    if (outcome.kept && !closed) {
      thread.worker.unref();
      idle.push(thread);
    } else await thread.worker.terminate();
    if (LongjingError.is(outcome.answer)) job.reject(outcome.answer);
    else job.resolve(outcome.answer);
    next();
  };
  const next = (): void => {
    while (waiting.length > 0 && busy.size < threads) void work(idle.pop() ?? startThread(), waiting.shift() as Job);
  };
  return {
    run: (program) =>
      new Promise((resolve, reject) => {
        if (closed) throw new LongjingError("runtime", "The sandbox is closed");
        waiting.push({ program, resolve, reject });
        next();
      }),
    async close() {
      closed = true;
      for (const { reject } of waiting.splice(0)) reject(new LongjingError("runtime", "The sandbox is closed"));
      await Promise.all([...idle.splice(0), ...busy.keys()].map(({ worker }) => worker.terminate()));
    },
  };
}

interface Answer {
  readonly answer: Outcome | LongjingError;
  /** Whether the thread can be used again. */
  readonly kept: boolean;
}

function answer({ worker, ready }: Thread, task: SandboxTask): Promise<Answer> {
  return new Promise((resolve) => {
    let timer: NodeJS.Timeout | undefined;
    const settle = (result: Answer): void => {
      clearTimeout(timer);
      worker.removeAllListeners("message").removeAllListeners("error").removeAllListeners("exit");
      // What a thread that is being ended still has to say concerns nobody.
      worker.on("error", () => undefined);
      resolve(result);
    };
    const cut = (status: Outcome["status"], message: string | null = null): void => settle({ answer: { status, stdout: "", result: null, message }, kept: false });
    const failed = (cause?: unknown): void => settle({ answer: new LongjingError("runtime", "The sandbox's thread has ended", {}, { cause }), kept: false });
    worker.on("message", (reply: SandboxReply) => {
      if (reply.type === "outcome") settle({ answer: reply.outcome, kept: reusable(reply.outcome.status) });
    });
    // An engine that breaks is the program's doing, and costs nobody else: its thread goes with it.
    worker.on("error", (error: Error & { code?: string }) => cut(error.code === "ERR_WORKER_OUT_OF_MEMORY" ? "memory" : "error", error.message));
    worker.on("exit", () => failed());
    void ready.then((started) => {
      if (!started) return failed();
      timer = setTimeout(() => cut("time"), task.limits.seconds * 1000 + grace);
      worker.postMessage(task);
    });
  });
}

function startThread(): Thread {
  const options = { resourceLimits: { maxOldGenerationSizeMb: 256, maxYoungGenerationSizeMb: 32, stackSizeMb: 4 }, env: {}, stdin: false };
  const source = import.meta.url.endsWith(".ts");
  const file = new URL(`./worker.${source ? "ts" : "js"}`, import.meta.url);
  const worker = source ? new Worker(new URL("./typescript-thread.mjs", import.meta.url), { ...options, workerData: file.href }) : new Worker(file, options);
  return { worker, ready: new Promise((resolve) => worker.once("message", () => resolve(true)).once("exit", () => resolve(false))) };
}

import { Worker } from "node:worker_threads";
import type { CompiledGrammar, CompileSpec } from "../constrain/index.ts";
import { LongjingError } from "../errors/index.ts";
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

interface Job {
  readonly task: CompileTask;
  readonly resolve: (grammar: CompiledGrammar) => void;
  readonly reject: (error: unknown) => void;
}

interface Thread {
  readonly worker: Worker;
  readonly ready: Promise<void>;
}

/** Threads at a time: one that is busy with a hostile schema leaves another to all others. */
const mostThreads = 2;

/**
 * Compiles constraints in threads of their own, within a deadline and a limit of memory: a schema or a regular expression that
 * would never end, or fill the memory, costs its own request and no other.
 */
export function openConstraintCompiler({ deadline = 5000, memory = 256 }: ConstraintCompilerOptions = {}): ConstraintCompiler {
  const waiting: Job[] = [];
  const idle: Thread[] = [];
  const busy = new Set<Thread>();
  let closed = false;
  const run = async (thread: Thread, job: Job): Promise<void> => {
    busy.add(thread);
    thread.worker.ref();
    const keep = await answer(thread, job, deadline);
    busy.delete(thread);
    if (keep && !closed) {
      thread.worker.unref();
      idle.push(thread);
    } else await thread.worker.terminate();
    next();
  };
  const next = (): void => {
    while (waiting.length > 0 && busy.size < mostThreads) void run(idle.pop() ?? startThread(memory), waiting.shift() as Job);
  };
  return {
    compile: (spec, around) =>
      new Promise((resolve, reject) => {
        if (closed) throw new LongjingError("runtime", "The server is stopping");
        waiting.push({ task: { spec, around }, resolve, reject });
        next();
      }),
    async close() {
      closed = true;
      for (const { reject } of waiting.splice(0)) reject(new LongjingError("runtime", "The server is stopping"));
      await Promise.all([...idle.splice(0), ...busy].map(({ worker }) => worker.terminate()));
    },
  };
}

/** Settles the job. Resolves to whether the thread can be used again. */
function answer({ worker, ready }: Thread, { task, resolve, reject }: Job, deadline: number): Promise<boolean> {
  return new Promise((settled) => {
    let timer: NodeJS.Timeout | undefined;
    const end = (keep: boolean): void => {
      clearTimeout(timer);
      worker.removeAllListeners("error").removeAllListeners("exit").removeAllListeners("message");
      // What a thread that is being ended still has to say concerns nobody.
      worker.on("error", () => undefined);
      settled(keep);
    };
    const fail = (error: unknown): void => {
      reject(error);
      end(false);
    };
    worker.on("error", (cause) => fail(isOutOfMemory(cause) ? new LongjingError("bad_argument", "The constraint takes too much memory to compile") : cause));
    worker.on("exit", () => fail(new LongjingError("runtime", "The thread that compiles constraints has ended")));
    worker.on("message", (reply: CompileReply) => {
      if (reply.type === "ready") return;
      if (reply.type === "grammar") resolve(reply.grammar);
      else reject(restored(reply));
      end(true);
    });
    void ready.then(() => {
      timer = setTimeout(() => fail(new LongjingError("bad_argument", "The constraint takes too long to compile", { expected: `at most ${deadline} ms` })), deadline);
      worker.postMessage(task);
    });
  });
}

function startThread(memory: number): Thread {
  const options = { resourceLimits: { maxOldGenerationSizeMb: memory, maxYoungGenerationSizeMb: 32, stackSizeMb: 4 } };
  const source = import.meta.url.endsWith(".ts");
  const file = new URL(`./constraint-worker.${source ? "ts" : "js"}`, import.meta.url);
  const worker = source ? new Worker(new URL("./typescript-thread.mjs", import.meta.url), { ...options, workerData: file.href }) : new Worker(file, options);
  return { worker, ready: new Promise((resolve) => worker.once("message", () => resolve())) };
}

function isOutOfMemory(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "ERR_WORKER_OUT_OF_MEMORY";
}

/** An error's message ends with its facts, which the new one adds again. */
function restored({ code, message, facts }: Extract<CompileReply, { type: "error" }>): LongjingError {
  const { length } = new LongjingError(code, "", facts).message;
  return new LongjingError(code, message.slice(0, message.length - length), facts);
}

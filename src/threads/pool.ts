import { Worker, type WorkerOptions } from "node:worker_threads";

export interface ThreadPoolOptions<R> {
  /** Module of the thread, without its ending: TypeScript where it is read, JavaScript where it is built. It calls `serveThread`. */
  readonly file: URL;
  /** At a time. */
  readonly threads: number;
  /** MiB of each. */
  readonly memory: number;
  /** That a task may take, from when its thread has started; then the thread is ended from outside. */
  readonly milliseconds: number;
  readonly worker?: Pick<WorkerOptions, "env" | "stdin">;
  /** Whether a thread that has answered so can take another task. Default: always. */
  readonly reusable?: (reply: R) => boolean;
}

/** What became of a task. */
export type Ended<R> =
  | { readonly type: "reply"; readonly reply: R }
  /** It met its deadline. */
  | { readonly type: "time" }
  | { readonly type: "memory" | "error"; readonly error: Error }
  /** Its thread is gone. */
  | { readonly type: "exit" }
  /** It was never begun. */
  | { readonly type: "closed" };

export interface ThreadPool<T, R> {
  /** Never throws: whatever happens in the thread is how the task ended. */
  run(task: T): Promise<Ended<R>>;
  close(): Promise<void>;
}

interface Job<T, R> {
  readonly task: T;
  readonly settle: (ended: Ended<R>) => void;
}

interface Thread {
  readonly worker: Worker;
  readonly ready: Promise<void>;
}

/**
 * Runs tasks that nobody trusts in threads of their own, within a deadline and a limit of memory. No thread starts before there is
 * something to do, and none that is idle keeps the process alive.
 */
export function openThreadPool<T, R>(options: ThreadPoolOptions<R>): ThreadPool<T, R> {
  const { threads, milliseconds, reusable = () => true } = options;
  const waiting: Job<T, R>[] = [];
  const idle: Thread[] = [];
  const busy = new Set<Thread>();
  let closed = false;
  const work = async (thread: Thread, { task, settle }: Job<T, R>): Promise<void> => {
    busy.add(thread);
    thread.worker.ref();
    const ended = await endOf<T, R>(thread, task, milliseconds);
    busy.delete(thread);
    if (ended.type === "reply" && reusable(ended.reply) && !closed) {
      thread.worker.unref();
      thread.worker.once("exit", () => idle.includes(thread) && idle.splice(idle.indexOf(thread), 1));
      idle.push(thread);
    } else await thread.worker.terminate();
    settle(ended);
    next();
  };
  const next = (): void => {
    while (waiting.length > 0 && busy.size < threads) void work(idle.pop() ?? startThread(options), waiting.shift() as Job<T, R>);
  };
  return {
    run: (task) =>
      new Promise((settle) => {
        if (closed) return settle({ type: "closed" });
        waiting.push({ task, settle });
        next();
      }),
    async close() {
      closed = true;
      for (const { settle } of waiting.splice(0)) settle({ type: "closed" });
      await Promise.all([...idle.splice(0), ...busy].map(({ worker }) => worker.terminate()));
    },
  };
}

function endOf<T, R>({ worker, ready }: Thread, task: T, milliseconds: number): Promise<Ended<R>> {
  return new Promise((resolve) => {
    let timer: NodeJS.Timeout | undefined;
    const end = (ended: Ended<R>): void => {
      clearTimeout(timer);
      worker.removeAllListeners("message").removeAllListeners("error").removeAllListeners("exit");
      // What a thread that is being ended still has to say concerns nobody.
      worker.on("error", () => undefined);
      resolve(ended);
    };
    worker.on("error", (error: Error & { code?: string }) => end({ type: error.code === "ERR_WORKER_OUT_OF_MEMORY" ? "memory" : "error", error }));
    worker.on("exit", () => end({ type: "exit" }));
    void ready.then(() => {
      timer = setTimeout(() => end({ type: "time" }), milliseconds);
      worker.on("message", (reply: R) => end({ type: "reply", reply }));
      worker.postMessage(task);
    });
  });
}

function startThread({ file, memory, worker: own }: Pick<ThreadPoolOptions<never>, "file" | "memory" | "worker">): Thread {
  const settings = { resourceLimits: { maxOldGenerationSizeMb: memory, maxYoungGenerationSizeMb: 32, stackSizeMb: 4 }, ...own };
  const source = import.meta.url.endsWith(".ts");
  const { href } = new URL(`${file.href}.${source ? "ts" : "js"}`);
  const worker = source ? new Worker(new URL("./typescript-thread.mjs", import.meta.url), { ...settings, workerData: href }) : new Worker(new URL(href), settings);
  return { worker, ready: new Promise((resolve) => worker.once("message", () => resolve())) };
}

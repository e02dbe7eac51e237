import { parentPort } from "node:worker_threads";

/** A thread's side of the pool: says that it has started, then answers each task. What `answer` throws ends the thread. */
export function serveThread<T, R>(answer: (task: T) => R): void {
  parentPort?.on("message", (task: T) => parentPort?.postMessage(answer(task)));
  parentPort?.postMessage("ready");
}

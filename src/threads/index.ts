export type { Ended, ThreadPool, ThreadPoolOptions } from "./pool.ts";
export { openThreadPool } from "./pool.ts";
export { serveThread } from "./serve-thread.ts";

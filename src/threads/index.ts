export { withinDeadline } from "./deadline.ts";
export type { Ended, ThreadPool, ThreadPoolOptions } from "./pool.ts";
export { openThreadPool } from "./pool.ts";
export type { ConfinedProgram, ProcessEnded, ProcessPool, ProcessPoolOptions } from "./process-pool.ts";
export { askProcess, openProcessPool } from "./process-pool.ts";
export { serveThread } from "./serve-thread.ts";

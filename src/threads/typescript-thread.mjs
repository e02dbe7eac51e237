// A thread does not inherit what makes this process read TypeScript, in a clone where nothing is built.
import { workerData } from "node:worker_threads";
import { register } from "tsx/esm/api";

register();
await import(workerData);

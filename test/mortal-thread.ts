import { serveThread } from "../src/threads/index.ts";

/** A thread that says what it is told, and dies when it is told to. */
serveThread((task: string) => {
  if (task === "exit") process.exit(1);
  if (task === "throw") throw new Error("a defect");
  if (task === "exit later") setImmediate(() => process.exit(1));
  return task;
});

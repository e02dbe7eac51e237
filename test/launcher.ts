import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";

/** The command as a person starts it in a clone. */
export const launcher = join(import.meta.dirname, "..", "bin", "longjing");

export interface Result {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs `longjing` to its end. */
export async function longjing(args: readonly string[], input = ""): Promise<Result> {
  const child = spawn(process.execPath, [launcher, ...args], { env: { ...process.env, NO_COLOR: "1" } });
  let stdout = "";
  let stderr = "";
  child.stdout.on("data", (text) => (stdout += text));
  child.stderr.on("data", (text) => (stderr += text));
  child.stdin.end(input);
  const [code] = (await once(child, "close")) as [number | null];
  return { code, stdout, stderr };
}

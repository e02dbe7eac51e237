import { spawn, type ChildProcess } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { z } from "zod";
import { LongjingError } from "../errors/index.ts";
import type { Entry } from "../tasks/index.ts";

const script = fileURLToPath(new URL("../../scripts/reasoning-gym.py", import.meta.url));
const hint = "pip install reasoning-gym, and name that Python in LONGJING_PYTHON if it is not python3";

const entries = z.object({ entries: z.array(z.object({ question: z.string(), answer: z.string().nullable(), metadata: z.record(z.string(), z.unknown()) })) });
const names = z.object({ tasks: z.array(z.string()) });
const score = z.object({ score: z.number() });
const failure = z.object({ error: z.string() });

/** A task's configuration, by reasoning-gym's own names. */
export type GymConfig = Readonly<Record<string, unknown>>;

/**
 * reasoning-gym as it is, in a Python process beside this one: its generators, its wording, its verifiers. Requests and answers
 * are lines of JSON on its pipes, answered in order.
 */
export class ReasoningGym {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;
  readonly #ended: Promise<string>;
  #last: Promise<unknown> = Promise.resolve();

  constructor(python: string = process.env["LONGJING_PYTHON"] ?? "python3") {
    this.#child = spawn(python, [script], { stdio: ["pipe", "pipe", "pipe"] });
    let said = "";
    this.#child.stderr!.on("data", (chunk: Buffer) => (said = (said + chunk.toString()).slice(-2000)));
    // Told by the end of its output.
    this.#child.stdin!.on("error", () => {});
    this.#ended = new Promise((resolve) => {
      this.#child.on("error", (error) => resolve(error.message));
      this.#child.on("close", () => resolve(said.trim().split("\n").at(-1) ?? ""));
    });
    this.#lines = createInterface({ input: this.#child.stdout! })[Symbol.asyncIterator]();
  }

  async tasks(): Promise<readonly string[]> {
    return (await this.#ask({ op: "tasks" }, names)).tasks;
  }

  /** Problems start, start + 1, … of a configuration; its `seed` and the index decide each. */
  async entries(task: string, config: GymConfig, start: number, count: number): Promise<readonly Entry[]> {
    return (await this.#ask({ op: "entries", task, config, start, count }, entries)).entries.map((entry) => ({ task, ...entry }));
  }

  /** In [0, 1], by the task's own verifier, on the problem of that index. */
  async score(task: string, config: GymConfig, index: number, answer: string): Promise<number> {
    return (await this.#ask({ op: "score", task, config, index, answer }, score)).score;
  }

  close(): void {
    this.#child.stdin!.end();
  }

  /** One request at a time, so that an answer belongs to the request before it. */
  #ask<T>(request: object, schema: z.ZodType<T>): Promise<T> {
    const answer = this.#last.then(async () => {
      this.#child.stdin!.write(`${JSON.stringify(request)}\n`);
      const line = await this.#lines.next();
      if (line.done) throw new LongjingError("runtime", "reasoning-gym's process has ended", { got: await this.#ended, hint });
      const json: unknown = JSON.parse(line.value);
      const failed = failure.safeParse(json).data;
      if (failed) throw new LongjingError("bad_argument", "reasoning-gym refuses the request", { got: failed.error });
      return schema.parse(json);
    });
    this.#last = answer.catch(() => {});
    return answer;
  }
}

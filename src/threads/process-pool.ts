import { spawn, type ChildProcessByStdio } from "node:child_process";
import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import type { Socket } from "node:net";
import type { Ended } from "./pool.ts";

/** What runs in a process that is confined, as far as Node can do it. */
export interface ConfinedProgram {
  /** Its module, without its ending. It imports nothing but Node's own modules, since it is handed over as text. */
  readonly file: URL;
  /** The files that it may read. */
  readonly files: readonly string[];
  /** Flags of Node beside those that confine it. */
  readonly flags?: readonly string[];
}

export interface ProcessPoolOptions {
  /**
   * Reads `first` from its standard input and says a line when it is ready; then reads a line of JSON, the task, and answers by a line.
   */
  readonly program: ConfinedProgram;
  /** What every process is told at its start. */
  readonly first: () => Promise<readonly Uint8Array[]>;
  /** At a time. */
  readonly processes: number;
  /** That a task may take, from when it is handed to a process that is ready; then the process is killed. */
  readonly milliseconds: number;
  /** Bytes by which a process may grow while it has a task. Looked at from outside, where the system has `/proc`. */
  readonly memory: number;
  /** Bytes of the longest answer. */
  readonly answer: number;
}

/** What became of a task. A reply is the line that the process wrote: it is not trusted, nor is what it says. */
export type ProcessEnded =
  | Ended<string>
  /** Its process did not become ready, and said this. */
  | { readonly type: "unready"; readonly said: string };

export interface ProcessPool {
  /** Never throws: whatever happens in the process is how the task ended. */
  run(task: unknown): Promise<ProcessEnded>;
  close(): Promise<void>;
}

interface Job {
  readonly task: unknown;
  readonly settle: (ended: ProcessEnded) => void;
}

interface Started {
  readonly child: ChildProcessByStdio<Socket, Socket, Socket>;
  /** Null when it is ready; else what it said. */
  readonly ready: Promise<string | null>;
  /** What it has said on its standard error, shortened. */
  readonly said: () => string;
}

/**
 * Runs each task in a process of its own, which is killed afterwards: nothing of one task can reach the next. The next process is started
 * at once and waits for its task. None starts before there is something to do, and none that is ready keeps this process alive.
 */
export function openProcessPool(options: ProcessPoolOptions): ProcessPool {
  const waiting: Job[] = [];
  const alive = new Set<Started>();
  const sleeping: (() => void)[] = [];
  let [slots, unsettled, closed] = [0, 0, false];
  const hold = (): void => {
    for (const { child } of alive) child[unsettled > 0 ? "ref" : "unref"]();
  };
  const settle = (job: Job, ended: ProcessEnded): void => {
    unsettled--;
    hold();
    job.settle(ended);
  };
  const next = async ({ child }: Started): Promise<Job | undefined> => {
    while (waiting.length === 0 && !closed && !isGone(child)) await new Promise<void>((resolve) => (sleeping.push(resolve), child.once("exit", resolve)));
    return waiting.shift();
  };
  /** One process after the other, until one fails that had no task. */
  const serve = async (): Promise<void> => {
    for (let sound = true; sound && !closed; ) {
      const [code, first] = await Promise.all([codeOf(options.program.file), options.first()]);
      if (closed) break;
      const started = startProcess(code, options.program, first);
      alive.add(started);
      hold();
      const fault = await started.ready;
      for (const stream of [started.child.stdin, started.child.stdout, started.child.stderr]) stream.unref();
      const job = fault === null ? await next(started) : waiting.shift();
      sound = fault === null && !isGone(started.child);
      if (job !== undefined) settle(job, closed ? { type: "closed" } : sound ? await endOf(started, job.task, options) : { type: "unready", said: fault ?? started.said() });
      await killed(started);
      alive.delete(started);
    }
    slots--;
    if (waiting.length > 0 && !closed) grow();
  };
  const grow = (): void => {
    slots++;
    serve().catch((error: unknown) => {
      slots--;
      for (const job of waiting.splice(0)) settle(job, { type: "unready", said: String(error) });
    });
  };
  return {
    run: (task) =>
      new Promise((resolve) => {
        if (closed) return resolve({ type: "closed" });
        waiting.push({ task, settle: (ended) => resolve(closed && ended.type === "exit" ? { type: "closed" } : ended) });
        unsettled++;
        hold();
        for (const wake of sleeping.splice(0)) wake();
        if (slots < Math.min(options.processes, unsettled)) grow();
      }),
    async close() {
      closed = true;
      for (const job of waiting.splice(0)) settle(job, { type: "closed" });
      for (const wake of sleeping.splice(0)) wake();
      await Promise.all([...alive].map(killed));
    },
  };
}

/**
 * What a program says on its standard output for what it is told, in a process of its own.
 * @throws Error with what it said on its standard error, when it fails
 */
export async function askProcess(program: ConfinedProgram, first: readonly Uint8Array[]): Promise<Buffer> {
  const { child, ready, said } = startProcess(await codeOf(program.file), program, first);
  const chunks: Buffer[] = [];
  child.stdout.on("data", (chunk: Buffer) => chunks.push(chunk));
  const closed = new Promise((resolve) => child.once("close", resolve));
  child.stdin.end();
  const fault = await ready;
  if (fault !== null) child.kill("SIGKILL");
  else await closed;
  if (fault !== null || child.exitCode !== 0) throw new Error(fault ?? said());
  return Buffer.concat(chunks);
}

/** Text of the module, as JavaScript. */
async function codeOf({ href }: URL): Promise<string> {
  const source = import.meta.url.endsWith(".ts");
  const text = await readFile(new URL(`${href}.${source ? "ts" : "js"}`), "utf8");
  if (!source) return text;
  const { translated } = (await import(new URL("./typescript-process.mjs", import.meta.url).href)) as { readonly translated: (text: string) => Promise<string> };
  return translated(text);
}

/** Node's permission model, by the name that its age gives it: no files but those named, no children, no threads, no addons. */
const permission = ["--permission", "--experimental-permission"].find((flag) => process.allowedNodeEnvironmentFlags.has(flag));

function startProcess(code: string, { files, flags = [] }: ConfinedProgram, first: readonly Uint8Array[]): Started {
  const confining = [...(permission === undefined ? [] : [permission, ...files.map((file) => `--allow-fs-read=${file}`)]), "--disallow-code-generation-from-strings", "--no-warnings"];
  const child = spawn(process.execPath, [...confining, ...flags, "--input-type=module", "--eval", code], { env: {}, windowsHide: true }) as unknown as Started["child"];
  let said = "";
  child.stderr.on("data", (chunk: Buffer) => (said = (said + chunk.toString()).slice(-longestSaid)));
  // A process that is gone does not read: how it ended is heard otherwise.
  child.stdin.on("error", () => undefined);
  for (const part of first) child.stdin.write(part);
  const ready = new Promise<string | null>((resolve) => {
    const timer = setTimeout(() => resolve("nothing, for too long"), longestStart).unref();
    const end = (outcome: string | null): void => {
      clearTimeout(timer);
      resolve(outcome);
    };
    child.stdout.once("data", () => end(null));
    child.once("error", ({ message }) => end(message));
    child.once("close", () => end(said.trim()));
  });
  return { child, ready, said: () => said.trim() };
}

const longestSaid = 2000;
const longestStart = 120_000;

const isGone = ({ exitCode, signalCode, pid }: Started["child"]): boolean => exitCode !== null || signalCode !== null || pid === undefined;

async function killed({ child }: Started): Promise<void> {
  if (isGone(child)) return;
  const gone = new Promise((resolve) => child.once("exit", resolve));
  child.ref();
  child.kill("SIGKILL");
  await gone;
}

function endOf({ child, said }: Started, task: unknown, { milliseconds, memory, answer }: ProcessPoolOptions): Promise<ProcessEnded> {
  return new Promise((resolve) => {
    const chunks: Buffer[] = [];
    let [bytes, late] = [0, false];
    const end = (ended: ProcessEnded): void => {
      clearTimeout(timer);
      clearInterval(watch);
      resolve(ended);
    };
    // An answer that came while this process did something else is read before the deadline counts; one that has begun may go on, once.
    const overdue = (): void => {
      setImmediate(() => {
        if (bytes === 0 || late) return end({ type: "time" });
        late = true;
        timer = setTimeout(overdue, graceMilliseconds);
      });
    };
    let timer = setTimeout(overdue, milliseconds);
    const most = residentOf(child.pid) + memory;
    const watch = setInterval(() => residentOf(child.pid) > most && end({ type: "memory", error: new Error("The process has grown too large") }), watchMilliseconds);
    child.stdout.on("data", (chunk: Buffer) => {
      chunks.push(chunk);
      bytes += chunk.length;
      if (bytes > answer) return end({ type: "error", error: new Error("The process says more than it may") });
      if (chunk.includes("\n")) end({ type: "reply", reply: Buffer.concat(chunks).toString().split("\n", 1)[0] ?? "" });
    });
    child.once("close", () => end(/out of memory/i.test(said()) ? { type: "memory", error: new Error("The process ran out of memory") } : { type: "exit" }));
    child.stdin.end(`${JSON.stringify(task)}\n`);
  });
}

const watchMilliseconds = 50;
const graceMilliseconds = 1000;

/** Bytes that a process holds; 0 where the system does not say, or it is gone. */
function residentOf(pid: number | undefined): number {
  if (process.platform !== "linux" || pid === undefined) return 0;
  try {
    return Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0) * 1024;
  } catch {
    return 0;
  }
}

import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { readFile, readdir, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { z } from "zod";
import { LongjingError } from "../errors/index.ts";
import { runState } from "../train/run.ts";
import { followLines } from "./follow.ts";
import type { SseMessage } from "./sse.ts";

export interface RunInfo {
  readonly id: string;
  readonly recipe: string;
  /** As the recipe plans them; empty until the trainer has begun. */
  readonly stages: readonly { readonly name: string; readonly steps: number }[];
  /** `running` may be by another process than this server's; `stopped` may be resumed. */
  readonly state: "running" | "stopping" | "finished" | "stopped" | "failed";
  /** Unix time in seconds of the last line of the log. */
  readonly updated: number;
  /** What the trainer said when it failed. */
  readonly error: string | null;
}

export interface StartOptions {
  readonly recipe: string;
  readonly seed?: number | undefined;
  readonly max_steps?: number | undefined;
}

/** The training runs of one folder. One at a time trains, in a process of its own, so that serving goes on. */
export interface Runs {
  recipes(): Promise<readonly string[]>;
  list(): Promise<readonly RunInfo[]>;
  start(options: StartOptions): Promise<RunInfo>;
  resume(id: string): Promise<RunInfo>;
  /** Asks the trainer to save and end; asked again, it ends at once. */
  stop(id: string): Promise<RunInfo>;
  /** Replays the log from a byte offset and follows it: `log`, `reset` and `run` (the state) messages. */
  events(id: string, from: number, signal: AbortSignal): Promise<AsyncIterable<SseMessage>>;
  /** Ends the trainer and waits for it. */
  close(): Promise<void>;
}

export interface RunsOptions {
  readonly runsDir: string;
  readonly recipesDir: string;
  /** Starts `longjing` with these arguments. */
  readonly launch: (args: readonly string[]) => ChildProcess;
}

interface Active {
  readonly id: string;
  readonly child: ChildProcess;
  readonly exited: Promise<void>;
  stopping: boolean;
}

const idPattern = /^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$/;
const stampPattern = /-\d{8}-\d{6}$/;

export function openRuns({ runsDir, recipesDir, launch }: RunsOptions): Runs {
  let active: Active | undefined;
  /** Last words by run, until it is resumed. A run that failed at once may have no folder. */
  const failures = new Map<string, string>();

  const folder = async (id: string): Promise<string> => {
    const path = join(runsDir, id);
    if (idPattern.test(id) && (active?.id === id || failures.has(id) || (await isFolder(path)))) return path;
    throw new LongjingError("not_found", "There is no such run", { where: "run id", got: id });
  };

  const info = async (id: string): Promise<RunInfo> => {
    const log = await stat(join(runsDir, id, "log.jsonl")).catch(() => undefined);
    const updated = (log?.mtimeMs ?? Date.now()) / 1000;
    const told = failures.get(id);
    const own = active?.id === id ? { state: active.stopping ? ("stopping" as const) : ("running" as const), error: null } : undefined;
    const past = told === undefined ? stateOnDisk(join(runsDir, id)) : { state: "failed" as const, error: told };
    return { id, ...(await plan(join(runsDir, id), id)), updated, ...(own ?? past) };
  };

  const run = (id: string, args: readonly string[]): Promise<RunInfo> => {
    if (active !== undefined) throw new LongjingError("conflict", "A run is training already", { got: active.id, hint: "Stop it first" });
    failures.delete(id);
    const child = launch(args);
    const current: Active = { id, child, stopping: false, exited: exitOf(child).then((failure) => {
      if (failure !== null && !current.stopping) failures.set(id, failure);
      active = undefined;
    }) };
    active = current;
    return info(id);
  };

  const recipes = async (): Promise<readonly string[]> =>
    (await entries(recipesDir)).filter((name) => name.endsWith(".ts")).map((name) => basename(name, ".ts"));

  const recipePath = async (recipe: string): Promise<string> => {
    const names = await recipes();
    if (names.includes(recipe)) return join(recipesDir, `${recipe}.ts`);
    throw new LongjingError("not_found", "There is no such recipe", { where: "recipe", got: recipe, expected: names.join(", ") });
  };

  return {
    recipes,
    async list() {
      const ids = new Set([...(await entries(runsDir)), ...failures.keys(), ...(active === undefined ? [] : [active.id])]);
      const all = await Promise.all([...ids].filter((id) => idPattern.test(id)).map(info));
      return all.sort((a, b) => b.updated - a.updated);
    },
    async start({ recipe, seed, max_steps }) {
      const path = await recipePath(recipe);
      const id = `${recipe}-${timestamp(new Date())}`;
      const limits = [...(seed === undefined ? [] : ["--seed", String(seed)]), ...(max_steps === undefined ? [] : ["--max-steps", String(max_steps)])];
      return await run(id, ["train", path, "--out", join(runsDir, id), ...limits]);
    },
    async resume(id) {
      const out = await folder(id);
      return await run(id, ["train", await recipePath((await info(id)).recipe), "--out", out, "--resume"]);
    },
    async stop(id) {
      await folder(id);
      if (active?.id !== id) throw new LongjingError("conflict", "The run is not training", { got: id });
      active.stopping = true;
      active.child.kill("SIGTERM");
      return await info(id);
    },
    async events(id, from, signal) {
      return runEvents(join(await folder(id), "log.jsonl"), () => info(id), from, signal);
    },
    async close() {
      if (active === undefined) return;
      active.stopping = true;
      active.child.kill("SIGTERM");
      await active.exited;
    },
  };
}

async function* runEvents(log: string, info: () => Promise<RunInfo>, from: number, signal: AbortSignal): AsyncGenerator<SseMessage, void> {
  let told = "";
  for await (const event of followLines(log, { from, signal })) {
    if (event.type === "line") yield { event: "log", id: String(event.offset), data: event.text };
    if (event.type === "reset") yield { event: "reset", id: "0", data: "{}" };
    if (event.type !== "idle") continue;
    const { updated: _updated, stages: _stages, ...state } = await info();
    const data = JSON.stringify(state);
    if (data !== told) yield { event: "run", data };
    told = data;
  }
}

/** Resolves with null after a clean exit, else with the last words. */
async function exitOf(child: ChildProcess): Promise<string | null> {
  let words = "";
  child.stderr?.setEncoding("utf8").on("data", (text: string) => {
    words = (words + text).slice(-4000);
  });
  try {
    const [code, signal] = (await once(child, "close")) as [number | null, string | null];
    return code === 0 ? null : words.trim() || `The trainer ended with ${signal ?? `exit code ${code}`}`;
  } catch (error) {
    return error instanceof Error ? error.message : String(error); // it could not be started
  }
}

const runConfig = z.looseObject({ recipe: z.string(), stages: z.array(z.object({ name: z.string(), steps: z.number() })) });

/** What a run is made from, by its `config.json`; by its name where there is none yet. */
async function plan(run: string, id: string): Promise<Pick<RunInfo, "recipe" | "stages">> {
  const text = await readFile(join(run, "config.json"), "utf8").catch(() => "null");
  const { success, data } = runConfig.safeParse(parseOrNull(text));
  return success ? { recipe: data.recipe, stages: data.stages } : { recipe: id.replace(stampPattern, ""), stages: [] };
}

function parseOrNull(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** A folder whose files are damaged is told about and stands in no other run's way. */
function stateOnDisk(run: string): Pick<RunInfo, "state" | "error"> {
  try {
    return { state: runState(run), error: null };
  } catch (error) {
    if (LongjingError.is(error)) return { state: "failed", error: error.message };
    throw error;
  }
}

async function isFolder(path: string): Promise<boolean> {
  return await stat(path).then((entry) => entry.isDirectory(), () => false);
}

async function entries(folder: string): Promise<string[]> {
  return await readdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return [];
    throw error;
  });
}

/** `20261231-235959`, local time. */
function timestamp(date: Date): string {
  const two = (value: number): string => String(value).padStart(2, "0");
  const day = `${date.getFullYear()}${two(date.getMonth() + 1)}${two(date.getDate())}`;
  return `${day}-${two(date.getHours())}${two(date.getMinutes())}${two(date.getSeconds())}`;
}

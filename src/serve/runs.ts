import { basename, join } from "node:path";
import { LongjingError } from "../errors/index.ts";
import { followLines } from "./follow.ts";
import { isFolder, maxStepsOf, namesIn, readRunFolder, runName, type RunFolder } from "./run-folder.ts";
import type { SseMessage } from "./sse.ts";
import { openTrainer, type Trainer } from "./trainer.ts";

/** `running` may be by another process than this server's; `stopped` and `failed` may be resumed. */
export interface RunInfo extends Omit<RunFolder, "state"> {
  readonly id: string;
  readonly state: RunFolder["state"] | "stopping";
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
  /** Ends the event streams and the trainer, and waits for it. */
  close(): Promise<void>;
}

export interface RunsOptions {
  readonly runsDir: string;
  readonly recipesDir: string;
  /** Starts `longjing` with these arguments, its stderr a pipe. */
  readonly launch: Parameters<typeof openTrainer>[0];
}

const idPattern = /^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$/;

export function openRuns({ runsDir, recipesDir, launch }: RunsOptions): Runs {
  const trainer = openTrainer(launch);
  const closing = new AbortController();
  const recipes = async (): Promise<readonly string[]> =>
    (await namesIn(recipesDir)).filter((name) => name.endsWith(".ts")).map((name) => basename(name, ".ts"));
  const info = (id: string): Promise<RunInfo> => describe(join(runsDir, id), id, trainer);
  const check = async (id: string): Promise<string> => {
    if (idPattern.test(id) && (trainer.ids.includes(id) || (await isFolder(join(runsDir, id))))) return id;
    throw new LongjingError("not_found", "There is no such run", { where: "run id", got: id });
  };
  const train = async (id: string, recipe: string, more: readonly string[]): Promise<RunInfo> => {
    const names = await recipes();
    if (!names.includes(recipe)) throw new LongjingError("not_found", "There is no such recipe", { where: "recipe", got: recipe, expected: names.join(", ") });
    trainer.start(id, ["train", join(recipesDir, `${recipe}.ts`), "--out", join(runsDir, id), ...more]);
    return await info(id);
  };
  const option = (name: string, value: number | undefined): string[] => (value === undefined ? [] : [name, String(value)]);
  return {
    recipes,
    async list() {
      const ids = new Set([...(await namesIn(runsDir)), ...trainer.ids]);
      const all = await Promise.all([...ids].filter((id) => idPattern.test(id)).map(info));
      return all.sort((a, b) => b.updated - a.updated);
    },
    start({ recipe, seed, max_steps }) {
      return train(runName(recipe, new Date()), recipe, [...option("--seed", seed), ...option("--max-steps", max_steps)]);
    },
    async resume(id) {
      return await train(id, (await info(await check(id))).recipe, ["--resume", ...option("--max-steps", maxStepsOf(join(runsDir, id)))]);
    },
    async stop(id) {
      trainer.stop(await check(id));
      return await info(id);
    },
    async events(id, from, signal) {
      return runEvents(join(runsDir, await check(id), "log.jsonl"), () => info(id), from, AbortSignal.any([signal, closing.signal]));
    },
    async close() {
      closing.abort();
      await trainer.close();
    },
  };
}

/** What this server knows of its own trainer goes before what the folder says. */
async function describe(folder: string, id: string, trainer: Trainer): Promise<RunInfo> {
  return { id, ...(await readRunFolder(folder, id)), ...trainer.stateOf(id) };
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

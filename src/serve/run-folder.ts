import { readFile, readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { LongjingError } from "../errors/index.ts";
import { readRunConfig, runState } from "../train/run.ts";

/** What a run's folder says about it. */
export interface RunFolder {
  readonly recipe: string;
  /** As the recipe plans them; empty until the trainer has begun. */
  readonly stages: readonly { readonly name: string; readonly steps: number }[];
  /** Unix time in seconds of the last line of the log. */
  readonly updated: number;
  readonly state: "running" | "finished" | "stopped" | "failed";
  readonly error: string | null;
}

const runConfig = z.looseObject({ recipe: z.string(), stages: z.array(z.object({ name: z.string(), steps: z.number() })) });

/** A folder that is not there yet, or damaged, is told about as it is: it stands in no other run's way. */
export async function readRunFolder(run: string, name: string): Promise<RunFolder> {
  const log = await stat(join(run, "log.jsonl")).catch(() => undefined);
  const config = runConfig.safeParse(parseOrNull(await readFile(join(run, "config.json"), "utf8").catch(() => "")));
  const { recipe, stages } = config.data ?? { recipe: recipeOf(name), stages: [] };
  return { recipe, stages, updated: (log?.mtimeMs ?? Date.now()) / 1000, ...stateOf(run) };
}

/** The most steps of each stage that the run was begun with, where it was. @throws LongjingError "bad_file"; "disk" */
export const maxStepsOf = (run: string): number | undefined => z.object({ max_steps: z.int().min(1) }).safeParse(readRunConfig(run)).data?.max_steps;

function stateOf(run: string): Pick<RunFolder, "state" | "error"> {
  try {
    return { state: runState(run), error: null };
  } catch (error) {
    if (LongjingError.is(error)) return { state: "failed", error: error.message };
    throw error;
  }
}

function parseOrNull(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** `countdown-zero-20261231-235959`: when it was started, local time, stands in a run's name. */
export function runName(recipe: string, date: Date): string {
  const two = (value: number): string => String(value).padStart(2, "0");
  const day = `${date.getFullYear()}${two(date.getMonth() + 1)}${two(date.getDate())}`;
  return `${recipe}-${day}-${two(date.getHours())}${two(date.getMinutes())}${two(date.getSeconds())}`;
}

function recipeOf(name: string): string {
  return name.replace(/-\d{8}-\d{6}$/, "");
}

/** Names in a folder; none where there is no folder. */
export async function namesIn(folder: string): Promise<string[]> {
  return await readdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return [];
    throw error;
  });
}

export async function isFolder(path: string): Promise<boolean> {
  return await stat(path).then((entry) => entry.isDirectory(), () => false);
}

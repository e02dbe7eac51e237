import { existsSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import { LongjingError } from "../errors/index.ts";
import { cacheFolder, findSnapshot, parseRepository } from "../hub/index.ts";
import { latestCheckpoint } from "../train/checkpoint.ts";

/** What a model is called: ORG/NAME where it was asked for so, else its folder or file. */
export const nameOf = (model: string): string => (existsSync(model) ? basename(resolve(model), ".gguf") : model);

/** Whether a folder is a run's. A model that is given away has its log beside it, too. */
export const isRun = (folder: string): boolean => existsSync(join(folder, "log.jsonl")) && !existsSync(join(folder, "model.safetensors"));

/** The folder of a run's newest whole checkpoint. @throws LongjingError "not_found" before its first */
export function newestCheckpoint(run: string): string {
  const { checkpoint } = latestCheckpoint(run);
  if (checkpoint === null) throw new LongjingError("not_found", "The run has no whole checkpoint yet", { where: run });
  return checkpoint.path;
}

/**
 * The folder or file of a model: a path, the newest checkpoint of a run, or what `longjing pull ORG/NAME` has left in the cache. A snapshot
 * that is nothing but one GGUF file is that file.
 * @throws LongjingError "not_found" for ORG/NAME that is not in the cache, a run without a checkpoint; "bad_argument" for a run that trains an
 *   adapter, which is no model by itself
 */
export async function findModel(model: string): Promise<string> {
  const ref = existsSync(model) ? null : parseRepository(model);
  if (ref === null) return isRun(model) ? modelOfRun(model) : model;
  const snapshot = await findSnapshot(cacheFolder(process.env), ref);
  const names = await readdir(snapshot);
  const [gguf, second] = names.filter((name) => name.endsWith(".gguf"));
  return gguf !== undefined && second === undefined && !names.includes("config.json") ? join(snapshot, gguf) : snapshot;
}

function modelOfRun(run: string): string {
  const path = newestCheckpoint(run);
  if (existsSync(join(path, "config.json"))) return path;
  throw new LongjingError("bad_argument", "The run trains an adapter, which is no model by itself", { where: run, hint: "Name its base as the model, and the run as its --adapter" });
}

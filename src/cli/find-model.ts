import { existsSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import { cacheFolder, findSnapshot, parseRepository } from "../hub/index.ts";

/** What a model is called: ORG/NAME where it was asked for so, else its folder or file. */
export const nameOf = (model: string, path: string): string => (path === model ? basename(resolve(path), ".gguf") : model);

/**
 * The folder or file of a model: a path, or what `longjing pull ORG/NAME` has left in the cache. A snapshot that is nothing but
 * one GGUF file is that file.
 * @throws LongjingError "not_found" for ORG/NAME that is not in the cache
 */
export async function findModel(model: string): Promise<string> {
  const ref = existsSync(model) ? null : parseRepository(model);
  if (ref === null) return model;
  const snapshot = await findSnapshot(cacheFolder(process.env), ref);
  const names = await readdir(snapshot);
  const [gguf, second] = names.filter((name) => name.endsWith(".gguf"));
  return gguf !== undefined && second === undefined && !names.includes("config.json") ? join(snapshot, gguf) : snapshot;
}

import { existsSync } from "node:fs";
import { stat } from "node:fs/promises";
import { basename, resolve } from "node:path";
import type { ModelSource } from "../serve/index.ts";
import { openCheckpoint } from "../weights/index.ts";
import { findModel } from "./find-model.ts";
import { contextLength, examplesOf, loadServedModel, weightFiles, type LoadOptions } from "./load-model.ts";

/** A model as it was named on the command line: a path, ORG/NAME that was pulled, or NAME=PATH. */
export interface NamedModel {
  readonly id: string;
  /** Folder or file. */
  readonly path: string;
}

/** Finds what MODEL names. @throws LongjingError "not_found" */
export async function nameModel(model: string): Promise<NamedModel> {
  const [, id, path] = existsSync(model) ? [] : (/^([^=]+)=(.+)$/.exec(model) ?? []);
  if (id !== undefined && path !== undefined) return { id, path: await findModel(path) };
  const found = await findModel(model);
  return { id: found === model ? basename(resolve(model), ".gguf") : model, path: found };
}

/**
 * What can be said of a model before it is loaded, so that one that cannot be served is known when the server starts.
 * @throws LongjingError "not_found", "bad_file", "bad_config", "unsupported"
 */
export async function modelSource({ id, path }: NamedModel, options: LoadOptions): Promise<ModelSource> {
  const checkpoint = await openCheckpoint(path);
  await checkpoint.close();
  const files = await Promise.all((await weightFiles(path)).map((file) => stat(file)));
  return {
    id,
    created: Math.floor(Math.max(...files.map(({ mtimeMs }) => mtimeMs)) / 1000),
    bytes: files.reduce((sum, { size }) => sum + size, 0),
    max_model_len: contextLength(checkpoint.config, options),
    examples: await examplesOf(path),
    load: async () => ({ ...(await loadServedModel(path, options)), id }),
  };
}

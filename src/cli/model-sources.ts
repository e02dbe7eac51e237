import { existsSync } from "node:fs";
import { basename, resolve } from "node:path";
import { LongjingError } from "../errors/index.ts";
import type { ModelSource } from "../serve/index.ts";
import { openCheckpoint } from "../weights/index.ts";
import { adapterConfig, findAdapter } from "./find-adapter.ts";
import { findModel, nameOf } from "./find-model.ts";
import { contextLength, examplesOf, loadServedModel, type LoadOptions } from "./load-model.ts";
import { weightFiles } from "./weight-files.ts";

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
  return { id: nameOf(model), path: await findModel(model) };
}

/**
 * What can be said of a model before it is loaded, so that one that cannot be served is known when the server starts.
 * @throws LongjingError "not_found", "bad_file", "bad_config", "unsupported"
 */
export async function modelSource({ id, path }: NamedModel, options: LoadOptions): Promise<ModelSource> {
  const checkpoint = await openCheckpoint(path);
  await checkpoint.close();
  const { bytes, modified } = await weightFiles(path);
  return {
    id,
    created: modified,
    bytes,
    adapters: (options.adapters ?? []).map((adapter) => adapter.id),
    max_model_len: contextLength(checkpoint.config, options),
    examples: await examplesOf(path),
    load: async () => ({ ...(await loadServedModel(path, options)), id }),
  };
}

/** An adapter as it was named on the command line. */
export interface NamedAdapter extends NamedModel {
  /** What its adapter_config.json calls the model that it was trained on. */
  readonly base: string | undefined;
}

/** Reads NAME=DIR. @throws LongjingError "bad_argument"; "not_found" and "bad_config" for the folder's adapter_config.json */
export async function nameAdapter(text: string): Promise<NamedAdapter> {
  const [, id, path] = /^([^=]+)=(.+)$/.exec(text) ?? [];
  if (id === undefined || path === undefined) throw new LongjingError("bad_argument", "An adapter needs a name", { where: "--adapter", got: text, expected: "NAME=DIR" });
  const folder = await findAdapter(path);
  return { id, path: folder, base: (await adapterConfig(folder)).base_model_name_or_path };
}

/**
 * The model that an adapter belongs to: the only one, or the one that its configuration names, in whole or by the last part.
 * @throws LongjingError "bad_argument"
 */
export function baseOf({ id, base }: NamedAdapter, models: readonly NamedModel[]): NamedModel {
  const named = models.filter((model) => base !== undefined && (model.id === base || basename(model.id) === basename(base) || resolve(model.path) === resolve(base)));
  const [found, other] = models.length === 1 ? models : named;
  if (found !== undefined && other === undefined) return found;
  throw new LongjingError("bad_argument", "The adapter does not say which of the models it belongs to", { where: `--adapter ${id}`, got: base ?? "no base_model_name_or_path", expected: models.map((model) => model.id).join(", "), hint: "Name the model so: NAME=PATH" });
}

import { join } from "node:path";
import { LongjingError } from "../errors/index.ts";
import { exists, parseLoraConfig, readJson, type LoraConfig } from "../weights/index.ts";
import { findModel, isRun, newestCheckpoint } from "./find-model.ts";

const configFile = "adapter_config.json";
const largestConfig = 2 ** 20;

/** Whether a folder holds an adapter and no model of its own. */
export const isAdapter = async (folder: string): Promise<boolean> => (await exists(join(folder, configFile))) && !(await exists(join(folder, "config.json")));

/** The folder of an adapter: itself, or the newest checkpoint of a run that trains one. @throws LongjingError "not_found" before its first */
export async function findAdapter(folder: string): Promise<string> {
  return (await exists(join(folder, configFile))) || !isRun(folder) ? folder : newestCheckpoint(folder);
}

/** @throws LongjingError "not_found"; "bad_config"; "unsupported" */
export async function adapterConfig(folder: string): Promise<LoraConfig> {
  const file = join(folder, configFile);
  return parseLoraConfig(await readJson(file, largestConfig), file);
}

/** The model that an adapter is for. @throws LongjingError "not_found" where its configuration names none, or one that is not here */
export async function baseOfAdapter(folder: string): Promise<string> {
  const { base_model_name_or_path: base } = await adapterConfig(folder);
  const hint = "Name the base as the model, and this folder as its --adapter";
  if (base === undefined) throw new LongjingError("not_found", "The adapter does not say which model it is for", { where: folder, hint });
  const path = await findModel(base);
  if (await exists(path)) return path;
  throw new LongjingError("not_found", "The model that the adapter is for is not here", { where: folder, got: base, hint });
}

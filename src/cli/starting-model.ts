import { existsSync } from "node:fs";
import { resolve } from "node:path";
import type { StartingModel } from "../train/index.ts";
import type { Checkpoint } from "../weights/index.ts";
import { findExportSource, openMerged, tokenizerOf } from "./export-source.ts";

/**
 * Opens a model that a recipe starts from: a run's newest checkpoint, a folder, a GGUF file, or ORG/NAME that was pulled.
 * @throws LongjingError that names what is missing or malformed
 */
export async function openStartingModel(model: string): Promise<StartingModel & Pick<Checkpoint, "close">> {
  const source = await findExportSource(model);
  const files = await tokenizerOf(source.path);
  return { ...(await openMerged(source)), name: existsSync(model) ? resolve(model) : model, files };
}

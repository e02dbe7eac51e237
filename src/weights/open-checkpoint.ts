import type { Checkpoint } from "./checkpoint.ts";
import { isFile, openFileSource } from "./files.ts";
import { openGgufCheckpoint } from "./gguf-model.ts";
import { openFolder } from "./hf-folder.ts";

/**
 * Opens a GGUF file, or a Hugging Face folder.
 * @throws LongjingError "not_found", "bad_file", "bad_config", "unsupported" (pickled weights, another architecture)
 */
export async function openCheckpoint(path: string): Promise<Checkpoint> {
  return (await isFile(path)) ? openGgufCheckpoint(await openFileSource(path)) : openFolder(path);
}

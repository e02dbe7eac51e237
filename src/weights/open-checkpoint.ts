import type { Checkpoint } from "./checkpoint.ts";
import { isFile, openFileSource } from "./files.ts";
import type { GgufHeaderOptions } from "./gguf-header.ts";
import { openGgufCheckpoint } from "./gguf-model.ts";
import { openFolder } from "./hf-folder.ts";

/**
 * Opens a GGUF file, or a Hugging Face folder.
 * @param options how much of a GGUF file's metadata is read; default all but most of its tokenizer
 * @throws LongjingError "not_found", "bad_file", "bad_config", "unsupported" (pickled weights, another architecture)
 */
export async function openCheckpoint(path: string, options: GgufHeaderOptions = { vocabulary: "tokens" }): Promise<Checkpoint> {
  return (await isFile(path)) ? openGgufCheckpoint(await openFileSource(path), options) : openFolder(path);
}

import { readdir, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { z } from "zod";
import { LongjingError } from "../errors/index.ts";
import { digestOf, isPickle, type PulledFile } from "../hub/index.ts";
import { openFileSource, openGguf, openSafetensors, readJson, type ByteSource } from "../weights/index.ts";

/** What there is of a local model, every file of it read to its end. */
export interface CheckedModel {
  readonly folder: string;
  readonly files: readonly PulledFile[];
}

/**
 * Checks a folder, or a file, for what a model needs: headers against the files they head, shards against their index. Pickles
 * in a folder are left aside, as a pull leaves them.
 * @throws LongjingError "not_found"; "bad_file" or "too_large" for a file that is not what its name says; "unsupported" where
 * there are pickles only
 */
export async function checkModel(path: string): Promise<CheckedModel> {
  const isFolder = (await stat(path)).isDirectory();
  const all = isFolder ? (await readdir(path, { withFileTypes: true })).filter((entry) => !entry.isDirectory() && !entry.name.startsWith(".")).map(({ name }) => name) : [basename(path)];
  const names = all.filter((name) => !isPickle(name)).toSorted();
  if (!names.some((name) => /\.(safetensors|gguf)$/.test(name))) {
    if (names.length < all.length) throw new LongjingError("unsupported", "There are only pickles, which run code when they are read", { where: path, expected: "safetensors or GGUF" });
    throw new LongjingError("not_found", "There are no weights", { where: path, expected: "safetensors or GGUF" });
  }
  const files: PulledFile[] = [];
  for (const name of names) {
    const file = isFolder ? join(path, name) : path;
    await checkFile(file, names);
    files.push({ path: name, size: (await stat(file)).size, digest: await digestOf(file, "sha256"), cached: true });
  }
  return { folder: path, files };
}

const mostJsonBytes = 2 ** 26;
const weightIndex = z.looseObject({ weight_map: z.record(z.string(), z.string()) });

async function checkFile(path: string, beside: readonly string[]): Promise<void> {
  if (path.endsWith(".safetensors")) await opened(path, openSafetensors);
  if (path.endsWith(".gguf")) await opened(path, openGguf);
  if (!path.endsWith(".json")) return;
  const value = await readJson(path, mostJsonBytes);
  if (!path.endsWith(".safetensors.index.json")) return;
  const index = weightIndex.safeParse(value);
  if (!index.success) throw new LongjingError("bad_file", "The index names no shards", { where: path });
  const missing = Object.values(index.data.weight_map).find((shard) => !beside.includes(shard));
  if (missing !== undefined) throw new LongjingError("not_found", "A shard that the index names is missing", { where: path, got: missing });
}

async function opened(path: string, open: (source: ByteSource) => Promise<unknown>): Promise<void> {
  const source = await openFileSource(path);
  await open(source).finally(() => source.close());
}

import { createHash } from "node:crypto";
import { readdir, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { isFile } from "../weights/index.ts";

/** What the files with a model's weights say of them from outside. */
export interface WeightFiles {
  readonly bytes: number;
  /** When the youngest was written, in Unix seconds. */
  readonly modified: number;
  /** A name for the weights that changes when they do. */
  readonly fingerprint: string;
}

/** @param path folder or GGUF file */
export async function weightFiles(path: string): Promise<WeightFiles> {
  const paths = (await isFile(path)) ? [path] : (await readdir(path)).filter((name) => name.endsWith(".safetensors")).toSorted().map((name) => join(path, name));
  const files = await Promise.all(paths.map((file) => stat(file)));
  const facts = files.map(({ size, mtimeMs }, at) => `${basename(paths[at]!)} ${size} ${mtimeMs}`).join("\n");
  return {
    bytes: files.reduce((sum, { size }) => sum + size, 0),
    modified: Math.floor(Math.max(...files.map(({ mtimeMs }) => mtimeMs)) / 1000),
    fingerprint: `fp_${createHash("sha256").update(facts).digest("hex").slice(0, 10)}`,
  };
}

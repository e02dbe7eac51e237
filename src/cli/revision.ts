import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const root = fileURLToPath(new URL("../../", import.meta.url));

/** The commit that this copy was checked out at, with "+" where files of it are changed; null where it is no clone. */
export async function revision(): Promise<string | null> {
  if (!existsSync(`${root}.git`)) return null;
  const git = async (...args: readonly string[]): Promise<string> => (await promisify(execFile)("git", ["-C", root, ...args])).stdout.trim();
  try {
    return `${await git("rev-parse", "--short", "HEAD")}${(await git("status", "--porcelain", "--untracked-files=no")) === "" ? "" : "+"}`;
  } catch {
    return null; // git is not there, or does not trust the folder: nothing depends on it
  }
}

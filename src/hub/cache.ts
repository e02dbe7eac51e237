import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { link, mkdir, open, readFile, readlink, rename, rm, stat, statfs, symlink, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, join, relative } from "node:path";
import { LongjingError } from "../errors/index.ts";
import type { Environment } from "./hubs.ts";
import { isCommit, type Digest, type RemoteFile, type RepositoryRef } from "./repository.ts";

/** Where `huggingface_hub` keeps what it downloads; shared with it. */
export function cacheFolder(env: Environment): string {
  const home = env.HF_HOME || join(env.XDG_CACHE_HOME || join(homedir(), ".cache"), "huggingface");
  return env.HF_HUB_CACHE || env.HUGGINGFACE_HUB_CACHE || join(home, "hub");
}

/** `models--ORG--NAME`, with `blobs` by digest, `snapshots/COMMIT` of links to them, and `refs/BRANCH` that hold commits. */
export interface RepositoryCache {
  readonly folder: string;
  readonly blobs: string;
  snapshot(commit: string): string;
}

export function repositoryCache(cache: string, id: string): RepositoryCache {
  const folder = join(cache, `models--${id.replace("/", "--")}`);
  return { folder, blobs: join(folder, "blobs"), snapshot: (commit) => join(folder, "snapshots", commit) };
}

/**
 * The snapshot of a repository that is in the cache.
 * @throws LongjingError "not_found"
 */
export async function findSnapshot(cache: string, { id, revision }: RepositoryRef): Promise<string> {
  const { folder, snapshot } = repositoryCache(cache, id);
  for (const name of revision === undefined ? ["main", "master"] : [revision]) {
    const commit = isCommit(name) ? name : await onDisk(folder, async () => (await readFile(join(folder, "refs", name), "utf8").catch(absent))?.trim());
    if (commit !== undefined && isCommit(commit) && (await sizeOf(snapshot(commit))) !== undefined) return snapshot(commit);
  }
  const name = revision === undefined ? id : `${id}@${revision}`;
  throw new LongjingError("not_found", "The model is neither a folder nor in the cache", { where: folder, got: name, hint: `longjing pull ${name}` });
}

/** Puts a blob into a snapshot under the path it has in the repository: a relative link, as `huggingface_hub` makes it. */
export async function linkIntoSnapshot(snapshot: string, path: string, blob: string): Promise<void> {
  const target = join(snapshot, path);
  const pointer = relative(dirname(target), blob);
  await onDisk(target, async () => {
    await mkdir(dirname(target), { recursive: true });
    if ((await readlink(target).catch(notALink)) === pointer) return;
    const fresh = `${target}.incomplete`;
    await rm(fresh, { force: true });
    // Windows lets few users make symbolic links.
    await symlink(pointer, fresh).catch((error: unknown) => (codeOf(error) === "EPERM" ? link(blob, fresh) : Promise.reject(error)));
    await rename(fresh, target);
    await syncFolder(dirname(target));
  });
}

/** Has a branch or tag point at a commit, all at once. */
export async function writeRef({ folder }: RepositoryCache, revision: string, commit: string): Promise<void> {
  const target = join(folder, "refs", revision);
  await onDisk(target, async () => {
    await mkdir(dirname(target), { recursive: true });
    const fresh = `${target}.incomplete`;
    await writeFile(fresh, commit, { flush: true });
    await rename(fresh, target);
    await syncFolder(dirname(target));
  });
}

/** The blob that a file would become, where it is there and of the size that the hub says. */
export async function findBlob(blobs: string, { digest, size: expected }: RemoteFile): Promise<{ readonly path: string; readonly size: number; readonly digest: Digest } | undefined> {
  if (digest === undefined) return undefined;
  const path = join(blobs, digest.hex);
  const size = await sizeOf(path);
  return size !== undefined && (expected === undefined || size === expected) ? { path, size, digest } : undefined;
}

/**
 * Keeps other pulls of a repository out while `work` runs: two that append to one file would spoil it. Where two find the lock
 * of a dead process in the same instant, it is the digest that tells.
 * @throws LongjingError "conflict" while another process holds the lock
 */
export async function locked<T>({ folder, blobs }: RepositoryCache, work: () => Promise<T>): Promise<T> {
  const lock = join(folder, ".pull.lock");
  await onDisk(lock, async () => {
    await mkdir(blobs, { recursive: true });
    const holder = Number(await readFile(lock, "utf8").catch(absent));
    if (holder > 0 && isAlive(holder)) {
      throw new LongjingError("conflict", "Another process is pulling this model", { where: lock, got: `process ${holder}`, hint: "Wait until it is done; if nothing pulls, remove the file." });
    }
    await rm(lock, { force: true });
    await writeFile(lock, String(process.pid), { flag: "wx" });
  });
  try {
    return await work();
  } finally {
    await rm(lock, { force: true });
  }
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return codeOf(error) === "EPERM";
  }
}

/** Bytes of a file, links followed; undefined when there is none. A folder has some size too. */
export async function sizeOf(path: string): Promise<number | undefined> {
  return onDisk(path, async () => (await stat(path).catch(absent))?.size);
}

/** @throws LongjingError "disk" when fewer than `bytes` are free */
export async function requireSpace(folder: string, bytes: number): Promise<void> {
  const { bavail, bsize } = await onDisk(folder, () => statfs(folder));
  if (bytes <= bavail * bsize) return;
  throw new LongjingError("disk", "The disk has too little space", { where: folder, got: `${bavail * bsize} bytes free`, expected: `${bytes} bytes`, hint: "Free some, or set HF_HUB_CACHE to another disk." });
}

/** The digest of a file as it is on the disk. */
export async function digestOf(path: string, algorithm: Digest["algorithm"]): Promise<Digest> {
  return onDisk(path, async () => {
    const hash = createHash(algorithm === "sha256" ? "sha256" : "sha1");
    if (algorithm === "git-sha1") hash.update(`blob ${(await stat(path)).size}\0`);
    for await (const chunk of createReadStream(path, { highWaterMark: 2 ** 20 })) hash.update(chunk as Uint8Array);
    return { algorithm, hex: hash.digest("hex") };
  });
}

/** Has the names in a folder on the disk. Windows cannot open folders and writes names through. */
export async function syncFolder(path: string): Promise<void> {
  if (process.platform === "win32") return;
  const handle = await open(path, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

const explanations: Readonly<Record<string, string>> = { ENOSPC: "The disk is full", EDQUOT: "The quota of the disk is used up", EACCES: "The cache cannot be written", EROFS: "The cache cannot be written" };

/** Errors of the file system become ours, with the path. */
export async function onDisk<T>(where: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    const code = codeOf(error);
    if (code === undefined || LongjingError.is(error)) throw error;
    const hint = code === "ENOSPC" || code === "EDQUOT" ? "Free some space and pull again: what has arrived is kept." : "HF_HUB_CACHE names another folder.";
    throw new LongjingError(code === "ENOENT" ? "not_found" : code === "EEXIST" ? "conflict" : "disk", explanations[code] ?? "The file system refused", { where, got: code, hint }, { cause: error });
  }
}

function absent(error: unknown): undefined {
  if (codeOf(error) === "ENOENT" || codeOf(error) === "ENOTDIR") return undefined;
  throw error;
}

/** A file that stands where a link belongs is replaced. */
function notALink(error: unknown): undefined {
  return codeOf(error) === "EINVAL" ? undefined : absent(error);
}

function codeOf(error: unknown): string | undefined {
  return error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : undefined;
}

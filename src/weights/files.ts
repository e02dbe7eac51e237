import { closeSync, constants, fstatSync, openSync, read, readSync, type Stats } from "node:fs";
import { lstat, mkdir, mkdtemp, open, readdir, rename, rm, rmdir, stat } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { LongjingError } from "../errors/index.ts";
import type { ErrorCode } from "../errors/index.ts";
import { endsEarly } from "./byte-source.ts";
import type { ByteSource } from "./byte-source.ts";

/**
 * A source over a file that stays open until `close`.
 * @throws LongjingError "not_found"; "disk" when the file cannot be opened
 */
export async function openFileSource(path: string): Promise<ByteSource> {
  let descriptor = -1; // while it is closed
  const openFile = (allowed: (stats: Stats) => void): Promise<Stats> =>
    atPath(path, async () => {
      // Without the flag, opening a pipe waits for someone who writes to it. Windows has neither.
      const opened = openSync(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0));
      try {
        const stats = fstatSync(opened);
        allowed(stats);
        descriptor = opened;
        return stats;
      } catch (error) {
        closeSync(opened);
        throw error;
      }
    });
  const first = await openFile((stats) => {
    if (!stats.isFile()) throw new LongjingError("bad_file", "This is not a file", { where: path });
  });
  return {
    label: path,
    size: first.size,
    get descriptor() {
      return descriptor;
    },
    readInto: (target, offset) => readInto(descriptor, target, offset, path),
    close: () =>
      atPath(path, async () => {
        // A number that has been given back may be another file's before long.
        const opened = descriptor;
        descriptor = -1;
        if (opened >= 0) closeSync(opened);
      }),
    reopen: async () => {
      await openFile((stats) => {
        if ((["dev", "ino", "size", "mtimeMs"] as const).some((what) => stats[what] !== first[what])) throw new LongjingError("bad_file", "The file has changed since its header was read", { where: path, hint: "Load it again." });
      });
    },
  };
}

/** Whether there is anything of that name; below a file there is nothing. */
export async function exists(path: string): Promise<boolean> {
  return atPath(path, async () => (await stat(path).catch((error: unknown) => (codeOf(error) === "ENOTDIR" ? null : absent(error)))) !== null);
}

/** Whether a path leads to a file. @throws LongjingError "not_found" when it leads nowhere */
export async function isFile(path: string): Promise<boolean> {
  return atPath(path, async () => (await stat(path)).isFile());
}

/** Names in a folder. @throws LongjingError "not_found" when there is no such folder */
export async function listFolder(path: string): Promise<readonly string[]> {
  return atPath(path, async () => (await readdir(path)).toSorted());
}

/**
 * The text of a file, which lies in a folder that others have made.
 * @throws LongjingError "not_found"; "too_large" above `mostBytes`; "bad_file" when it is no regular file or not UTF-8
 */
export async function readText(path: string, mostBytes: number): Promise<string> {
  const source = await openFileSource(path);
  try {
    if (source.size > mostBytes) {
      throw new LongjingError("too_large", "The file is too large", {
        got: `${source.size} bytes`,
        expected: `${mostBytes} at most`,
        where: path,
      });
    }
    const bytes = new Uint8Array(source.size);
    await source.readInto(bytes, 0);
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (error) {
    if (LongjingError.is(error)) throw error;
    throw new LongjingError("bad_file", "The file is not UTF-8", { where: path }, { cause: error });
  } finally {
    await source.close();
  }
}

/**
 * Parsed JSON of a file.
 * @throws LongjingError as `readText`; "bad_file" when it is not JSON
 */
export async function readJson(path: string, mostBytes: number): Promise<unknown> {
  return parseJson(await readText(path, mostBytes), path);
}

/** @throws LongjingError "bad_file" when a text is not JSON */
export function parseJson(text: string, where: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new LongjingError("bad_file", "The file is not JSON", { where }, { cause });
  }
}

type Pieces = Iterable<Uint8Array> | AsyncIterable<Uint8Array>;

/** Writes a new file and waits until it is on the disk. @throws LongjingError "conflict" when there is one; "disk" */
export async function writeNewFile(path: string, pieces: Pieces): Promise<void> {
  await atPath(path, async () => {
    const handle = await open(path, "wx");
    try {
      for await (const piece of pieces) await writeAll(handle, piece);
      await handle.sync();
    } finally {
      await handle.close();
    }
  });
}

/**
 * Makes a file all at once: the pieces go to a temporary name beside it, which is renamed when all are on the disk.
 * @throws LongjingError "conflict" when there is something already; "disk"
 */
export async function writeWholeFile(path: string, pieces: Pieces): Promise<void> {
  const target = resolve(path);
  const parent = dirname(target);
  await atPath(path, async () => {
    await refuseToOverwrite(target, "file");
    await mkdir(parent, { recursive: true });
    const scratch = await mkdtemp(join(parent, `.${basename(target)}.tmp-`));
    try {
      await writeNewFile(join(scratch, "new"), pieces);
      await refuseToOverwrite(target, "file");
      await rename(join(scratch, "new"), target);
      await syncFolder(parent);
    } finally {
      await rm(scratch, { recursive: true });
    }
  });
}

/**
 * Makes a folder all at once: `fill` writes into a temporary folder beside it, which then takes its name. Whatever happens
 * before leaves what was there as it was.
 * @throws LongjingError "conflict" when there is something that is not an empty folder and `overwrite` is not set; "disk"
 */
export async function writeFolder(path: string, overwrite: boolean, fill: (folder: string) => Promise<void>): Promise<void> {
  const target = resolve(path);
  const parent = dirname(target);
  await atPath(path, async () => {
    if (!overwrite) await refuseToOverwrite(target, "folder");
    await mkdir(parent, { recursive: true });
    const scratch = await mkdtemp(join(parent, `.${basename(target)}.tmp-`));
    const fresh = join(scratch, "new");
    try {
      await mkdir(fresh);
      await fill(fresh);
      await syncFolder(fresh);
      if (overwrite) await replace(target, fresh, join(scratch, "old"));
      else await refuseToOverwrite(target, "folder").then(() => rename(fresh, target));
      await syncFolder(parent);
    } catch (error) {
      await rm(fresh, { recursive: true, force: true });
      // Fails, as it should, while it holds the only copy of what was there.
      await rmdir(scratch);
      throw error;
    }
    await rm(scratch, { recursive: true });
  });
}

/** An empty folder is not in a folder's way. */
async function refuseToOverwrite(target: string, kind: "file" | "folder"): Promise<void> {
  const stats = await lstat(target).catch(absent);
  if (stats === null || (kind === "folder" && stats.isDirectory() && (await readdir(target)).length === 0)) return;
  throw new LongjingError("conflict", "There is something already", { where: target, hint: `Choose another ${kind}, or remove it.` });
}

/** Between the two renames a crash leaves what was there at `aside`. */
async function replace(target: string, fresh: string, aside: string): Promise<void> {
  const occupied = (await lstat(target).catch(absent)) !== null;
  if (occupied) await rename(target, aside);
  try {
    await rename(fresh, target);
  } catch (error) {
    if (occupied) await rename(aside, target);
    throw error;
  }
}

async function syncFolder(path: string): Promise<void> {
  // Windows cannot open a folder, and journals its renames itself.
  if (process.platform === "win32") return;
  const handle = await open(path, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

type Handle = Awaited<ReturnType<typeof open>>;

const readAside = (...args: [descriptor: number, target: Uint8Array, at: number, length: number, offset: number]): Promise<number> =>
  new Promise((resolve, reject) => read(...args, (error, bytesRead) => (error ? reject(error) : resolve(bytesRead))));

/** The system calls take fewer than 2^31 bytes. */
const mostAtOnce = 2 ** 30;

/** What is read sooner than another thread is asked for it. */
const littleToRead = 2 ** 20;

async function readInto(descriptor: number, target: Uint8Array, offset: number, path: string): Promise<void> {
  for (let done = 0; done < target.length;) {
    const length = Math.min(mostAtOnce, target.length - done);
    const bytesRead = await atPath(path, async () => (length <= littleToRead ? readSync(descriptor, target, done, length, offset + done) : await readAside(descriptor, target, done, length, offset + done)));
    if (bytesRead === 0) throw endsEarly(path, offset + done, offset + target.length);
    done += bytesRead;
  }
}

async function writeAll(handle: Handle, piece: Uint8Array): Promise<void> {
  for (let done = 0; done < piece.length;) {
    done += (await handle.write(piece, done, Math.min(mostAtOnce, piece.length - done))).bytesWritten;
  }
}

function absent(error: unknown): null {
  if (codeOf(error) === "ENOENT") return null;
  throw error;
}

const known: Readonly<Record<string, readonly [ErrorCode, string]>> = {
  ENOENT: ["not_found", "There is no such file or folder"],
  ENOTDIR: ["not_found", "There is no such folder"],
  EISDIR: ["bad_file", "This is a folder"],
  EEXIST: ["conflict", "There is something already"],
  ENOTEMPTY: ["conflict", "The folder is not empty"],
  ENOSPC: ["disk", "The disk is full"],
};

/** Errors of the file system become ours, with the path. */
async function atPath<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    const code = codeOf(error);
    if (code === undefined || LongjingError.is(error)) throw error;
    const [ours, message] = known[code] ?? ["disk", "The file system refused"];
    throw new LongjingError(ours, message, { got: code, where: path }, { cause: error });
  }
}

function codeOf(error: unknown): string | undefined {
  return error instanceof Error && "syscall" in error && "code" in error ? String(error.code) : undefined;
}

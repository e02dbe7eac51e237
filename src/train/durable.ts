import { createHash } from "node:crypto";
import { closeSync, fsyncSync, openSync, readSync, renameSync, writeSync } from "node:fs";
import { dirname } from "node:path";
import { LongjingError } from "../errors/index.ts";

/** Creates a file from its pieces, has it on the disk when it returns, and gives its SHA-256 in hex. An existing file is an error. */
export function writeDurably(path: string, pieces: Iterable<Uint8Array>): string {
  const hash = createHash("sha256");
  const file = openSync(path, "wx");
  try {
    for (const piece of pieces) {
      hash.update(piece);
      writeAll(file, piece);
    }
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
  return hash.digest("hex");
}

/** Replaces a file as a whole: a reader, or a crash at any moment, meets the old text or the new one, never a part. */
export function replaceDurably(path: string, text: string): void {
  const temporary = `${path}.tmp`;
  const file = openSync(temporary, "w");
  try {
    writeAll(file, Buffer.from(text));
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
  renameSync(temporary, path);
  syncFolder(dirname(path));
}

/** Has the names in a folder on the disk. Windows cannot open folders and writes names through. */
export function syncFolder(path: string): void {
  if (process.platform === "win32") return;
  const folder = openSync(path, "r");
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}

/** The system calls take fewer than 2^31 bytes, and may take fewer than they are given. */
export function writeAll(file: number, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; ) at += writeSync(file, bytes, at, Math.min(2 ** 30, bytes.length - at));
}

/** SHA-256 of a file in hex. */
export function sha256OfFile(path: string): string {
  const hash = createHash("sha256");
  const piece = new Uint8Array(1 << 20);
  const file = openSync(path, "r");
  try {
    for (let read = readSync(file, piece); read > 0; read = readSync(file, piece)) hash.update(piece.subarray(0, read));
  } finally {
    closeSync(file);
  }
  return hash.digest("hex");
}

/** Runs `action`; an error of the file system becomes a `disk` error that says where and what to do. */
export function onDisk<T>(where: string, action: () => T): T {
  try {
    return action();
  } catch (error) {
    if (LongjingError.is(error) || !isSystemError(error)) throw error;
    const { message, hint } = explanations[error.code] ?? { message: "The file system refused", hint: "See the cause" };
    throw new LongjingError("disk", message, { where, got: error.message, hint }, { cause: error });
  }
}

const full = { message: "The disk is full", hint: "Free some space and resume: the previous checkpoint is untouched" };
const unwritable = { message: "The folder cannot be written", hint: "Check its owner and permissions, or choose another with --out" };

const explanations: Readonly<Record<string, { message: string; hint: string }>> = {
  ENOSPC: full,
  EDQUOT: full,
  EACCES: unwritable,
  EPERM: unwritable,
  EROFS: unwritable,
  ENOTDIR: unwritable,
};

export function isSystemError(error: unknown): error is NodeJS.ErrnoException & { code: string } {
  return error instanceof Error && "code" in error && typeof error.code === "string" && "syscall" in error;
}

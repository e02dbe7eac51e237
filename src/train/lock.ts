import { linkSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { LongjingError } from "../errors/index.ts";
import { isSystemError, onDisk } from "./durable.ts";

interface Holder {
  readonly pid: number;
  readonly host: string;
  /** When the process started, in the kernel's ticks (Linux): tells a process from a later one with its pid. Else null. */
  readonly started: string | null;
}

/**
 * Takes the lock of a run folder: a file `lock` that names the process. The lock of a process that is gone is taken over.
 * @returns releases it
 * @throws LongjingError "conflict" when another process, or this one, holds it; "disk"
 */
export function lockRun(runDir: string): () => void {
  const path = join(runDir, "lock");
  const own = JSON.stringify({ pid: process.pid, host: hostname(), started: startOf(process.pid) } satisfies Holder);
  return onDisk(path, () => {
    // A link appears with its content, so nobody ever reads an empty lock.
    const draft = `${path}.${process.pid}`;
    writeFileSync(draft, own);
    try {
      while (!linked(draft, path)) clearStale(path);
    } finally {
      rmSync(draft, { force: true });
    }
    return () => rmSync(path, { force: true });
  });
}

/** Whether a living process holds the run. */
export function isLocked(runDir: string): boolean {
  const path = join(runDir, "lock");
  return onDisk(path, () => {
    const text = readIfThere(path);
    return text !== null && !isGone(text);
  });
}

/** Removes the lock if its process is gone. */
function clearStale(path: string): void {
  const text = readIfThere(path);
  if (text === null) return;
  if (!isGone(text)) throw held(path, text);
  const aside = `${path}.${process.pid}.stale`;
  try {
    renameSync(path, aside);
  } catch (error) {
    if (isSystemError(error) && error.code === "ENOENT") return; // somebody else has cleared it
    throw error;
  }
  // Between the reading and the renaming somebody may have taken the run: then theirs goes back.
  const moved = readFileSync(aside, "utf8");
  if (moved !== text) linked(aside, path);
  rmSync(aside);
  if (moved !== text) throw held(path, moved);
}

function held(path: string, got: string): LongjingError {
  return new LongjingError("conflict", "Another process is training in this folder", {
    where: path,
    got,
    hint: "Stop it, or choose another folder with --out. If it ran on a host that is gone, remove the file",
  });
}

function isGone(text: string): boolean {
  const { pid, host, started } = parseHolder(text);
  // A process of another host cannot be asked for: it counts as alive.
  if (host !== hostname()) return false;
  return !isAlive(pid) || (started !== null && startOf(pid) !== started);
}

function parseHolder(text: string): Holder {
  try {
    return JSON.parse(text) as Holder;
  } catch (error) {
    throw new LongjingError("bad_file", "The lock of the run does not say who holds it", { got: text, hint: "Remove it if nothing trains here" }, { cause: error });
  }
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    if (isSystemError(error) && error.code === "ESRCH") return false;
    return true; // it is there, and not ours to signal
  }
}

/** Field 22 of /proc/PID/stat; the second field may hold blanks but ends at the last parenthesis. */
function startOf(pid: number): string | null {
  if (process.platform !== "linux") return null;
  const stat = readIfThere(`/proc/${pid}/stat`);
  return stat?.slice(stat.lastIndexOf(")") + 2).split(" ")[19] ?? null;
}

function linked(from: string, to: string): boolean {
  try {
    linkSync(from, to);
    return true;
  } catch (error) {
    if (isSystemError(error) && error.code === "EEXIST") return false;
    throw error;
  }
}

function readIfThere(path: string): string | null {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if (isSystemError(error) && error.code === "ENOENT") return null;
    throw error;
  }
}

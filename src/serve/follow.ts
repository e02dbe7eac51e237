import { open, type FileHandle } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";

/** What happens to a file that grows by lines. */
export type FollowEvent =
  | { readonly type: "line"; readonly text: string; /** Byte offset behind the line: where to follow on from. */ readonly offset: number }
  /** The file is not the one that `from` was taken in (a resumed run cuts its log back): forget it, all of it follows. */
  | { readonly type: "reset" }
  /** Everything written so far has been told. */
  | { readonly type: "idle" };

export interface FollowOptions {
  readonly from?: number;
  readonly signal: AbortSignal;
  readonly pollMs?: number;
}

const newline = 0x0a;

/** Tells the whole lines of a file from a byte offset on, then those that are appended, until the signal. It polls: file
 * watchers miss appends on network and container file systems. */
export async function* followLines(path: string, { from = 0, signal, pollMs = 300 }: FollowOptions): AsyncGenerator<FollowEvent, void> {
  let offset = from;
  while (!signal.aborted) {
    const step = await readLines(path, offset);
    if (step === "reset") {
      offset = 0;
      yield { type: "reset" };
      continue;
    }
    for (const line of step) {
      offset = line.offset;
      yield line;
    }
    if (step.length > 0) continue;
    yield { type: "idle" };
    await sleep(pollMs, undefined, { signal }).catch(() => {}); // only the signal rejects it, and the loop asks that
  }
}

/** Some of the whole lines behind `offset`; none when there is no more yet. */
async function readLines(path: string, offset: number): Promise<readonly Extract<FollowEvent, { type: "line" }>[] | "reset"> {
  const file = await openIfThere(path);
  if (file === undefined) return offset === 0 ? [] : "reset";
  try {
    const { size } = await file.stat();
    if (!(await isLineStart(file, offset, size))) return "reset";
    for (let window = 1 << 16; ; window *= 4) {
      const bytes = await read(file, offset, Math.min(window, size - offset));
      const lines = split(bytes, offset);
      if (lines.length > 0 || bytes.length < window) return lines;
    }
  } finally {
    await file.close();
  }
}

async function openIfThere(path: string): Promise<FileHandle | undefined> {
  return await open(path, "r").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw error;
  });
}

async function isLineStart(file: FileHandle, offset: number, size: number): Promise<boolean> {
  if (offset === 0) return true;
  if (offset > size) return false;
  return (await read(file, offset - 1, 1))[0] === newline;
}

async function read(file: FileHandle, position: number, length: number): Promise<Buffer> {
  const buffer = Buffer.alloc(length);
  const { bytesRead } = await file.read(buffer, 0, length, position);
  return buffer.subarray(0, bytesRead);
}

function split(bytes: Buffer, start: number): Extract<FollowEvent, { type: "line" }>[] {
  const lines: Extract<FollowEvent, { type: "line" }>[] = [];
  for (let at = 0, end = bytes.indexOf(newline); end >= 0; at = end + 1, end = bytes.indexOf(newline, at)) {
    lines.push({ type: "line", text: bytes.toString("utf8", at, end), offset: start + end + 1 });
  }
  return lines;
}

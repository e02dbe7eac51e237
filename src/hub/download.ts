import { createHash } from "node:crypto";
import { open, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { LongjingError } from "../errors/index.ts";
import { digestOf, onDisk, sizeOf, syncFolder } from "./cache.ts";
import { contentFault } from "./content.ts";
import type { Hub } from "./hubs.ts";
import { parseDigest, type Digest, type RemoteFile } from "./repository.ts";
import { ask, passing, shown, type Answer, type Patience } from "./request.ts";

export interface DownloadOptions {
  readonly hub: Hub;
  readonly url: URL;
  readonly file: RemoteFile;
  /** Where the blob goes, named by its digest. */
  readonly blobs: string;
  readonly patience: Patience;
  /** Bytes of the file that are on this side. */
  readonly onBytes: (bytes: number) => void;
}

export interface Blob {
  readonly path: string;
  readonly size: number;
  readonly digest: Digest;
}

type Handle = Awaited<ReturnType<typeof open>>;

/**
 * Brings one file into `blobs`. Bytes go to a name that ends in `.incomplete`, from where a cut download is continued, by this
 * process or a later one; the blob gets its name when size and digest are right and it is on the disk.
 * @throws LongjingError as `ask`; "bad_file" when what arrives is not the file; "disk"
 */
export async function download(options: DownloadOptions): Promise<Blob> {
  const { file, blobs, url } = options;
  const partial = join(blobs, `${file.digest?.hex ?? createHash("sha256").update(url.href).digest("hex")}.incomplete`);
  const left = (await sizeOf(partial)) ?? 0;
  // Without a digest to come out right in the end, nothing says that what was left belongs to this file.
  const earlier = file.digest !== undefined && left <= (file.size ?? Infinity) ? left : 0;
  const expected = await fill(partial, earlier, options);
  const found = await digestOf(partial, expected?.algorithm ?? "sha256");
  if (expected !== undefined && found.hex !== expected.hex) {
    await onDisk(partial, () => rm(partial));
    // What was left may be of other bytes; what this process brought may not.
    if (earlier > 0) return download(options);
    throw new LongjingError("bad_file", "What the hub sent is not the file that it lists", { where: shown(url), got: `${found.algorithm} ${found.hex}`, expected: expected.hex, hint: "Nothing of it is kept." });
  }
  const path = join(blobs, found.hex);
  await onDisk(path, () => rename(partial, path).then(() => syncFolder(blobs)));
  return { path, size: (await sizeOf(path)) ?? 0, digest: found };
}

/** Has the whole file in `partial` and on the disk; returns the digest that it must have, where the hub says one. */
async function fill(partial: string, earlier: number, options: DownloadOptions): Promise<Digest | undefined> {
  const handle = await onDisk(partial, () => open(partial, earlier > 0 ? "r+" : "w+"));
  try {
    const transfer: Transfer = { at: earlier, etag: null, size: options.file.size, digest: options.file.digest };
    await complete(handle, partial, transfer, options);
    if (transfer.digest === undefined) await refuseOtherFile(handle, options.file, transfer.at, options.url);
    await onDisk(partial, () => handle.sync());
    return transfer.digest;
  } catch (error) {
    if (LongjingError.is(error) && error.code === "bad_file") await onDisk(partial, () => rm(partial));
    throw error;
  } finally {
    await handle.close();
  }
}

interface Transfer {
  /** Bytes that are there. */
  at: number;
  /** Of the resource that they came from, where this process saw it. */
  etag: string | null;
  size: number | undefined;
  digest: Digest | undefined;
}

/** Asks for what is missing until nothing is, or until too many answers in a row brought no byte further. */
async function complete(handle: Handle, partial: string, transfer: Transfer, { hub, url, patience, onBytes }: DownloadOptions): Promise<void> {
  let furthest = transfer.at;
  for (let fruitless = 0; transfer.at !== transfer.size; ) {
    const { at, etag } = transfer;
    const answer = await ask(hub, url, at === 0 ? {} : { range: `bytes=${at}-`, ...(etag?.startsWith('"') ? { "if-range": etag } : {}) }, patience);
    const cut = await receive(answer, handle, partial, transfer, url, onBytes).catch(passing);
    fruitless = transfer.at > furthest ? 0 : fruitless + 1;
    furthest = Math.max(furthest, transfer.at);
    if (transfer.at === transfer.size) return;
    if (fruitless === patience.attempts) throw cut ?? new LongjingError("network", "The hub ends the file early", { where: shown(url), got: `${transfer.at} bytes`, expected: `${transfer.size} bytes`, hint: "Pull again: what has arrived is kept." });
    if (fruitless > 0) await sleep(patience.retrySeconds * 2 ** (fruitless - 1) * 1000);
  }
}

/** Appends what one answer brings. */
async function receive(answer: Answer, handle: Handle, partial: string, transfer: Transfer, url: URL, onBytes: (bytes: number) => void): Promise<void> {
  try {
    const start = startOf(answer, transfer);
    if (start < transfer.at) {
      await onDisk(partial, () => handle.truncate(0));
      Object.assign(transfer, { at: 0, etag: null });
    }
    if (start === restart) return;
    refuseOtherContent(answer, url);
    learn(transfer, answer, url);
    for await (const chunk of answer.body) {
      if (transfer.at + chunk.length > transfer.size!) throw new LongjingError("bad_file", "The hub sends more than the file has", { where: shown(url), expected: `${transfer.size} bytes` });
      await onDisk(partial, () => writeAll(handle, chunk, transfer.at));
      transfer.at += chunk.length;
      onBytes(transfer.at);
    }
  } finally {
    answer.close();
  }
}

/** The answer is of no use: the next request starts over. */
const restart = -1;

/** Where in the file the answer begins: where it was asked to, at 0 from a server that ignores ranges or whose file has changed. */
function startOf({ status, headers }: Answer, { at, etag }: Transfer): number {
  const [, from] = /^bytes (\d+)-/.exec(headers.get("content-range") ?? "") ?? [];
  // ModelScope answers a range with 200 and a Content-Range.
  if (from === undefined) return status === 200 ? 0 : restart;
  const changed = at > 0 && etag !== null && headers.get("etag") !== etag;
  return Number(from) === at && !changed ? at : restart;
}

/** Takes from the answer what the listing did not say, and holds it against what is known. */
function learn(transfer: Transfer, { headers, hubHeaders }: Answer, url: URL): void {
  const linked = hubHeaders.get("x-linked-size");
  const [, ofRange] = /\/(\d+)$/.exec(headers.get("content-range") ?? "") ?? [];
  const whole = ofRange ?? (transfer.at === 0 ? headers.get("content-length") : null);
  for (const text of [linked, whole]) {
    if (text === null) continue;
    const size = Number(text);
    transfer.size ??= Number.isSafeInteger(size) ? size : undefined;
    if (size !== transfer.size) throw new LongjingError("bad_file", "The hub contradicts itself on the size of a file", { where: shown(url), got: `${text} bytes`, expected: `${transfer.size} bytes` });
  }
  if (transfer.size === undefined) throw new LongjingError("bad_file", "The hub does not say how large the file is", { where: shown(url) });
  // A plain ETag is a digest only where the hub speaks for a repository.
  transfer.digest ??= parseDigest(hubHeaders.get("x-linked-etag")) ?? (hubHeaders.has("x-repo-commit") ? parseDigest(hubHeaders.get("etag")) : undefined);
  transfer.etag = headers.get("etag");
}

function refuseOtherContent({ headers }: Answer, url: URL): void {
  const type = headers.get("content-type") ?? "";
  const encoding = headers.get("content-encoding") ?? "identity";
  if (encoding !== "identity") throw new LongjingError("bad_file", "The hub sends the file in another encoding than asked for", { where: shown(url), got: encoding, expected: "identity" });
  if (/^\s*(?:text\/html|application\/xhtml\+xml)\b/i.test(type)) throw notTheFile(url, "a page");
}

async function refuseOtherFile(handle: Handle, { path }: RemoteFile, size: number, url: URL): Promise<void> {
  const fault = await contentFault(path, size, async (offset, length) => {
    const bytes = new Uint8Array(Math.min(length, size - offset));
    for (let done = 0, got = 1; done < bytes.length && got > 0; done += got) got = (await handle.read(bytes, done, bytes.length - done, offset + done)).bytesRead;
    return bytes;
  });
  if (fault !== null) throw notTheFile(url, fault);
}

const notTheFile = (url: URL, got: string): LongjingError => new LongjingError("bad_file", "The hub sends something else than the file", { where: shown(url), got, hint: "A proxy or a log-in may stand between." });

async function writeAll(handle: Handle, bytes: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < bytes.length; ) done += (await handle.write(bytes, done, bytes.length - done, position + done)).bytesWritten;
}

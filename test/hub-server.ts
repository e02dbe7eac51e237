import { createHash } from "node:crypto";
import { once } from "node:events";
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export const commit = "0123456789abcdef0123456789abcdef01234567";

export const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");
export const gitSha1 = (bytes: Uint8Array): string => createHash("sha1").update(`blob ${bytes.length}\0`).update(bytes).digest("hex");

/** Takes a request over; false leaves it to the hub. */
export type Trick = (request: IncomingMessage, response: ServerResponse) => boolean | void;

export interface Seen {
  readonly url: string;
  readonly headers: IncomingHttpHeaders;
}

export interface FakeHub {
  readonly url: string;
  readonly seen: Seen[];
  /** Requests for a file. */
  asked(path: string): Seen[];
  close(): Promise<void>;
}

/** A server on loopback that answers with `handle` and remembers what it was asked. */
export async function serve(handle: (request: IncomingMessage, response: ServerResponse) => void): Promise<FakeHub> {
  const seen: Seen[] = [];
  const server = createServer((request, response) => {
    seen.push({ url: request.url ?? "", headers: request.headers });
    handle(request, response);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const close = async (): Promise<void> => {
    server.closeAllConnections();
    server.close();
    await once(server, "close");
  };
  const asked = (path: string): Seen[] => seen.filter(({ url }) => decodeURIComponent(url).endsWith(path));
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, seen, asked, close };
}

export type Files = Readonly<Record<string, Uint8Array>>;

/** Small files are Git's, the others in large-file storage, as on the real hub. */
const isLarge = (path: string): boolean => /\.(safetensors|gguf)$/.test(path);

export const sibling = (path: string, bytes: Uint8Array): object =>
  isLarge(path)
    ? { rfilename: path, size: bytes.length, blobId: gitSha1(Buffer.from("pointer")), lfs: { sha256: sha256(bytes), size: bytes.length, pointerSize: 130 } }
    : { rfilename: path, size: bytes.length, blobId: gitSha1(bytes) };

/** Hugging Face's layout, for one model `org/name`. */
export function huggingFace(files: Files, trick: Trick = () => false): Promise<FakeHub> {
  return serve((request, response) => {
    if (trick(request, response) === true) return;
    const { pathname } = new URL(request.url!, "http://hub");
    if (pathname.startsWith("/api/models/org/name/revision/")) return json(response, { id: "org/name", sha: commit, siblings: Object.entries(files).map(([path, bytes]) => sibling(path, bytes)) });
    const [, path = ""] = new RegExp(`^/org/name/resolve/${commit}/(.*)$`).exec(decodeURIComponent(pathname)) ?? [];
    const bytes = files[path];
    if (bytes === undefined) return void response.writeHead(404, { "x-error-code": "EntryNotFound" }).end();
    sendFile(request, response, bytes);
  });
}

/** ModelScope's layout, for one model `org/name`. */
export function modelScope(files: Files, id = ""): Promise<FakeHub> {
  return serve((request, response) => {
    const url = new URL(request.url!, "http://hub");
    if (url.pathname === "/api/v1/models/org/name/repo/files") {
      const Files = Object.entries(files).map(([Path, bytes]) => ({ Path, Name: Path, Type: "blob", Size: bytes.length, Sha256: sha256(bytes) }));
      return json(response, { Code: 200, Success: true, Data: { Files: [...Files, { Path: "sub", Type: "tree", Size: 0, Sha256: "" }], LatestCommitter: { Id: id } } });
    }
    const bytes = url.pathname === "/api/v1/models/org/name/repo" ? files[url.searchParams.get("FilePath") ?? ""] : undefined;
    if (bytes === undefined) return json(response, { Code: 10010101, Message: "no such model" });
    sendFile(request, response, bytes, 200);
  });
}

export function json(response: ServerResponse, body: unknown): void {
  response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(body));
}

/** A file with its ETag, or the range of it that is asked for. */
export function sendFile(request: IncomingMessage, response: ServerResponse, bytes: Uint8Array, rangeStatus = 206): void {
  const etag = `"${sha256(bytes).slice(0, 32)}"`;
  const ifRange = request.headers["if-range"];
  const [, from] = (ifRange === undefined || ifRange === etag ? /^bytes=(\d+)-$/.exec(request.headers.range ?? "") : null) ?? [];
  const part = bytes.subarray(Number(from ?? 0));
  const range = from === undefined ? {} : { "content-range": `bytes ${from}-${bytes.length - 1}/${bytes.length}` };
  response.writeHead(from === undefined ? 200 : rangeStatus, { etag, "content-length": part.length, ...range }).end(part);
}

/** Declares all of `bytes`, sends the first `count` and breaks off when `arrived` says that they are there. */
export function cutAfter(response: ServerResponse, bytes: Uint8Array, count: number, arrived: () => number): void {
  response.writeHead(200, { "content-length": bytes.length, etag: `"${sha256(bytes).slice(0, 32)}"` }).write(bytes.subarray(0, count));
  const timer = setInterval(() => {
    if (arrived() < count) return;
    clearInterval(timer);
    response.destroy();
  }, 5);
}

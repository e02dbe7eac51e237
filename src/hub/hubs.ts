import { z } from "zod";
import { LongjingError } from "../errors/index.ts";
import { checkListing, isCommit, parseDigest, type RemoteFile } from "./repository.ts";

export type HubName = "huggingface" | "modelscope";

export type Environment = Readonly<Record<string, string | undefined>>;

/** The files of a repository at one commit. */
export interface Listing {
  /** 40 hexadecimal digits that name the state; the snapshot's folder in the cache. */
  readonly commit: string;
  /** What to ask for the files by. */
  readonly revision: string;
  readonly files: readonly RemoteFile[];
}

/** How one kind of hub is spoken to. */
export interface Hub {
  readonly name: HubName;
  readonly endpoint: URL;
  readonly defaultRevision: string;
  /** Headers that carry the token; empty without one. They are for the endpoint's own origin. */
  readonly credentials: Readonly<Record<string, string>>;
  /** The environment variable that the token comes from. */
  readonly tokenVariable: string;
  listingUrl(id: string, revision: string): URL;
  /** @throws LongjingError "bad_file" when the answer is not a listing, or a hostile one; "not_found" */
  parseListing(body: unknown, revision: string, where: string): Promise<Listing>;
  fileUrl(id: string, revision: string, path: string): URL;
}

/**
 * The hub that is asked for, or that the environment names: `HF_ENDPOINT` with `HF_TOKEN`, or `MODELSCOPE_ENDPOINT` with
 * `MODELSCOPE_API_TOKEN`.
 * @throws LongjingError "bad_argument" for an endpoint or a token that cannot be used
 */
export function openHub(env: Environment, name?: HubName): Hub {
  const chosen = name ?? (env.MODELSCOPE_ENDPOINT && !env.HF_ENDPOINT ? "modelscope" : "huggingface");
  return chosen === "modelscope" ? modelScope(env) : huggingFace(env);
}

/** Routes of Hugging Face's hub, which its mirrors share: model info of a revision with `blobs`, and `resolve`. */
function huggingFace(env: Environment): Hub {
  const tokenVariable = "HF_TOKEN";
  const endpoint = parseEndpoint("HF_ENDPOINT", env.HF_ENDPOINT || "https://huggingface.co");
  const token = parseToken(tokenVariable, env.HF_TOKEN, endpoint);
  return {
    name: "huggingface",
    endpoint,
    defaultRevision: "main",
    tokenVariable,
    credentials: token === undefined ? {} : { authorization: `Bearer ${token}` },
    listingUrl: (id, revision) => below(endpoint, `api/models/${id}/revision/${encodeURIComponent(revision)}`, { blobs: "true" }),
    fileUrl: (id, revision, path) => below(endpoint, `${id}/resolve/${encodeURIComponent(revision)}/${encodePath(path)}`),
    async parseListing(body, _revision, where) {
      const { sha, siblings } = parseAs(modelInfo, body, where);
      const files = siblings.map(({ rfilename, size, blobId, lfs }) => ({ path: rfilename, size: lfs?.size ?? size ?? undefined, digest: parseDigest(lfs?.sha256 ?? blobId) }));
      return { commit: sha, revision: sha, files: checkListing(files, where) };
    },
  };
}

const modelInfo = z.object({
  sha: z.string().regex(/^[0-9a-f]{40}$/),
  siblings: z.array(
    z.object({
      rfilename: z.string(),
      size: z.number().nullish(),
      /** Git's SHA-1 of the file, or of the pointer where the file itself is in large-file storage. */
      blobId: z.string().nullish(),
      lfs: z.object({ sha256: z.string(), size: z.number() }).nullish(),
    }),
  ),
});

/** Routes that ModelScope's own client calls: `repo/files`, which gives every file's SHA-256, and `repo`. */
function modelScope(env: Environment): Hub {
  const tokenVariable = "MODELSCOPE_API_TOKEN";
  const endpoint = parseEndpoint("MODELSCOPE_ENDPOINT", env.MODELSCOPE_ENDPOINT || "https://www.modelscope.cn");
  const token = parseToken(tokenVariable, env.MODELSCOPE_API_TOKEN, endpoint);
  return {
    name: "modelscope",
    endpoint,
    defaultRevision: "master",
    tokenVariable,
    // Its older routes know the token as a session.
    credentials: token === undefined ? {} : { authorization: `Bearer ${token}`, cookie: `m_session_id=${token}` },
    listingUrl: (id, revision) => below(endpoint, `api/v1/models/${id}/repo/files`, { Revision: revision, Recursive: "true" }),
    fileUrl: (id, revision, path) => below(endpoint, `api/v1/models/${id}/repo`, { Revision: revision, FilePath: path }),
    async parseListing(body, revision, where) {
      const { Code, Message, Data } = parseAs(fileList, body, where);
      if (Code !== 200 || !Data) throw new LongjingError("not_found", "The hub has no such model or revision", { where, got: Message ?? Code });
      const blobs = Data.Files.filter(({ Type }) => Type !== "tree");
      const files = checkListing(blobs.map(({ Path, Size, Sha256 }) => ({ path: Path, size: Size, digest: parseDigest(Sha256) })), where);
      const known = [revision, Data.LatestCommitter?.Id ?? ""].find(isCommit);
      return { commit: known ?? (await nameOf(files)), revision: known ?? revision, files };
    },
  };
}

const fileList = z.object({
  Code: z.number(),
  Message: z.string().nullish(),
  Data: z
    .object({
      Files: z.array(z.object({ Path: z.string(), Type: z.string(), Size: z.number(), Sha256: z.string().nullish() })),
      LatestCommitter: z.object({ Id: z.string().nullish() }).nullish(),
    })
    .nullish(),
});

/** Names a state by what is in it, where the hub does not say the commit. */
async function nameOf(files: readonly RemoteFile[]): Promise<string> {
  const lines = files.map(({ path, size, digest }) => `${path}\0${size}\0${digest?.hex}\n`).toSorted();
  const hash = await crypto.subtle.digest("SHA-1", new TextEncoder().encode(lines.join("")));
  return Array.from(new Uint8Array(hash), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function parseAs<T>(schema: z.ZodType<T>, body: unknown, where: string): T {
  const parsed = schema.safeParse(body);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  throw new LongjingError("bad_file", "The hub's answer is not a listing of files", { where, got: `${issue?.path.join(".")}: ${issue?.message}` });
}

const loopback = new Set(["localhost", "127.0.0.1", "[::1]"]);

/** Whether an address is this machine's own. */
export const isLoopback = ({ hostname }: URL): boolean => loopback.has(hostname);

function parseEndpoint(variable: string, text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url && /^https?:$/.test(url.protocol) && url.username === "" && url.password === "" && url.search === "") return url;
  throw new LongjingError("bad_argument", "The endpoint is not an address", { where: variable, expected: "https://host" });
}

function parseToken(variable: string, token: string | undefined, endpoint: URL): string | undefined {
  if (!token) return undefined;
  const text = token.trim();
  if (!/^[\x21-\x3a\x3c-\x7e]+$/.test(text)) throw new LongjingError("bad_argument", "The token has characters that no header can carry", { where: variable });
  if (endpoint.protocol === "https:" || isLoopback(endpoint)) return text;
  throw new LongjingError("bad_argument", "The token would travel in the clear", { where: variable, got: endpoint.origin, expected: "an https endpoint", hint: `Unset ${variable} to go on without it.` });
}

const encodePath = (path: string): string => path.split("/").map(encodeURIComponent).join("/");

function below(endpoint: URL, path: string, query: Readonly<Record<string, string>> = {}): URL {
  const url = new URL(endpoint);
  url.pathname = `${endpoint.pathname.replace(/\/+$/, "")}/${path}`;
  url.search = new URLSearchParams(query).toString();
  return url;
}

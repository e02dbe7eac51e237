import { LongjingError } from "../errors/index.ts";

/** `ORG/NAME@revision`. */
export interface RepositoryRef {
  readonly id: string;
  /** A branch, tag, `refs/pr/N` or commit; undefined for the hub's default branch. */
  readonly revision: string | undefined;
}

/** What a file's bytes must hash to: their SHA-256, or the SHA-1 that Git gives a blob. */
export interface Digest {
  readonly algorithm: "sha256" | "git-sha1";
  /** Lower case: 64 digits, or 40. */
  readonly hex: string;
}

/** A file as a hub lists it. A hub may leave out what it then says when the file is asked for. */
export interface RemoteFile {
  /** From the root of the repository, with "/". */
  readonly path: string;
  readonly size: number | undefined;
  readonly digest: Digest | undefined;
}

/** What bounds a hub's word, so that a hostile one costs neither memory nor disk. */
const most = { files: 50_000, pathLength: 1024, segmentLength: 255, depth: 32, nameLength: 96, revisionLength: 200 } as const;

/** The repository that a text names, or null where it names none. */
export function parseRepository(text: string): RepositoryRef | null {
  const [, id = "", revision] = /^([^@]+)(?:@(.+))?$/s.exec(text) ?? [];
  const names = id.split("/");
  if (names.length !== 2 || !names.every(isName)) return null;
  return revision === undefined || isRevision(revision) ? { id, revision } : null;
}

/** "--" is what joins the two names in a cache. */
const isName = (name: string): boolean => name.length <= most.nameLength && /^\w(?:[\w.-]*\w)?$/.test(name) && !/--|\.\./.test(name);

/** What `git check-ref-format --allow-onelevel` accepts, and what no URL can say: half a character. A name is also a file of the cache. */
function isRevision(revision: string): boolean {
  // oxlint-disable-next-line no-control-regex
  const refused = /[\u0000- \u007f~^:?*[\\\p{Surrogate}]|\.\.|@\{|^@$|^-|(?:^|\/)\.|\.lock(?:\/|$)|\.$/u;
  return revision.length <= most.revisionLength && !refused.test(revision) && pathFault(revision) === null;
}

/** Whether a revision is a commit, which never moves. */
export const isCommit = (revision: string): boolean => /^[0-9a-f]{40}$/.test(revision);

/** A digest from 64 or 40 hexadecimal digits, as in an ETag or a listing; undefined for anything else. */
export function parseDigest(text: string | null | undefined): Digest | undefined {
  const [, hex] = /^(?:W\/)?"?([0-9a-f]{64}|[0-9a-f]{40})"?$/i.exec(text ?? "") ?? [];
  return hex === undefined ? undefined : { algorithm: hex.length === 64 ? "sha256" : "git-sha1", hex: hex.toLowerCase() };
}

/** Why a path must not be written below a folder, or null when it may be. */
export function pathFault(path: string): string | null {
  if (path.length === 0 || path.length > most.pathLength) return `1 to ${most.pathLength} characters`;
  // oxlint-disable-next-line no-control-regex
  if (/[\u0000-\u001f\u007f\\]/.test(path)) return "no backslash and no control character";
  if (path.startsWith("/") || /^[a-z]:/i.test(path)) return "a relative path";
  const segments = path.split("/");
  if (segments.length > most.depth) return `${most.depth} folders at most`;
  if (segments.some((segment) => new TextEncoder().encode(segment).length > most.segmentLength)) return `${most.segmentLength} bytes a name at most`;
  return segments.some((segment) => segment === "" || segment === "." || segment === "..") ? "names between the slashes, none of them . or .." : null;
}

/**
 * Takes a listing only when all of it could be written below one folder.
 * @throws LongjingError "bad_file" for a hostile path, size or number of files
 */
export function checkListing(files: readonly RemoteFile[], where: string): readonly RemoteFile[] {
  const refuse = (message: string, got: unknown, expected: string): never => {
    throw new LongjingError("bad_file", message, { where, got, expected, hint: "Nothing of it was written." });
  };
  if (files.length > most.files) refuse("The hub lists too many files", files.length, `${most.files} at most`);
  const paths = new Set(files.map(({ path }) => path));
  if (paths.size < files.length) refuse("The hub lists a file twice", files.length - paths.size, "each path once");
  for (const { path, size } of files) {
    const fault = pathFault(path);
    if (fault !== null) refuse("The hub lists a path that would leave the folder", path, fault);
    for (let at = path.indexOf("/"); at > 0; at = path.indexOf("/", at + 1)) {
      if (paths.has(path.slice(0, at))) refuse("The hub lists a file as a folder too", path.slice(0, at), "one of both");
    }
    if (size !== undefined && !(Number.isSafeInteger(size) && size >= 0)) refuse(`The hub lists ${path} with an impossible size`, size, "bytes");
  }
  return files;
}

/** Whether a file's name says that reading it would run what is in it. */
export const isPickle = (path: string): boolean => /\.(bin|pt|pth|pkl|pickle|ckpt|joblib|np[yz]|mar)$/i.test(path);

/** What a model needs, in the root of its repository: configuration, tokenizer, chat template, safetensors and adapters. */
const needed = [
  /^(config|generation_config|adapter_config|special_tokens_map|added_tokens|vocab|longjing)\.json$/,
  /^tokenizer[\w.-]*\.(json|model)$/,
  /^merges\.txt$/,
  /^(chat_template\.(jinja|json)|additional_chat_templates\/[^/]+\.jinja)$/,
  /^[^/]+\.safetensors(\.index\.json)?$/,
];

/** `*` stands for any characters, `?` for one, as in `huggingface_hub`'s patterns. */
function globPattern(glob: string): RegExp {
  const source = glob.replace(/[.+^${}()|[\]\\]/g, "\\$&").replace(/\*+/g, ".*").replaceAll("?", ".");
  return new RegExp(`^${source}$`, "s");
}

/**
 * The files to download: what a model needs, or what matches one of the globs. Never a pickle, which runs code when it is read.
 * @throws LongjingError "not_found" when that leaves nothing to run; "unsupported" when it leaves pickles only
 */
export function chooseFiles(files: readonly RemoteFile[], include: readonly string[], where: string): readonly RemoteFile[] {
  const patterns = include.length === 0 ? needed : include.map(globPattern);
  const matching = files.filter(({ path }) => patterns.some((pattern) => pattern.test(path)));
  const chosen = matching.filter(({ path }) => !isPickle(path));
  const hasWeights = chosen.some(({ path }) => path.endsWith(".safetensors"));
  if (include.length > 0 ? chosen.length > 0 : hasWeights) return chosen;
  if (include.length > 0 ? matching.length > 0 : files.some(({ path }) => isPickle(path))) {
    throw new LongjingError("unsupported", "There are only pickles, which run code when they are read", { where, expected: "safetensors or GGUF", hint: "Look for a conversion of this model." });
  }
  const ggufs = files.filter(({ path }) => path.endsWith(".gguf")).map(({ path }) => path);
  throw new LongjingError("not_found", include.length > 0 ? "No file matches" : "There are no safetensors", {
    where,
    ...(include.length > 0 ? { got: include.join(", ") } : {}),
    ...(ggufs.length > 0 ? { hint: `There is GGUF: --include '${ggufs.length === 1 ? ggufs[0] : "*.gguf"}' (${ggufs.slice(0, 8).join(", ")}${ggufs.length > 8 ? ", …" : ""}).` } : {}),
  });
}

import { LongjingError } from "../errors/index.ts";
import { findBlob, linkIntoSnapshot, locked, repositoryCache, requireSpace, writeRef, type RepositoryCache } from "./cache.ts";
import { download, type Blob } from "./download.ts";
import type { Hub, Listing } from "./hubs.ts";
import { chooseFiles, isCommit, type Digest, type RemoteFile, type RepositoryRef } from "./repository.ts";
import { askJson, defaultPatience, shown, type Patience } from "./request.ts";

export interface PullOptions {
  readonly hub: Hub;
  /** The folder that `cacheFolder` names. */
  readonly cache: string;
  /** Globs of files to bring instead of what a model needs. */
  readonly include?: readonly string[];
  readonly onProgress?: (progress: PullProgress) => void;
  readonly patience?: Patience;
}

export interface PullProgress {
  /** Bytes on this side, those of earlier pulls included. */
  readonly done: number;
  readonly total: number;
  /** The file that is coming; its path in the repository. */
  readonly path: string;
}

export interface PulledFile {
  readonly path: string;
  readonly size: number;
  readonly digest: Digest;
  /** It was there already. */
  readonly cached: boolean;
}

export interface Pulled {
  readonly id: string;
  readonly revision: string;
  readonly commit: string;
  /** The snapshot in the cache. */
  readonly folder: string;
  readonly files: readonly PulledFile[];
}

const mostListingBytes = 2 ** 26;

/**
 * Brings a model's files into the cache, or what of them is not there yet. The branch points at the new state only when all of
 * it is there.
 * @throws LongjingError "network", "not_found", "bad_argument" when access is refused, "bad_file" for an answer that is not what
 * the hub lists, "unsupported" where there are pickles only, "conflict" while another process pulls it, "disk"
 */
export async function pull({ id, revision: asked }: RepositoryRef, options: PullOptions): Promise<Pulled> {
  const { hub, cache, include = [], patience = defaultPatience } = options;
  const revision = asked ?? hub.defaultRevision;
  const listingUrl = hub.listingUrl(id, revision);
  const where = shown(listingUrl);
  const listing = await hub.parseListing(await askJson(hub, listingUrl, mostListingBytes, patience), revision, where);
  if (isCommit(revision) && listing.commit !== revision) throw new LongjingError("bad_file", "The hub lists another commit", { where, got: listing.commit, expected: revision });
  const chosen = chooseFiles(listing.files, include, where);
  const repository = repositoryCache(cache, id);
  const folder = repository.snapshot(listing.commit);
  return locked(repository, async () => {
    const files = await bring(id, listing, chosen, repository, options);
    if (!isCommit(revision)) await writeRef(repository, revision, listing.commit);
    return { id, revision, commit: listing.commit, folder, files };
  });
}

async function bring(id: string, { commit, revision }: Listing, chosen: readonly RemoteFile[], repository: RepositoryCache, options: PullOptions): Promise<readonly PulledFile[]> {
  const { hub, onProgress = () => {}, patience = defaultPatience } = options;
  const { blobs } = repository;
  const present = new Map<string, Blob>();
  for (const file of chosen) {
    const blob = await findBlob(blobs, file);
    if (blob) present.set(file.path, blob);
  }
  const total = sum(chosen.map(({ path, size }) => size ?? present.get(path)?.size ?? 0));
  await requireSpace(blobs, total - sum([...present.values()].map(({ size }) => size)));
  let before = sum([...present.values()].map(({ size }) => size));
  const files: PulledFile[] = [];
  for (const file of chosen) {
    const { path } = file;
    const kept = present.get(path);
    const onBytes = (bytes: number): void => onProgress({ done: before + bytes, total: Math.max(total, before + bytes), path });
    const blob = kept ?? (await download({ hub, url: hub.fileUrl(id, revision, path), file, blobs, patience, onBytes }));
    if (!kept) before += blob.size;
    await linkIntoSnapshot(repository.snapshot(commit), path, blob.path);
    files.push({ path, size: blob.size, digest: blob.digest, cached: kept !== undefined });
  }
  return files;
}

const sum = (numbers: readonly number[]): number => numbers.reduce((total, number) => total + number, 0);

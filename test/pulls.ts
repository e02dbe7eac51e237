import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import type { ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect } from "vitest";
import { openHub, pull, type Pulled, type PullOptions } from "../src/hub/index.ts";
import { commit, cutAfter, huggingFace, sha256, type FakeHub, type Files, type Trick } from "./hub-server.ts";

export const weights = Buffer.from(Array.from({ length: 200_000 }, (_, i) => (i * 7919) % 251));
export const config = Buffer.from('{"model_type": "llama"}\n');
export const files: Files = { "config.json": config, "model.safetensors": weights, "tokenizer.json": Buffer.from("{}"), "README.md": Buffer.from("# A model") };
export const needed = ["config.json", "model.safetensors", "tokenizer.json"];
export const weightsUrl = `/org/name/resolve/${commit}/model.safetensors`;
export const blobOfWeights = sha256(weights);
export const patience = { stallSeconds: 10, attempts: 3, retrySeconds: 0.001, mostWaitSeconds: 1 };

/** For each test an empty cache, and hubs that are closed after it. */
export function pulls() {
  let cache = "";
  let open: FakeHub[] = [];
  beforeEach(() => void (cache = mkdtempSync(join(tmpdir(), "longjing-pull-"))));
  afterEach(async () => {
    await Promise.all(open.map((hub) => hub.close()));
    open = [];
    rmSync(cache, { recursive: true });
  });
  const start = async (hub: Promise<FakeHub>): Promise<FakeHub> => {
    open.push(await hub);
    return hub;
  };
  const repository = (): string => join(cache, "models--org--name");
  const blobs = (): string[] => readdirSync(join(repository(), "blobs"));
  const partial = (): string => join(repository(), "blobs", `${blobOfWeights}.incomplete`);
  return {
    cache: (): string => cache,
    repository,
    blobs,
    start,
    /** A hub with `files`, on which `trick` plays with the weights. */
    tricky: (trick: Trick): Promise<FakeHub> => start(huggingFace(files, (request, response) => request.url === weightsUrl && trick(request, response))),
    from: (hub: FakeHub, options: Partial<PullOptions> = {}, env: Readonly<Record<string, string>> = {}): Promise<Pulled> =>
      pull({ id: "org/name", revision: undefined }, { hub: openHub({ HF_ENDPOINT: hub.url, ...env }), cache, patience, ...options }),
    /** Sends so many bytes of the weights, or of others, and breaks off when they are on the disk. */
    cut: (response: ServerResponse, count: number, bytes: Uint8Array = weights): void => cutAfter(response, bytes, count, () => statSync(partial(), { throwIfNoEntry: false })?.size ?? 0),
    /** What an earlier pull left of the weights. */
    partOf: (bytes: Uint8Array): void => {
      mkdirSync(join(repository(), "blobs"), { recursive: true });
      writeFileSync(partial(), bytes);
    },
    expectWhole: (): void => {
      expect(readFileSync(join(repository(), "snapshots", commit, "model.safetensors")).equals(weights)).toBe(true);
      expect(blobs().filter((name) => name.endsWith(".incomplete"))).toEqual([]);
    },
    /** What a failed pull must leave: no blob of the weights, no branch. */
    expectNothingOfIt: (): void => {
      expect(existsSync(join(repository(), "blobs", blobOfWeights))).toBe(false);
      expect(existsSync(join(repository(), "snapshots", commit, "model.safetensors"))).toBe(false);
      expect(existsSync(join(repository(), "refs", "main"))).toBe(false);
    },
  };
}

import { spawn } from "node:child_process";
import { once } from "node:events";
import { copyFileSync, cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Pulled } from "../src/hub/index.ts";
import { fixturesDir } from "./fixtures.ts";
import { commit, huggingFace, sha256, type FakeHub, type Files } from "./hub-server.ts";
import { launcher, longjing } from "./launcher.ts";

const model = join(fixturesDir(), "models", "llama_gqa");
const files: Files = Object.fromEntries(readdirSync(model).map((name) => [name, readFileSync(join(model, name))]));
const weights = files["model.safetensors"]!;
const dir = mkdtempSync(join(tmpdir(), "longjing-pull-cli-"));
const snapshot = join(dir, "cache", "models--org--name", "snapshots", commit);
let hub: FakeHub;
/** Sends half of the weights and then nothing. */
let stalling = true;

beforeAll(async () => {
  hub = await huggingFace(files, ({ url, headers }, response) => {
    if (!stalling || headers.range !== undefined || !url!.endsWith(".safetensors")) return false;
    response.writeHead(200, { "content-length": weights.length }).write(weights.subarray(0, weights.length >> 1));
    return true;
  });
  Object.assign(process.env, { HF_ENDPOINT: hub.url, HF_HUB_CACHE: join(dir, "cache") });
});
afterAll(async () => {
  await hub.close();
  rmSync(dir, { recursive: true });
});

test("a model that was not pulled is told how to get", async () => {
  const { code, stderr } = await longjing(["chat", "org/name"]);
  expect(code).toBe(2);
  expect(stderr).toContain("longjing pull org/name");
});

test("a pull that was killed goes on where it was", async () => {
  const child = spawn(process.execPath, [launcher, "pull", "org/name"], { stdio: "ignore" });
  const partial = join(dir, "cache", "models--org--name", "blobs", `${sha256(weights)}.incomplete`);
  while (!existsSync(partial) || statSync(partial).size < weights.length >> 1) await sleep(20);
  child.kill("SIGKILL");
  await once(child, "exit");
  stalling = false;

  const { code, stdout, stderr } = await longjing(["pull", "org/name"]);
  expect(code).toBe(0);
  expect(hub.asked("model.safetensors").at(-1)!.headers.range).toBe(`bytes=${weights.length >> 1}-`);
  expect(stdout.trimEnd().split("\n").at(-1)).toBe(snapshot);
  expect(stderr).toMatch(/name .*MB/);
});

test("--json says on one line what is there", async () => {
  const { stdout, stderr } = await longjing(["pull", "org/name@main", "--json"]);
  const { files: pulled, ...facts } = JSON.parse(stdout) as Pulled;
  expect(facts).toEqual({ id: "org/name", revision: "main", commit, folder: snapshot });
  expect(pulled).toContainEqual({ path: "model.safetensors", size: weights.length, digest: { algorithm: "sha256", hex: sha256(weights) }, cached: true });
  expect(stderr).toBe("");
});

test("a pulled model is chatted with by its name", async () => {
  const { code, stdout } = await longjing(["chat", "org/name", "--max-tokens", "3", "--temperature", "0", "--json"], "hello\n");
  expect(code).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({ question: "hello", completion_tokens: 3 });
});

test("a failure has its code, and its exit code", async () => {
  const { code, stderr } = await longjing(["pull", "org/other", "--json"]);
  expect(code).toBe(2);
  expect(JSON.parse(stderr)).toMatchObject({ error: { code: "not_found" } });
});

test("a hub that asks to come back later is the machine's trouble, not the person's", async () => {
  const bad = await huggingFace(files, (_, response) => (response.writeHead(429, { "retry-after": "3600" }).end(), true));
  const child = spawn(process.execPath, [launcher, "pull", "org/name"], { stdio: "ignore", env: { ...process.env, HF_ENDPOINT: bad.url } });
  const [code] = await once(child, "close");
  await bad.close();
  expect(code).toBe(4);
});

describe("a local model", () => {
  const copy = join(dir, "model");
  beforeAll(() => cpSync(model, copy, { recursive: true }));

  test("is checked in the same words", async () => {
    writeFileSync(join(copy, "training_args.bin"), "a pickle");
    const { code, stdout } = await longjing(["pull", copy, "--json"]);
    expect(code).toBe(0);
    const report = JSON.parse(stdout) as Pulled;
    expect(report.folder).toBe(copy);
    expect(report.files.map(({ path, digest }) => [path, digest.hex])).toEqual(Object.keys(files).toSorted().map((name) => [name, sha256(files[name]!)]));
  });

  test("may be one file", async () => {
    const file = join(fixturesDir(), "gguf", "llama_gqa.Q4_0.gguf");
    const { stdout } = await longjing(["pull", file, "--json"]);
    expect((JSON.parse(stdout) as Pulled).files).toMatchObject([{ path: "llama_gqa.Q4_0.gguf", digest: { hex: sha256(readFileSync(file)) } }]);
  });

  test.each<[string, () => string, string]>([
    ["cut weights", () => (truncateSync(join(copy, "model.safetensors"), weights.length - 1), copy), "bad_file"],
    ["pickles alone", () => (copyFileSync(join(copy, "training_args.bin"), join(dir, "x.bin")), join(dir, "x.bin")), "unsupported"],
    ["no weights", () => (writeFileSync(join(dir, "config.json"), "{}"), join(dir, "config.json")), "not_found"],
  ])("with %s is refused", async (_, make, code) => {
    const { stderr } = await longjing(["pull", make(), "--json"]);
    expect(JSON.parse(stderr)).toMatchObject({ error: { code } });
  });

  test("with a shard missing is refused", async () => {
    const sharded = join(dir, "sharded");
    cpSync(join(fixturesDir(), "models", "llama3_rope"), sharded, { recursive: true });
    rmSync(join(sharded, "model-00002-of-00003.safetensors"));
    const { stderr } = await longjing(["pull", sharded, "--json"]);
    expect(JSON.parse(stderr)).toMatchObject({ error: { code: "not_found", got: "model-00002-of-00003.safetensors" } });
  });
});

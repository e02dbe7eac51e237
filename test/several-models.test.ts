import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { baseOf, modelSource, nameAdapter, nameModel } from "../src/cli/model-sources.ts";
import { createApp, ModelRegistry, type RegistryLimits } from "../src/serve/index.ts";
import { fixture, hasFixture } from "./fixtures.ts";
import { launcher, longjing } from "./launcher.ts";

const base = "llama_gqa";

type App = ReturnType<typeof createApp>;

async function appOf(models: readonly string[], adapters: readonly string[] = [], limits: RegistryLimits = {}): Promise<{ readonly app: App; readonly registry: ModelRegistry }> {
  const named = await Promise.all(models.map(nameModel));
  const changes = await Promise.all(adapters.map(nameAdapter));
  const sources = await Promise.all(named.map((model) => modelSource(model, { maxNumSeqs: 4, adapters: changes.filter((change) => baseOf(change, named) === model) })));
  const registry = new ModelRegistry(sources, limits);
  return { app: createApp({ models: registry }), registry };
}

async function complete(app: App, model: string): Promise<string> {
  const response = await app.request("/v1/completions", { method: "POST", body: JSON.stringify({ model, prompt: "a", max_tokens: 12, temperature: 0, ignore_eos: true }) });
  expect(response.status, model).toBe(200);
  const { choices } = (await response.json()) as { choices: { text: string }[] };
  return choices[0]!.text;
}

const listed = async (app: App): Promise<string[]> => ((await (await app.request("/v1/models")).json()) as { data: { id: string }[] }).data.map(({ id }) => id);

describe.runIf(hasFixture("models", base) && hasFixture("lora", "lora_llama"))("several models from the command line", () => {
  const folder = fixture("models", base);
  const adapter = fixture("lora", "lora_llama");

  test("each name answers as it does alone, while one after the other is loaded and unloaded", async () => {
    const models = [folder, `again=${folder}`, fixture("models", "qwen3")];
    const names = [base, "again", "qwen3"];
    const alone = new Map<string, string>();
    for (const [at, name] of names.entries()) {
      const { app, registry } = await appOf([models[at]!]);
      alone.set(name, await complete(app, name));
      registry.close();
    }
    expect(alone.get("again")).toBe(alone.get(base));
    const { app, registry } = await appOf(models, [], { maxModels: 1 });
    expect(await listed(app)).toEqual(names);
    for (const name of ["qwen3", base, "again", "qwen3", base]) {
      expect(await complete(app, name), name).toBe(alone.get(name));
      expect(registry.loaded().map(({ id }) => id)).toEqual([name]);
    }
    registry.close();
  });

  test("an adapter is a model of its own name, beside its base", async () => {
    const { app, registry } = await appOf([folder, fixture("models", "qwen3")], [`tuned=${adapter}`]);
    expect(await listed(app)).toEqual([base, "tuned", "qwen3"]);
    const [plain, tuned] = await Promise.all([complete(app, base), complete(app, "tuned")]);
    expect(tuned).not.toBe(plain);
    expect(await complete(app, base)).toBe(plain);
    expect(await complete(app, "tuned")).toBe(tuned);
    expect((await app.request("/v1/models/tuned")).status).toBe(200);
    expect(registry.loaded().map(({ id }) => id)).toEqual([base]);
    registry.close();
  });

  test("SIGTERM lets the streams end, then the process ends with 0", async () => {
    const server = spawn(process.execPath, [launcher, "serve", folder, "--port", "0", "--no-log", "--no-studio", "--json"], { stdio: ["ignore", "pipe", "inherit"] });
    const closed = once(server, "close");
    const [ready] = (await once(server.stdout, "data")) as [Buffer];
    const { url } = JSON.parse(String(ready)) as { url: string };
    const streams = await Promise.all(
      Array.from({ length: 8 }, () => fetch(`${url}/v1/completions`, { method: "POST", body: JSON.stringify({ model: base, prompt: "a", max_tokens: 100, stream: true, ignore_eos: true }) })),
    );
    server.kill("SIGTERM");
    for (const stream of streams) expect(await stream.text()).toMatch(/"completion_tokens":100\b[^]*data: \[DONE\]\n\n$/);
    expect(await closed).toEqual([0, null]);
  });

  test.each([
    [["--adapter", adapter], "NAME=DIR"],
    [["--adapter", `${base}=${adapter}`], "same name"],
    [[`x=${fixture("models", "qwen3")}`, "--adapter", `tuned=${fixture("lora", "lora_qwen2")}`], "which of the models"],
    [["/nowhere/at/all"], "/nowhere/at/all"],
  ])("%j is refused before the server listens", async (args, why) => {
    const { code, stdout, stderr } = await longjing(["serve", folder, ...args, "--port", "0"]);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toContain(why);
  });
});

test("keys from the command line open the server, are limited, and show what they have used", async () => {
  const dir = mkdtempSync(join(tmpdir(), "longjing-cli-keys-"));
  const database = ["--database", join(dir, "server.db")];
  for (const command of [["list"], ["revoke", "alice"]]) expect((await longjing(["keys", ...command, ...database])).code).toBe(2);
  expect(readdirSync(dir)).toEqual([]);
  const created = await longjing(["keys", "create", "alice", "--requests-per-minute", "2", "--input-price", "0.3", "--output-price", "1.2", ...database, "--json"]);
  const { id, key } = JSON.parse(created.stdout) as { id: string; key: string };
  expect((await longjing(["keys", "create", "alice", ...database])).code).toBe(3);
  const shown = async (): Promise<Record<string, unknown>> => JSON.parse((await longjing(["keys", "list", ...database, "--json"])).stdout) as Record<string, unknown>;
  expect(await shown()).toMatchObject({ id, name: "alice", revoked: null, requests_per_minute: 2, prompt_tokens: 0, cost_usd: 0 });
  expect(JSON.stringify(await shown())).not.toContain(key.slice(-20));
  const server = spawn(process.execPath, [launcher, "serve", ...database, "--port", "0", "--no-log", "--json"], { stdio: ["ignore", "pipe", "inherit"] });
  try {
    const [ready] = (await once(server.stdout, "data")) as [Buffer];
    const { url, models } = JSON.parse(String(ready)) as { url: string; models: [string] };
    const [model] = models;
    const ask = (headers: Record<string, string>) => fetch(`${url}/v1/completions`, { method: "POST", headers, body: JSON.stringify({ model, prompt: "1 + 1", max_tokens: 5 }) });
    expect((await ask({})).status).toBe(401);
    const headers = { authorization: `Bearer ${key}` };
    const { usage } = (await (await ask(headers)).json()) as { usage: { prompt_tokens: number; completion_tokens: number } };
    const { prompt_tokens, completion_tokens } = usage;
    const used = await shown();
    expect(used).toMatchObject({ prompt_tokens, completion_tokens });
    expect(used.cost_usd).toBeCloseTo((prompt_tokens * 0.3 + completion_tokens * 1.2) / 1e6, 12);
    const top = JSON.parse((await longjing(["top", url, "--api-key", key, "--json"])).stdout) as object;
    expect(top).toMatchObject({ models: expect.arrayContaining([expect.objectContaining({ model, generation_tokens: completion_tokens })]) as unknown, keys: [{ key: id, name: "alice", requests: 1 }] });
    await ask(headers);
    expect((await ask(headers)).status).toBe(429);
    expect((await longjing(["keys", "revoke", "alice", ...database])).code).toBe(0);
    expect((await ask(headers)).status).toBe(401);
  } finally {
    server.kill("SIGTERM");
    await once(server, "close");
  }
  rmSync(dir, { recursive: true, force: true });
});

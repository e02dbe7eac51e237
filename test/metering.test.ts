import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import Sqlite from "libsql";
import { afterAll, expect, test } from "vitest";
import { random, type Random } from "../src/random/index.ts";
import { freeTerms, openAccounts } from "../src/serve/index.ts";
import { keyId } from "../src/serve/keys.ts";

const dir = mkdtempSync(join(tmpdir(), "longjing-metering-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

interface Told {
  readonly request: string;
  readonly prompt_tokens: number;
  readonly cached_tokens: number;
  readonly completion_tokens: number;
}

interface WireUsage {
  readonly prompt_tokens: number;
  readonly completion_tokens: number;
  readonly prompt_cache_hit_tokens: number;
}

/** One request of a random kind. Gives what the client was told, or null where the connection broke before that. */
async function ask(url: string, key: string, kind: Random): Promise<Told | null> {
  const stream = kind.below(2) === 0;
  const body = { model: "fake", stream, n: kind.between(1, 3), max_tokens: kind.between(1, 60), messages: [{ role: "user", content: "x".repeat(kind.between(1, 20)) }], ...(kind.below(4) === 0 ? { stop: "x" } : {}) };
  try {
    const response = await fetch(`${url}/v1/chat/completions`, { method: "POST", headers: { authorization: `Bearer ${key}` }, body: JSON.stringify(body) });
    const text = await response.text();
    const values = stream ? text.split("\n\n").flatMap((event) => (event.startsWith("data: {") ? [JSON.parse(event.slice(6)) as { usage: WireUsage | null }] : [])) : [JSON.parse(text) as { usage: WireUsage }];
    const usage = values.findLast(({ usage }) => usage !== null)?.usage;
    if (!usage) return null;
    return { request: response.headers.get("x-request-id") ?? "", prompt_tokens: usage.prompt_tokens, cached_tokens: usage.prompt_cache_hit_tokens, completion_tokens: usage.completion_tokens };
  } catch {
    return null; // killed before it had answered
  }
}

/** Serves until it is killed, at a random moment under load. */
async function serveAndKill(database: string, key: string, round: number): Promise<readonly Told[]> {
  const tsx = pathToFileURL(createRequire(import.meta.url).resolve("tsx")).href;
  const child = spawn(process.execPath, ["--import", tsx, "--conditions=source", join(import.meta.dirname, "metering-child.ts"), database], { stdio: ["ignore", "pipe", "inherit"] });
  const closed = once(child, "close");
  const [said] = (await once(child.stdout, "data")) as [Buffer];
  const url = String(said).trim();
  const told: Told[] = [];
  let killed = false;
  const client = async (kind: Random): Promise<void> => {
    while (!killed) {
      const answer = await ask(url, key, kind);
      if (answer !== null) told.push(answer);
    }
  };
  const clients = Array.from({ length: 12 }, (_, at) => client(random("metering", round, at)));
  await sleep(random("kill", round).between(150, 600));
  killed = true;
  child.kill("SIGKILL");
  await Promise.all([closed, ...clients]);
  return told;
}

test("killed under load, again and again: what every client was told is in the ledger, to the token", async () => {
  const database = join(dir, "server.db");
  const before = await openAccounts(database);
  const key = before.create("alice", { ...freeTerms, input_price: 3, cached_input_price: 1, output_price: 7 }, Date.now());
  before.close();
  const told: Told[] = [];
  for (let round = 0; round < 4; round++) told.push(...(await serveAndKill(database, key, round)));
  expect(told.length).toBeGreaterThan(0);

  const file = new Sqlite(database);
  const rows = file.prepare("SELECT request, prompt_tokens, cached_tokens, completion_tokens, cost FROM usage").all() as (Told & { cost: number })[];
  file.close();
  const ledger = new Map(rows.map((row) => [row.request, row]));
  expect(ledger.size).toBe(rows.length); // no request is charged twice
  for (const { request, ...usage } of told) expect(ledger.get(request), request).toMatchObject(usage);

  const accounts = await openAccounts(database);
  const sum = (field: "prompt_tokens" | "cached_tokens" | "completion_tokens" | "cost"): number => rows.reduce((total, row) => total + row[field], 0);
  expect(accounts.used(keyId(key)!)).toEqual({ prompt_tokens: sum("prompt_tokens"), cached_tokens: sum("cached_tokens"), completion_tokens: sum("completion_tokens"), cost: sum("cost") });
  expect(sum("cost")).toBe(3e6 * (sum("prompt_tokens") - sum("cached_tokens")) + 1e6 * sum("cached_tokens") + 7e6 * sum("completion_tokens"));
  accounts.close();
});

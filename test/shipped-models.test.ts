import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { launcher, longjing } from "./launcher.ts";

const root = join(import.meta.dirname, "..");
const shipped = readdirSync(join(root, "models")).filter((name) => existsSync(join(root, "models", name, "config.json"))).toSorted();

const servers: ChildProcess[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) {
    server.kill("SIGTERM");
    if (server.exitCode === null) await once(server, "close");
  }
});

interface Ready {
  readonly url: string;
  readonly models: readonly string[];
}

/** Starts a server by a script and what it says when it is ready. */
async function started(script: string, args: readonly string[]): Promise<Ready> {
  const server = spawn(process.execPath, [script, ...args, "--port", "0", "--no-log", "--json"], { stdio: ["ignore", "pipe", "inherit"], env: { ...process.env, CI: "1" } });
  servers.push(server);
  let said = "";
  for await (const text of server.stdout) {
    said += String(text);
    const line = /^\{.*\}$/m.exec(said);
    if (line !== null) return JSON.parse(line[0]) as Ready;
  }
  throw new Error(`The server ended and said: ${said}`);
}

const modelOf = async (url: string, asked: object): Promise<unknown> => {
  const response = await fetch(`${url}/v1/completions`, { method: "POST", body: JSON.stringify({ prompt: "1", max_tokens: 1, ...asked }) });
  return response.status === 200 ? ((await response.json()) as { model: string }).model : response.status;
};

describe.runIf(shipped.length > 0)("where no model is named", () => {
  test("`serve` offers all that ship, each under its name", async () => {
    const { url, models } = await started(launcher, ["serve"]);
    expect(models.toSorted()).toEqual(shipped);
    for (const model of shipped) expect(await modelOf(url, { model })).toBe(model);
    expect(await modelOf(url, { model: "nothing-like-it" })).toBe(404);
  }, 60_000);

  test("`serve`, `chat`, `npm start` and a request that names none open the same one", async () => {
    const [{ url, models }, start, chat] = await Promise.all([
      started(launcher, ["serve"]),
      started(join(root, "scripts", "start.mjs"), ["--no-open"]),
      longjing(["chat", "--max-tokens", "1", "--json"], "hi\n"),
    ]);
    expect(start.models).toEqual(models);
    expect((JSON.parse(chat.stdout) as { model: string }).model).toBe(models[0]);
    for (const asked of [{}, { model: null }, { model: "deepseek-chat" }]) expect(await modelOf(url, asked)).toBe(models[0]);
  }, 120_000);

  test("that one shows what to ask it", async () => {
    const { url, models } = await started(launcher, ["serve"]);
    const [first] = (await (await fetch(`${url}/api/models`)).json()) as { id: string; examples: string[] }[];
    expect(first?.id).toBe(models[0]);
    expect(first?.examples).not.toEqual([]);
  }, 60_000);
});

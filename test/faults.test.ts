import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, describe, expect, test, vi } from "vitest";
import { createApp, freeTerms, openAccounts, type RequestLogEntry } from "../src/serve/index.ts";
import { openThreadPool } from "../src/threads/index.ts";
import { fakeModel } from "./fake-model.ts";
import { launcher } from "./launcher.ts";

// A client that is killed and one that does not read are in overload.test.ts, a full disk under the ledger in accounts.test.ts,
// a trainer that is killed in runs.test.ts.

const dir = mkdtempSync(join(tmpdir(), "longjing-faults-"));
afterEach(() => void vi.useRealTimers());
afterAll(() => rmSync(dir, { recursive: true, force: true }));

describe("a clock that jumps", () => {
  const minutes = 60_000;

  test.each([400 * 24 * 60 * minutes, -400 * 24 * 60 * minutes])("by %d ms in the middle of streams cuts none of them, and no time that is told is wrong", async (jump) => {
    vi.useFakeTimers({ toFake: ["Date"] });
    const log: RequestLogEntry[] = [];
    const model = fakeModel({ delayMs: 2, say: () => "v".repeat(60) });
    const app = createApp({ models: [model], log: (entry) => log.push(entry) });
    const ask = async (): Promise<string> => await (await app.request("/v1/chat/completions", { method: "POST", body: JSON.stringify({ stream: true, messages: [{ role: "user", content: "hi" }] }) })).text();
    const streams = Promise.all([ask(), ask()]);
    await vi.waitUntil(() => model.running() === 2);
    vi.setSystemTime(Date.now() + jump);
    for (const text of [...(await streams), await ask()]) {
      expect(text.match(/"content":"v"/g)).toHaveLength(60);
      expect(text.endsWith("data: [DONE]\n\n")).toBe(true);
      expect(text).not.toContain("keep-alive");
    }
    expect(log).toHaveLength(3);
    for (const { seconds, time_to_first_token } of log) {
      expect(seconds).toBeGreaterThanOrEqual(time_to_first_token!);
      expect(time_to_first_token).toBeGreaterThanOrEqual(0);
      expect(seconds * 1000).toBeLessThan(minutes);
    }
    expect((await (await app.request("/metrics")).text()).match(/e2e_request_latency_seconds_bucket\{[^}]*le="60"\} (\d+)/)?.[1]).toBe("3");
  });

  test("refills no bucket and charges what it would have charged", async () => {
    vi.useFakeTimers({ toFake: ["Date"] });
    const accounts = await openAccounts(join(dir, "jump.db"));
    const key = accounts.create("alice", { ...freeTerms, requests_per_minute: 2 }, Date.now());
    const app = createApp({ models: [fakeModel()], accounts });
    const ask = async (): Promise<number> => (await app.request("/v1/chat/completions", { method: "POST", headers: { authorization: `Bearer ${key}` }, body: JSON.stringify({ messages: [{ role: "user", content: "hi" }] }) })).status;
    expect(await ask()).toBe(200);
    vi.setSystemTime(Date.now() + 60 * minutes);
    expect(await ask()).toBe(200);
    vi.setSystemTime(Date.now() - 120 * minutes);
    expect(await ask()).toBe(429);
    vi.setSystemTime(Date.now() + 600 * minutes);
    expect(await ask()).toBe(429);
    const { prompt_tokens } = accounts.used(accounts.list()[0]!.id);
    expect(prompt_tokens).toBe(2 * "user:hi\n".length);
    accounts.close();
  });
});

describe("a thread that dies", () => {
  const pool = () => openThreadPool<string, string>({ file: new URL("mortal-thread", import.meta.url), threads: 1, memory: 64, milliseconds: 20_000 });

  test("at its task ends that task, and the next has another", async () => {
    const mortal = pool();
    const ended = await Promise.all(["a", "exit", "b", "throw", "c"].map((task) => mortal.run(task)));
    expect(ended).toMatchObject([{ reply: "a" }, { type: "exit" }, { reply: "b" }, { type: "error", error: { message: "a defect" } }, { reply: "c" }]);
    await mortal.close();
  }, 60_000);

  test("while it has none is not given one", async () => {
    const mortal = pool();
    expect(await mortal.run("exit later")).toMatchObject({ reply: "exit later" });
    await new Promise((resolve) => setTimeout(resolve, 1000));
    // Where it is still dying, that is what is said; its deadline is not waited for.
    const ended = await mortal.run("a");
    expect(["reply", "exit"]).toContain(ended.type);
    expect(await mortal.run("b")).toMatchObject({ reply: "b" });
    await mortal.close();
  }, 60_000);
});

test.runIf(existsSync("/dev/full"))("a request log on a full disk is reported, and what is asked is answered", async () => {
  const server = spawn(process.execPath, [launcher, "serve", "--port", "0", "--no-studio", "--json", "--log", "/dev/full", "--log-prompts", "/dev/full"], { stdio: ["ignore", "pipe", "pipe"] });
  let said = "";
  server.stderr.on("data", (text) => (said += String(text)));
  try {
    const [ready] = (await once(server.stdout, "data")) as [Buffer];
    const { url } = JSON.parse(String(ready)) as { url: string };
    for (let at = 0; at < 3; at++) {
      const response = await fetch(`${url}/v1/completions`, { method: "POST", body: JSON.stringify({ prompt: "1", max_tokens: 2, ignore_eos: true }) });
      expect(((await response.json()) as { usage: { completion_tokens: number } }).usage.completion_tokens).toBe(2);
    }
    await vi.waitUntil(() => said.includes("ENOSPC"), { timeout: 10_000 });
    expect(server.exitCode).toBeNull();
  } finally {
    server.kill("SIGTERM");
    if (server.exitCode === null) await once(server, "close");
  }
}, 60_000);

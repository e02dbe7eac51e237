import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer, type AddressInfo } from "node:net";
import { describe, expect, test } from "vitest";
import { fixture, hasFixture } from "./fixtures.ts";
import { launcher, longjing } from "./launcher.ts";

const model = fixture("models", "qwen3");

const lastLine = (text: string): unknown => JSON.parse(text.trimEnd().split("\n").at(-1) ?? "");

test("help names every command and the exit codes; the version is the package's", async () => {
  const { code, stdout } = await longjing(["--help"]);
  expect(code).toBe(0);
  for (const word of ["train", "serve", "eval", "probe", "bench", "chat", "doctor", "Exit codes"]) expect(stdout).toContain(word);
  expect((await longjing(["--version"])).stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
});

test.each([
  [["brew"], 2],
  [["serve", "--port", "70000"], 2],
  [["serve", "--host", "0.0.0.0"], 2],
  [["chat", "/nowhere/at/all"], 2],
  [["top", "nonsense"], 2],
  [["top", "127.0.0.1:3141"], 2],
  [["top", "localhost:3141"], 2],
])("%j ends with %d, one block on stderr and nothing on stdout", async (args, expected) => {
  const { code, stdout, stderr } = await longjing(args);
  expect(code).toBe(expected);
  expect(stdout).toBe("");
  expect(stderr).toMatch(/^error/);
  expect(stderr).not.toContain("    at ");
});

test("an error for a machine is one JSON line", async () => {
  const { code, stderr } = await longjing(["chat", "/nowhere/at/all", "--json"]);
  expect(code).toBe(2);
  expect(JSON.parse(stderr)).toMatchObject({ error: { code: "not_found" } });
});

test("a port in use is a conflict, and names the port", async () => {
  const squatter = createServer().listen(0, "127.0.0.1");
  await once(squatter, "listening");
  const { port } = squatter.address() as AddressInfo;
  const { code, stderr } = await longjing(["serve", "--port", String(port)]);
  squatter.close();
  expect(code).toBe(3);
  expect(stderr).toContain(`127.0.0.1:${port}`);
});

test("doctor runs a graph and says what runs it", async () => {
  const { code, stdout } = await longjing(["doctor", "--json"]);
  expect(code).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({ healthy: true, findings: expect.arrayContaining([expect.objectContaining({ name: "cpu", state: "ok" })]) });
});

describe.runIf(hasFixture("models", "qwen3"))("with a model", () => {
  test("chat answers each line that is piped in, and equal seeds answer alike", async () => {
    const ask = () => longjing(["chat", model, "--seed", "1", "--max-tokens", "6", "--json"], "one\n\none\ntwo\n");
    const first = await ask();
    expect(first).toMatchObject({ code: 0, stderr: "" });
    const answers = first.stdout.trimEnd().split("\n").map((line) => JSON.parse(line) as { question: string; content: string; completion_tokens: number });
    expect(answers.map(({ question }) => question)).toEqual(["one", "one", "two"]);
    expect(answers[0]).toEqual(answers[1]);
    expect(answers.every(({ completion_tokens }) => completion_tokens <= 6)).toBe(true);
    expect(await ask()).toEqual(first);
  });

  test("serve answers over HTTP and ends cleanly on SIGTERM", async () => {
    const child = spawn(process.execPath, [launcher, "serve", model, "--port", "0", "--json"]);
    const [ready] = (await once(child.stdout, "data")) as [Buffer];
    const { url, models } = lastLine(String(ready)) as { url: string; models: string[] };
    expect(models).toEqual(["qwen3"]);
    const response = await fetch(`${url}/v1/chat/completions`, {
      method: "POST",
      body: JSON.stringify({ model: "qwen3", messages: [{ role: "user", content: "hi" }], max_tokens: 4 }),
    });
    expect(response.status).toBe(200);
    expect(await response.json()).toMatchObject({ object: "chat.completion", choices: [{ index: 0 }] });
    child.kill("SIGTERM");
    expect(await once(child, "close")).toEqual([0, null]);
  });
});

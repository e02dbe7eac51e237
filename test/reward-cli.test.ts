import { spawn } from "node:child_process";
import { once } from "node:events";
import { expect, test } from "vitest";
import { launcher, longjing } from "./launcher.ts";

test("reward serve answers a trainer in OpenRLHF's form, and ends when it is told to", async () => {
  const child = spawn(process.execPath, [launcher, "reward", "serve", "math", "--port", "0"], { stdio: ["ignore", "pipe", "inherit"] });
  try {
    const [line] = (await once(child.stdout, "data")) as [Buffer];
    const body = { query: ["1/2?<think></think><answer>0.5</answer>", "1/2?0.6"], prompts: ["1/2?", "1/2?"], labels: ["\\frac12", "\\frac12"] };
    const response = await fetch(String(line).trim(), { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
    expect(await response.json()).toEqual({ rewards: [1, 0], scores: [1, 0], extra_logs: { correct: [1, 0], format: [1, 0] } });
    child.kill("SIGTERM");
    expect((await once(child, "exit"))[0]).toBe(0);
  } finally {
    child.kill("SIGKILL");
  }
});

test("reward serve names what there is", async () => {
  const { code, stderr } = await longjing(["reward", "serve", "nothing"]);
  expect(code).toBe(2);
  expect(stderr).toContain("countdown");
});

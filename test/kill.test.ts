import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import { afterAll, expect, test } from "vitest";
import { random } from "../src/random/index.ts";
import { latestCheckpoint } from "../src/train/checkpoint.ts";
import { readLog, withoutClock } from "../src/train/log.ts";

const dir = mkdtempSync(join(tmpdir(), "longjing-kill-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const tsx = pathToFileURL(createRequire(import.meta.url).resolve("tsx")).href;

/** Runs the trainer of nothing; kills it `milliseconds` after its first saved step, or lets it finish. Gives the last step it said. */
async function train(folder: string, steps: number, milliseconds: number | null): Promise<number> {
  const child = spawn(process.execPath, ["--import", tsx, "--conditions=source", join(import.meta.dirname, "kill-child.ts"), folder, String(steps)], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  let said = "";
  let complaint = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => (said += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => (complaint += text));
  const closed = once(child, "close");
  if (milliseconds !== null) {
    await Promise.race([once(child.stdout, "data"), closed]);
    await sleep(milliseconds);
    child.kill("SIGKILL");
  }
  await closed;
  expect(complaint).toBe("");
  return Number(said.trimEnd().split("\n").at(-1));
}

test(
  "killed at 25 random moments: no saved step is lost, nothing is ever torn, and the end equals a run that was never killed",
  async () => {
    const [killed, straight] = [join(dir, "killed"), join(dir, "straight")];
    const moments = random("moments of death");
    for (let kill = 0; kill < 25; kill++) {
      const said = await train(killed, 1_000_000, moments.next() * 40);
      const { checkpoint, warnings } = latestCheckpoint(killed);
      expect(warnings).toEqual([]);
      expect(checkpoint?.step).toBeGreaterThanOrEqual(said);
    }
    const steps = (latestCheckpoint(killed).checkpoint?.step ?? 0) + 1;
    for (const folder of [killed, straight]) expect(await train(folder, steps, null)).toBe(steps);
    const sums = [killed, straight].map((folder) => readFileSync(join(folder, "checkpoints", `walk-step-${steps}`, "SHA256SUMS"), "utf8"));
    expect(sums[0]).toBe(sums[1]);
    const logs = [killed, straight].map((folder) => withoutClock(readLog(join(folder, "log.jsonl"))));
    expect(logs[0]).toEqual(logs[1]);
    expect(logs[0]?.length).toBe(steps);
  },
  240_000,
);

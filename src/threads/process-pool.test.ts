import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, expect, test } from "vitest";
import { askProcess, openProcessPool, type ConfinedProgram } from "./process-pool.ts";

const folder = mkdtempSync(join(tmpdir(), "longjing-process-"));
const here = fileURLToPath(import.meta.url);
const program: ConfinedProgram = { file: new URL("../../test/mortal-process", import.meta.url), files: [here] };
const told = (rest: { fault?: string | undefined; delay?: number } = {}) => [Buffer.from(`${JSON.stringify({ file: here, scratch: join(folder, "written"), ...rest })}\n`)];
const open = (milliseconds: number, first = async () => told()) => openProcessPool({ program, first, processes: 2, milliseconds, memory: 2 ** 28, answer: 2 ** 12 });
const pool = open(30_000);
afterAll(async () => {
  await pool.close();
  rmSync(folder, { recursive: true });
});

test("each task has a process, and one that dies costs no other", async () => {
  const ended = await Promise.all(["a", "exit", "b", "throw", "flood", "c"].map((task) => pool.run(task)));
  expect(ended).toMatchObject([{ reply: "a" }, { type: "exit" }, { reply: "b" }, { type: "exit" }, { type: "error" }, { reply: "c" }]);
});

test("a process that does not answer is killed", async () => {
  const brief = open(500);
  expect(await Promise.all(["silence", "a"].map((task) => brief.run(task)))).toMatchObject([{ type: "time" }, { reply: "a" }]);
  await brief.close();
});

test("a process may start for longer than a task may take", async () => {
  const slow = open(1000, async () => told({ delay: 2000 }));
  expect(await slow.run("a")).toMatchObject({ reply: "a" });
  await slow.close();
});

test.runIf(process.platform === "linux")("a process that grows is killed", async () => expect(await pool.run("grow")).toMatchObject({ type: "memory" }));

test("a process reaches the files that it is given, and nothing else", async () => {
  process.env["LONGJING_SECRET"] = "secret";
  const ended = await pool.run("reach");
  delete process.env["LONGJING_SECRET"];
  const denied = "ERR_ACCESS_DENIED";
  expect(JSON.parse(ended.type === "reply" ? ended.reply : "null")).toEqual({
    itsFile: "done",
    file: denied,
    write: denied,
    child: denied,
    thread: denied,
    code: expect.stringContaining("EvalError") as string,
    environment: "none",
  });
  expect(existsSync(join(folder, "written"))).toBe(false);
});

test("a process that does not start says why, and is tried again", async () => {
  const faults = ["a defect", undefined];
  const failing = open(30_000, async () => told({ fault: faults.shift() }));
  const said = expect.stringContaining("a defect") as string;
  expect(await failing.run("a")).toEqual({ type: "unready", said });
  expect(await failing.run("b")).toEqual({ type: "reply", reply: "b" });
  await failing.close();
  const unmade = open(30_000, () => Promise.reject(new Error("a defect")));
  expect(await unmade.run("a")).toEqual({ type: "unready", said });
  await expect(askProcess(program, told({ fault: "a defect" }))).rejects.toThrow("a defect");
});

test("a closed pool runs nothing, and what ran is ended", async () => {
  const other = open(30_000);
  const running = other.run("silence");
  // Tasks begin in their order.
  await other.run("a");
  const waiting = other.run("b");
  await other.close();
  expect(await Promise.all([running, waiting, other.run("c")])).toEqual([{ type: "closed" }, { type: "closed" }, { type: "closed" }]);
});

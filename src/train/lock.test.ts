import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { isLocked, lockRun } from "./lock.ts";

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "longjing-lock-"));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const lockOf = (holder: object): void => writeFileSync(join(dir, "lock"), JSON.stringify({ host: hostname(), started: null, ...holder }));

test("one holder at a time, and nothing is left when it lets go", () => {
  const unlock = lockRun(dir);
  expect(isLocked(dir)).toBe(true);
  expect(JSON.parse(readFileSync(join(dir, "lock"), "utf8"))).toMatchObject({ pid: process.pid });
  expect(() => lockRun(dir)).toThrow(expect.objectContaining({ code: "conflict" }));
  unlock();
  expect(isLocked(dir)).toBe(false);
  expect(readdirSync(dir)).toEqual([]);
  lockRun(dir)();
});

test("the lock of a process that is gone is taken over", () => {
  const { pid } = spawnSync(process.execPath, ["-e", ""]);
  lockOf({ pid });
  expect(isLocked(dir)).toBe(false);
  const unlock = lockRun(dir);
  expect(() => lockRun(dir)).toThrow(expect.objectContaining({ code: "conflict" }));
  unlock();
  expect(readdirSync(dir)).toEqual([]);
});

test.runIf(process.platform === "linux")("a later process with the same pid does not hold the lock", () => {
  lockOf({ pid: process.pid, started: "1" });
  expect(isLocked(dir)).toBe(false);
  lockRun(dir)();
});

test("a process that lives holds it, also on another host, where nobody can ask", () => {
  lockOf({ pid: process.ppid });
  expect(() => lockRun(dir)).toThrow(expect.objectContaining({ code: "conflict" }));
  lockOf({ pid: 2 ** 22, host: "elsewhere.invalid" });
  expect(isLocked(dir)).toBe(true);
  expect(() => lockRun(dir)).toThrow(expect.objectContaining({ code: "conflict" }));
});

test("a lock that cannot be read is left to the person", () => {
  writeFileSync(join(dir, "lock"), "?");
  expect(() => lockRun(dir)).toThrow(expect.objectContaining({ code: "bad_file" }));
  expect(readFileSync(join(dir, "lock"), "utf8")).toBe("?");
});

import { appendFileSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, expect, test } from "vitest";
import { openLog, readLog, withoutClock } from "./log.ts";
import type { LogLine } from "./log.ts";

let dir: string;
let path: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "longjing-log-"));
  path = join(dir, "log.jsonl");
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const lineOf = (step: number): LogLine => ({ stage: "grpo", step, reward: step / 3, sample: "问\n答 \"\u2028" });

function write(keep: number, from: number, to: number, now = 0): void {
  const log = openLog(path, keep, () => now);
  for (let step = from; step < to; step++) log.append(lineOf(step), { step_time: now / 7 });
  log.sync();
  log.close();
}

test("lines come back as they were written, the clock apart", () => {
  write(0, 0, 3, 14);
  expect(readLog(path)).toEqual([0, 1, 2].map((step) => ({ ...lineOf(step), clock: { time: 14, step_time: 2 } })));
  expect(readFileSync(path, "utf8").split("\n").length).toBe(4);
});

test("cut back anywhere and written on, by another clock, it equals a log that was never cut", () => {
  fc.assert(
    fc.property(fc.nat(8), fc.nat(8), fc.string({ maxLength: 9 }), (written, back, torn) => {
      rmSync(path, { force: true });
      write(0, 0, written, 1);
      appendFileSync(path, torn.replaceAll("\n", ""));
      const keep = Math.max(0, written - back);
      write(keep, keep, 10, 1e9);
      expect(withoutClock(readLog(path))).toEqual(Array.from({ length: 10 }, (_, step) => lineOf(step)));
    }),
    { numRuns: 60 },
  );
});

test("counts its lines on from those that it keeps", () => {
  write(0, 0, 5);
  const log = openLog(path, 3);
  expect(log.lines).toBe(3);
  log.append(lineOf(3));
  expect(log.lines).toBe(4);
  log.close();
});

test("a torn last line is no line; a broken one in the middle is an error", () => {
  write(0, 0, 2);
  appendFileSync(path, '{"stage":"gr');
  expect(readLog(path).length).toBe(2);
  appendFileSync(path, "\n");
  expect(() => readLog(path)).toThrow(expect.objectContaining({ code: "bad_file", facts: expect.objectContaining({ where: `${path}:3` }) }));
});

test("a log with fewer lines than the checkpoint counts on is refused and left as it is", () => {
  write(0, 0, 2);
  const before = readFileSync(path, "utf8");
  expect(() => openLog(path, 3)).toThrow(expect.objectContaining({ code: "bad_file" }));
  expect(readFileSync(path, "utf8")).toBe(before);
});

test("numbers that JSON cannot hold become null; no log has no lines", () => {
  expect(readLog(path)).toEqual([]);
  const log = openLog(path, 0);
  log.append({ stage: "grpo", step: 0, kl: NaN, reward: Infinity });
  log.close();
  expect(withoutClock(readLog(path))).toEqual([{ stage: "grpo", step: 0, kl: null, reward: null }]);
});

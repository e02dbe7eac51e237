import { appendFile, mkdtemp, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, expect, test } from "vitest";
import { followLines, type FollowEvent } from "./follow.ts";

let folder: string;
let path: string;
let abort: AbortController;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "follow-"));
  path = join(folder, "log.jsonl");
  abort = new AbortController();
});
afterEach(async () => {
  abort.abort();
  await rm(folder, { recursive: true });
});

function follow(from = 0) {
  const events = followLines(path, { from, signal: abort.signal, pollMs: 5 });
  return async function until(type: FollowEvent["type"]): Promise<FollowEvent[]> {
    const seen: FollowEvent[] = [];
    for (;;) {
      const next = await events.next();
      if (next.done === true) return seen;
      seen.push(next.value);
      if (next.value.type === type) return seen;
    }
  };
}

const texts = (events: readonly FollowEvent[]) => events.flatMap((event) => (event.type === "line" ? [event.text] : []));

test("any offset that was told continues exactly where it was taken", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.string({ unit: "grapheme", maxLength: 30 }).map((line) => line.replaceAll("\n", " ")), { maxLength: 20 }), async (lines) => {
      await writeFile(path, lines.map((line) => `${line}\n`).join(""));
      const all = await follow()("idle");
      expect(texts(all)).toEqual(lines);
      for (const [at, event] of all.entries()) {
        if (event.type === "line") expect(texts(await follow(event.offset)("idle"))).toEqual(lines.slice(at + 1));
      }
    }),
    { numRuns: 30 },
  );
});

test("a file that is not there yet is waited for, and half a line is never told", async () => {
  const until = follow();
  expect(await until("idle")).toEqual([{ type: "idle" }]);
  await writeFile(path, "one\ntw");
  expect(texts(await until("line"))).toEqual(["one"]);
  await until("idle");
  await appendFile(path, "o\n");
  expect(texts(await until("line"))).toEqual(["two"]);
});

test("a log that was cut back is told again from the start", async () => {
  await writeFile(path, "one\ntwo\nthree\n");
  const until = follow();
  await until("idle");
  await truncate(path, 4);
  await until("reset");
  expect(texts(await until("idle"))).toEqual(["one"]);
});

test("an offset inside a line, or behind the end, starts over", async () => {
  await writeFile(path, "one\ntwo\n");
  for (const from of [2, 9, 1e9]) {
    const events = await follow(from)("idle");
    expect(events[0]).toEqual({ type: "reset" });
    expect(texts(events)).toEqual(["one", "two"]);
  }
});

test("a line longer than the read window is whole", async () => {
  const long = "x".repeat(300_000);
  await writeFile(path, `short\n${long}\nend\n`);
  expect(texts(await follow()("idle"))).toEqual(["short", long, "end"]);
});

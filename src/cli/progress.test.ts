import fc from "fast-check";
import { expect, test } from "vitest";
import { duration, progress } from "./progress.ts";
import { openTerminal } from "./terminal.ts";

function screen(env: Record<string, string> = {}, isTTY = true) {
  let written = "";
  const stderr = { isTTY, write: (text: string) => (written += text) };
  return { terminal: openTerminal({ stdout: { isTTY, write: () => {} }, stderr, env }), written: () => written };
}

/** Drives a progress with one unit a second. */
function drive(terminal: ReturnType<typeof openTerminal>, total: number): void {
  let time = 0;
  const bar = progress(terminal, { label: "grpo", total, unit: "steps", now: () => time });
  for (let done = 1; done <= total; done++) {
    time = done;
    bar.update(done);
  }
  bar.end();
}

test("a steady pace is reported as it is, with the time that is left", () => {
  const { terminal, written } = screen({ NO_COLOR: "1" });
  drive(terminal, 100);
  expect(written()).toContain("40/100 steps  1.00 steps/s  ETA 1m00s");
  expect(written()).toContain("100/100 steps");
});

test.each([
  [{}, false],
  [{ CI: "true" }, true],
  [{ TERM: "dumb" }, true],
])("where nobody watches (%j, terminal %j) lines are whole and plain, and the last is not lost", (env, isTTY) => {
  const { terminal, written } = screen({ NO_COLOR: "1", ...env }, isTTY);
  drive(terminal, 12);
  expect(written()).not.toContain("\r");
  expect(written()).not.toContain("\u001b");
  const lines = written().trimEnd().split("\n");
  expect(lines.every((line) => /^grpo {2}\d+\/12 steps/.test(line))).toBe(true);
  expect(lines.at(-1)).toContain("12/12");
  expect(lines.length).toBeLessThan(12);
});

test("a work that ends early still says how far it came", () => {
  const { terminal, written } = screen({}, false);
  let time = 0;
  const bar = progress(terminal, { label: "grpo", total: 100, unit: "steps", now: () => time });
  for (time = 1; time <= 8; time++) bar.update(time);
  bar.end();
  expect(written()).toContain("8/100");
});

test("durations read back as the seconds they came from, to their last unit", () => {
  const units: Record<string, number> = { h: 3600, m: 60, s: 1 };
  fc.assert(
    fc.property(fc.nat(359_999), (seconds) => {
      const parts = [...duration(seconds).matchAll(/(\d+)([hms])/g)];
      const read = parts.reduce((sum, [, value, unit]) => sum + Number(value) * (units[unit ?? ""] ?? Number.NaN), 0);
      expect(seconds - read).toBeGreaterThanOrEqual(0);
      expect(seconds - read).toBeLessThan(seconds >= 3600 ? 60 : 1);
    }),
  );
});

import { expect, test } from "vitest";
import { LongjingError, type ErrorCode } from "../errors/index.ts";
import { reportFailure } from "./failure.ts";
import { openTerminal } from "./terminal.ts";

function report(error: unknown, json = false) {
  let stderr = "";
  const terminal = openTerminal({ stdout: { write: () => {} }, stderr: { write: (text) => (stderr += text) }, env: {} });
  return { code: reportFailure(error, terminal, json), stderr };
}

test("every fact of an error has its own line, whatever is in the facts", () => {
  const facts = { where: "a; got: b", got: "x; y", expected: ["p", "q"], hint: "Do this; or that" };
  const { stderr } = report(new LongjingError("bad_file", "It is bad; really", facts));
  const lines = stderr.trimEnd().split("\n");
  expect(lines[0]).toBe("error It is bad; really");
  expect(lines.at(-1)).toBe("  Do this; or that");
  for (const name of ["where:", "got:", "expected:"]) expect(lines.some((line) => line.trimStart().startsWith(name))).toBe(true);
});

test("JSON carries the code and the facts", () => {
  const { stderr } = report(new LongjingError("disk", "full", { where: "/x" }), true);
  expect(JSON.parse(stderr)).toMatchObject({ error: { code: "disk", where: "/x" } });
});

test("no failure exits with 0, and only a defect with 1", () => {
  const codes: ErrorCode[] = ["bad_argument", "bad_file", "bad_config", "unsupported", "not_found", "shape_mismatch", "runtime", "conflict", "disk", "network", "too_large", "busy"];
  for (const code of codes) expect(report(new LongjingError(code, "x")).code).toBeGreaterThan(1);
  expect(report(new TypeError("x")).code).toBe(1);
});

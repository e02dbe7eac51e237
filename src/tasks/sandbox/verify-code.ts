import { LongjingError } from "../../errors/index.ts";
import { wrong, type Verdict } from "../verifiers/verdict.ts";
import { inexactInteger, parseExactJson, writeExactJson } from "./exact-json.ts";
import type { Sandbox } from "./sandbox.ts";
import type { Outcome } from "./program.ts";

/**
 * What a program must do: print for what it reads, or return for what it is called with. The program never sees what is right. An integer
 * beyond 2^53 is a bigint, as `parseExactJson` reads it.
 */
export type CodeTest =
  | { readonly stdin: string; readonly stdout: string }
  | { readonly call: string; readonly arguments: readonly unknown[]; readonly result: unknown };

export interface CodeVerdict extends Verdict {
  /** Tests that it passed. */
  readonly passed: number;
  /** Of each test, in their order. */
  readonly outcomes: readonly Outcome[];
}

/** Longest program that is run, in UTF-16 units. */
export const longestProgram = 2 ** 16;

/**
 * Whether a program, alone or in the last fenced block of an answer, passes every test, each in an engine of its own. `legal` says that
 * some test ended without an exception and within the limits. What is printed is compared without white space at the ends of lines.
 * The promise rejects with a LongjingError "bad_argument" for a test with a number that is an integer beyond 2^53.
 */
export async function verifyCode(sandbox: Sandbox, answer: string, tests: readonly CodeTest[]): Promise<CodeVerdict> {
  tests.forEach(checkTest);
  const source = programIn(answer);
  if (source === null || tests.length === 0) return { ...wrong(null), passed: 0, outcomes: [] };
  const outcomes = await Promise.all(
    tests.map((test) => sandbox.run("call" in test ? { source, call: { name: test.call, arguments: test.arguments } } : { source, stdin: test.stdin })),
  );
  const passed = tests.filter((test, i) => passes(test, outcomes[i]!)).length;
  return { correct: passed === tests.length, legal: outcomes.some(({ status }) => status === "done"), parsed: source, passed, outcomes };
}

function programIn(answer: string): string | null {
  if (answer.length > longestProgram * 2) return null;
  const source = (lastFenced(answer) ?? answer).trim();
  return source === "" || source.length > longestProgram ? null : source;
}

/** By hand, since a pattern would take time that grows with the square of what it reads. */
function lastFenced(answer: string): string | undefined {
  let found: string | undefined;
  let open: number | null = null;
  const lines = answer.split("\n");
  for (const [at, line] of lines.entries()) {
    if (!line.startsWith("```")) continue;
    if (open === null) open = line.includes("`", 3) ? null : at;
    else if (line.trimEnd() === "```") {
      found = lines.slice(open + 1, at).join("\n");
      open = null;
    }
  }
  return found;
}

function checkTest(test: CodeTest): void {
  const inexact = "call" in test ? inexactInteger([test.arguments, test.result]) : undefined;
  if (inexact === undefined) return;
  throw new LongjingError("bad_argument", "A test has an integer that numbers of JavaScript do not tell from its neighbours", { got: inexact, expected: `a bigint beyond ${Number.MAX_SAFE_INTEGER}`, hint: "Read tests with parseExactJson, which makes such integers bigints" });
}

function passes(test: CodeTest, { status, stdout, result }: Outcome): boolean {
  if (status !== "done") return false;
  if ("stdout" in test) return lines(stdout) === lines(test.stdout);
  return result !== null && sameJson(result, test.result);
}

function sameJson(result: string, wanted: unknown): boolean {
  const expected = writeExactJson(wanted, true);
  try {
    return writeExactJson(parseExactJson(result), true) === expected;
  } catch (error) {
    // What is too deep to read is not what is right.
    if (error instanceof RangeError) return false;
    throw error;
  }
}

const lines = (text: string): string =>
  text
    .split("\n")
    .map((line) => line.trimEnd())
    .join("\n")
    .trimEnd();

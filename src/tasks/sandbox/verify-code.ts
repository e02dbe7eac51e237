import { wrong, type Verdict } from "../verifiers/verdict.ts";
import type { Sandbox } from "./sandbox.ts";
import type { Outcome } from "./program.ts";

/** What a program must do: print for what it reads, or return for what it is called with. The program never sees what is right. */
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
 */
export async function verifyCode(sandbox: Sandbox, answer: string, tests: readonly CodeTest[]): Promise<CodeVerdict> {
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

function passes(test: CodeTest, { status, stdout, result }: Outcome): boolean {
  if (status !== "done") return false;
  if ("stdout" in test) return lines(stdout) === lines(test.stdout);
  return result !== null && canonical(JSON.parse(result)) === canonical(test.result);
}

const lines = (text: string): string =>
  text
    .split("\n")
    .map((line) => line.trimEnd())
    .join("\n")
    .trimEnd();

/** JSON with the keys of objects in order. */
function canonical(value: unknown): string {
  return JSON.stringify(value, (_, inner: unknown) =>
    typeof inner === "object" && inner !== null && !Array.isArray(inner) ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1))) : inner,
  );
}

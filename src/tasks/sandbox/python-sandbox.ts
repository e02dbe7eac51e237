import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { LongjingError } from "../../errors/index.ts";
import { askProcess, openProcessPool, type ConfinedProgram, type ProcessEnded } from "../../threads/index.ts";
import { cut, defaultLimits, grace, outcomeOf } from "./outcome.ts";
import { taskOf, type Limits, type Outcome } from "./program.ts";
import { harness } from "./python-harness.ts";
import type { PythonFirst } from "./python-process.ts";
import { realm } from "./python-realm.ts";
import type { Sandbox } from "./sandbox.ts";

export interface PythonSandboxOptions extends Partial<Limits> {
  /** Programs that run at a time, and interpreters that are kept ready. Default 2. */
  readonly processes?: number;
}

/** As package.json says it. */
const wanted = "pyodide@~314.0.7";

/** Bytes of the process beside those of Python: compiled code, copies of text on its way out. */
const processMemory = 2 ** 28;

/**
 * Runs Python that nobody trusts in CPython as WebAssembly (pyodide, which has to be installed beside this package), each program in a
 * process of its own that is killed afterwards. A program has the standard library, no packages, no network, no threads, and files in
 * memory only. It gets 2 seconds from its start, 64 MiB and 65,536 characters of output, unless the options say otherwise. With `call`
 * the program is imported, without it is run: `__name__` is "program" or "__main__".
 * @throws LongjingError "not_found" when pyodide is not installed; `run` "runtime" when no interpreter starts
 */
export function openPythonSandbox({ seconds = defaultLimits.seconds, memory = defaultLimits.memory, output = defaultLimits.output, processes = 2 }: PythonSandboxOptions = {}): Sandbox {
  const limits: Limits = { seconds, memory, output };
  const folder = pyodideFolder();
  const pool = openProcessPool({
    program: interpreterIn(folder),
    first: async () => {
      const snapshot = await startedIn(folder);
      return [firstLine(folder, { memory, snapshot: snapshot.length }), snapshot];
    },
    processes,
    milliseconds: seconds * 1000 + grace,
    memory: memory * 2 + processMemory,
    answer: 12 * output + 2 ** 12,
  });
  return { run: async (program) => outcomeInProcess(await pool.run(taskOf(program, limits)), output), close: () => pool.close() };
}

const interpreterIn = (folder: string): ConfinedProgram => ({
  file: new URL("./python-process", import.meta.url),
  files: ["pyodide.mjs", "pyodide.asm.mjs", "pyodide.asm.wasm", "python_stdlib.zip", "pyodide-lock.json"].map((name) => join(folder, name)),
  // A seed makes chance in a program the same whenever it runs.
  flags: ["--experimental-vm-modules", "--random-seed=1", "--max-old-space-size=256"],
});

const firstLine = (folder: string, rest: Pick<PythonFirst, "memory" | "snapshot">): Uint8Array => Buffer.from(`${JSON.stringify({ folder, realm, harness, ...rest } satisfies PythonFirst)}\n`);

/** Memory of an interpreter that has started, for all sandboxes: the others go on from there. */
const snapshots = new Map<string, Promise<Uint8Array>>();

function startedIn(folder: string): Promise<Uint8Array> {
  const known = snapshots.get(folder) ?? askProcess(interpreterIn(folder), [firstLine(folder, { memory: 0, snapshot: 0 })]);
  snapshots.set(folder, known);
  // One that failed is tried again.
  known.catch(() => snapshots.delete(folder));
  return known;
}

function pyodideFolder(): string {
  try {
    return dirname(createRequire(import.meta.url).resolve("pyodide/package.json"));
  } catch (cause) {
    throw new LongjingError("not_found", "Programs of Python need pyodide, which is not installed", { expected: wanted, hint: `npm install ${wanted}` }, { cause });
  }
}

function outcomeInProcess(ended: ProcessEnded, most: number): Outcome {
  switch (ended.type) {
    case "reply":
      return readOutcome(ended.reply, most) ?? broken;
    case "exit":
      return broken;
    case "unready":
      throw new LongjingError("runtime", "The interpreter of Python does not start", { got: ended.said, expected: wanted, hint: `Try npm install ${wanted}` });
    default:
      return outcomeOf(ended);
  }
}

const broken = cut("error", "The interpreter broke");

const statuses: ReadonlySet<unknown> = new Set<Outcome["status"]>(["done", "error", "time", "memory", "output"]);

/** What a process says is held against what it may say: a program that has got hold of its interpreter says what it likes. */
function readOutcome(reply: string, most: number): Outcome | undefined {
  const { status, stdout, result, message } = (parsed(reply) ?? {}) as Partial<Record<keyof Outcome, unknown>>;
  if (!statuses.has(status) || typeof stdout !== "string" || stdout.length > most) return undefined;
  if (result !== null && (typeof result !== "string" || result.length > most || parsed(result) === undefined)) return undefined;
  if (message !== null && typeof message !== "string") return undefined;
  return { status: status as Outcome["status"], stdout, result: status === "done" ? result : null, message: message?.slice(0, longestMessage) ?? null };
}

/** Undefined where it is no JSON. */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

const longestMessage = 300;

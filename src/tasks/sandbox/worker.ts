import variant from "@jitl/quickjs-wasmfile-release-sync";
import { newQuickJSWASMModuleFromVariant, type QuickJSContext, type QuickJSHandle, type QuickJSRuntime, type QuickJSSyncVariant } from "quickjs-emscripten-core";
import { serveThread } from "../../threads/index.ts";
import { reusable, type Outcome, type SandboxTask } from "./program.ts";

// Its types are those of its CommonJS form, where the variant is one `default` further in.
const quickjs = await newQuickJSWASMModuleFromVariant(variant as unknown as QuickJSSyncVariant);

serveThread(run);

/** What programs find beside the language itself: a way to print and a way to read. */
const prelude = `(write, input) => {
  const lines = input.split("\\n");
  // What ends in a line feed has no line behind it.
  if (lines.at(-1) === "") lines.pop();
  let next = 0;
  const shown = (value) => (typeof value === "object" && value !== null ? JSON.stringify(value) : String(value));
  const print = (...values) => write(values.map(shown).join(" ") + "\\n");
  Object.assign(globalThis, { input, print, console: { log: print }, readline: () => (next < lines.length ? lines[next++] : null) });
}`;

/** A program runs in an engine of its own: none finds anything that another has left. */
function run({ program, limits }: SandboxTask): Outcome {
  const runtime = quickjs.newRuntime();
  const met: { limit: Outcome["status"] | null; stdout: string } = { limit: null, stdout: "" };
  runtime.setMemoryLimit(limits.memory);
  runtime.setMaxStackSize(2 ** 18);
  const start = (): void => {
    const end = Date.now() + limits.seconds * 1000;
    runtime.setInterruptHandler(() => {
      if (Date.now() > end) met.limit ??= "time";
      return met.limit !== null;
    });
  };
  const context = runtime.newContext();
  const print = (text: string): void => {
    if (met.stdout.length + text.length > limits.output) met.limit ??= "output";
    if (met.limit === null) met.stdout += text;
  };
  const stopped = (): boolean => met.limit !== null;
  const { result, message } = execute(runtime, context, program, { start, print, stopped, most: limits.output });
  const status = met.limit ?? (message === null ? (result !== null && result.length > limits.output ? "output" : "done") : /out of memory/.test(message) ? "memory" : "error");
  const outcome: Outcome = { status, stdout: met.stdout, result: status === "done" ? result : null, message };
  // An engine that was stopped in the middle cannot always be taken apart; its thread ends with it.
  if (reusable(status)) {
    context.dispose();
    runtime.dispose();
  }
  return outcome;
}

type Ending = Pick<Outcome, "result" | "message">;

interface Host {
  /** Called when the program begins: what comes before is ours, and does not count. */
  readonly start: () => void;
  readonly print: (text: string) => void;
  /** Whether a limit was met: nothing more can run. */
  readonly stopped: () => boolean;
  readonly most: number;
}

/** Reads two properties, which may be getters of the program's: they run within its limits, and what they throw is no message. */
const describing = "(error) => (typeof error === 'object' && error !== null ? `${error.name}: ${error.message}` : String(error))";

/** JSON of what the program returned. What JSON does not have, or has in another form, is an error, as it is of Python. */
const exactly = `(() => {
  const { stringify } = JSON;
  const { isArray } = Array;
  const { getPrototypeOf, prototype } = Object;
  const { isFinite } = Number;
  const Fault = TypeError;
  const fits = (value, within) => {
    if (typeof value === "number") return isFinite(value);
    if (typeof value === "undefined") return !isArray(within);
    if (typeof value !== "object" || value === null || isArray(value)) return typeof value !== "function" && typeof value !== "symbol" && typeof value !== "bigint";
    const parent = getPrototypeOf(value);
    return parent === prototype || parent === null;
  };
  return (value) => stringify(value, function (key, inner) {
    if (this[key] !== inner || !fits(inner, this)) throw new Fault("What is returned is not JSON");
    return inner;
  });
})()`;

/** The functions that judge the program are taken before it can change them. */
function execute(runtime: QuickJSRuntime, context: QuickJSContext, { source, stdin = "", call }: SandboxTask["program"], { start, print, stopped, most }: Host): Ending {
  const json = context.getProp(context.global, "JSON");
  const [stringify, parse] = [context.getProp(json, "stringify"), context.getProp(json, "parse")];
  // As JSON: text by itself is cut at its first NUL on the way.
  const textOf = (text: QuickJSHandle): string => JSON.parse(context.unwrapResult(context.callFunction(stringify, context.undefined, text)).consume((handle) => context.getString(handle))) as string;
  const write = context.newFunction("write", (text) => {
    // Before it is copied: what is too long to print is too long to copy.
    const length = context.getProp(text, "length").consume((handle) => context.getNumber(handle));
    print(length > most ? " ".repeat(most + 1) : textOf(text));
  });
  const handles: QuickJSHandle[] = [json, stringify, parse, write];
  const held = (handle: QuickJSHandle): QuickJSHandle => (handles.push(handle), handle);
  const describe = held(context.unwrapResult(context.evalCode(describing)));
  const messageOf = (error: QuickJSHandle): string => {
    const outcome = stopped() ? null : context.callFunction(describe, context.undefined, error);
    if (outcome === null) return "stopped";
    return outcome.error ? (outcome.error.dispose(), "thrown") : outcome.value.consume((text) => context.getString(text).slice(0, longestMessage));
  };
  /** Throws what the program threw; gives what it gave. */
  const taken = (outcome: ReturnType<QuickJSContext["evalCode"]>): QuickJSHandle => {
    if (outcome.error) throw new ProgramError(messageOf(held(outcome.error)));
    return held(outcome.value);
  };
  const settle = (): void => {
    const jobs = runtime.executePendingJobs();
    if (jobs.error) throw new ProgramError(messageOf(held(jobs.error)));
  };
  try {
    const given = (json: string): QuickJSHandle => taken(context.callFunction(parse, context.undefined, held(context.newString(json))));
    taken(context.callFunction(taken(context.evalCode(prelude)), context.undefined, write, given(JSON.stringify(stdin))));
    const returnedJson = taken(context.evalCode(exactly));
    if (source.includes("\0")) throw new ProgramError("SyntaxError: a NUL");
    start();
    taken(context.evalCode(source, "program.js", { type: "global" }));
    settle();
    if (call === undefined) return { result: null, message: null };
    // In brackets an expression that names a method keeps its object.
    const names = call.arguments.map((_, i) => `$given${i}`).join();
    let returned = taken(context.callFunction(taken(context.evalCode(`(${names}) => (${call.name})(${names})`)), context.undefined, ...call.arguments.map(given)));
    settle();
    const promise = context.getPromiseState(returned);
    if (promise.type === "pending") throw new ProgramError("The promise stays pending");
    if (promise.type === "rejected") throw new ProgramError(messageOf(held(promise.error)));
    if (!promise.notAPromise) returned = held(promise.value);
    const text = taken(context.callFunction(returnedJson, context.undefined, returned));
    return { result: context.typeof(text) === "string" ? context.getString(text) : null, message: null };
  } catch (error) {
    if (error instanceof ProgramError) return { result: null, message: error.message };
    throw error;
  } finally {
    for (const handle of handles) if (handle.alive) handle.dispose();
  }
}

/** What the program threw. */
class ProgramError extends Error {}

const longestMessage = 300;

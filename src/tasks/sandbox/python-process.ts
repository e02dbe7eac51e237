// A process that runs one program of Python. Its text is handed to Node as it stands, so it imports Node's own modules only.
import { readFileSync, readSync, writeSync } from "node:fs";
import { createContext, Script, SourceTextModule, type Context } from "node:vm";
import type { Outcome, SandboxTask } from "./program.ts";

/** What the process is told at its start, as a line of JSON. */
export interface PythonFirst {
  /** Where pyodide lies. */
  readonly folder: string;
  /** Bytes that the program may hold, and as many in files. */
  readonly memory: number;
  /** A function of JavaScript that makes the realm fit for pyodide and starts it there. */
  readonly realm: string;
  /** The Python that runs programs. */
  readonly harness: string;
  /** Bytes behind this line: the memory of an interpreter that has started. Without any the process starts one, says its memory, and ends. */
  readonly snapshot: number;
}

/** How a program ended: JSON of what it returned, or its exception. What it printed is known here. */
type Ending = Omit<Outcome, "stdout">;

/** What the realm is given: nothing but functions of numbers, text and bytes, which never throw. An object of ours would lead back to us. */
interface Host {
  /** Copies a file of pyodide's, or the snapshot, or says how long it is. */
  readonly file: (name: string, into?: Uint8Array) => number;
  /** Copies what the program has not read yet, as much as fits. */
  readonly read: (into: Uint8Array) => number;
  readonly print: (bytes: Uint8Array) => void;
  /** For whoever looks into why an interpreter does not start. */
  readonly complain: (text: string) => void;
  /** Answers, by JSON of an `Ending`, and ends the process. */
  readonly end: (ending: string) => void;
}

/** Runs a program: JSON of a call, if any, seconds, and the characters that it may return. It does not come back: it calls `end`. */
type Run = (source: string, call: string | undefined, seconds: number, output: number) => void;

interface Interpreter {
  readonly make: () => Promise<Uint8Array>;
  readonly start: (harness: string) => Promise<Run>;
}

type Realm = (file: Host["file"], read: Host["read"], print: Host["print"], complain: Host["complain"], end: Host["end"], memory: number) => (load: unknown, create: unknown, lock: string) => Interpreter;

const { exit } = process;

/** What is known of the program: until it begins there is nobody to hide an error from. */
const task: { begun: boolean; stdin: Uint8Array; most: number } = { begun: false, stdin: new Uint8Array(), most: 0 };

/** What has been read of the standard input and not been used. */
let ahead = Buffer.alloc(0);

function readMore(): void {
  const chunk = Buffer.alloc(2 ** 16);
  const bytes = readSync(0, chunk);
  // Whoever started this process is gone.
  if (bytes === 0) exit(0);
  ahead = Buffer.concat([ahead, chunk.subarray(0, bytes)]);
}

function readLine(): string {
  while (!ahead.includes("\n")) readMore();
  const end = ahead.indexOf("\n") + 1;
  const line = ahead.subarray(0, end).toString();
  ahead = ahead.subarray(end);
  return line;
}

/** Fills the array. */
function readInto(into: Uint8Array): void {
  let at = copied(ahead, into);
  ahead = ahead.subarray(at);
  while (at < into.length) {
    const bytes = readSync(0, into, at, into.length - at, null);
    if (bytes === 0) exit(0);
    at += bytes;
  }
}

function copied(from: Uint8Array, into: Uint8Array): number {
  const part = from.subarray(0, into.length);
  into.set(part);
  return part.length;
}

function writeAll(bytes: Uint8Array): void {
  try {
    for (let at = 0; at < bytes.length; ) at += writeSync(1, bytes, at);
  } finally {
    // Where nobody listens any more, too.
    exit(0);
  }
}

function hostOf({ folder, memory, snapshot }: PythonFirst): Host {
  const decoder = new TextDecoder();
  let stdout = "";
  const answer = (ending: Ending): void => writeAll(Buffer.from(`${JSON.stringify({ ...ending, stdout } satisfies Outcome)}\n`));
  /** An error of ours is an object of ours. */
  const total = <A extends unknown[], R>(act: (...args: A) => R, otherwise: R) => (...args: A): R => {
    try {
      return act(...args);
    } catch (error) {
      if (!task.begun) throw error;
      return otherwise;
    }
  };
  return {
    file: total((name, into) => {
      if (task.begun) return 0;
      if (name === "snapshot") return into === undefined ? snapshot : (readInto(into), snapshot);
      const bytes = readFileSync(`${folder}/${name}`);
      return into === undefined ? bytes.length : copied(name.endsWith(".wasm") ? bounded(bytes, interpreterMemory + memory) : bytes, into);
    }, 0),
    read: total((into) => {
      const length = copied(task.stdin, into);
      task.stdin = task.stdin.subarray(length);
      return length;
    }, 0),
    print: total((bytes) => {
      stdout += decoder.decode(bytes, { stream: true });
      if (stdout.length <= task.most) return;
      stdout = stdout.slice(0, task.most);
      answer({ status: "output", result: null, message: null });
    }, undefined),
    complain: total((text) => void writeSync(2, `${text}\n`), undefined),
    end: total((ending) => answer(JSON.parse(ending) as Ending), undefined),
  };
}

/** Pyodide in a realm that has the language and nothing of Node's, no `eval`, no modules: what reaches its JavaScript finds nothing there. */
async function interpreterIn({ folder, memory, realm }: PythonFirst, { file, read, print, complain, end }: Host): Promise<Interpreter> {
  const context = createContext(Object.create(null) as Context, { codeGeneration: { strings: false, wasm: true } });
  const prepare = (new Script(realm).runInContext(context) as Realm)(file, read, print, complain, end, memory);
  const { loadPyodide } = await moduleIn(context, folder, "pyodide.mjs");
  const { default: create } = await moduleIn(context, folder, "pyodide.asm.mjs");
  const { info } = JSON.parse(readFileSync(`${folder}/pyodide-lock.json`, "utf8")) as { readonly info: unknown };
  return prepare(loadPyodide, create, JSON.stringify({ info, packages: {} }));
}

async function moduleIn(context: Context, folder: string, name: string): Promise<Record<string, unknown>> {
  const none = (): never => {
    throw new Error("There are no modules");
  };
  const initializeImportMeta = (meta: ImportMeta): void => void Object.assign(meta, { url: `pyodide:${name}` });
  const module = new SourceTextModule(readFileSync(`${folder}/${name}`, "utf8"), { context, identifier: name, initializeImportMeta, importModuleDynamically: none });
  await module.link(none);
  await module.evaluate();
  return module.namespace as Record<string, unknown>;
}

/** Takes from this process too whatever the language itself has not: should somebody get here, there is less to find. */
function forget(): void {
  const kept = new Set(["Buffer", "TextEncoder", ...Object.getOwnPropertyNames(new Script("globalThis").runInNewContext())]);
  for (const name of Object.getOwnPropertyNames(globalThis)) if (!kept.has(name)) Reflect.deleteProperty(globalThis, name);
}

/** Bytes of the interpreter itself, with what it has imported when a program begins. */
const interpreterMemory = 3 * 2 ** 23;

const memorySection = 5;
const hasMost = 1;

/** A module of WebAssembly whose memory cannot grow beyond so many bytes. Its maximum is written anew in as many bytes as it takes there. */
function bounded(wasm: Uint8Array, most: number): Uint8Array {
  let at = 8;
  const number = (): number => {
    for (let [value, shift] = [0, 0]; ; shift += 7) {
      const byte = wasm[at++] ?? 0;
      value |= (byte & 127) << shift;
      if (byte < 128) return value >>> 0;
    }
  };
  while (at < wasm.length) {
    const section = number();
    const end = number() + at;
    if (section === memorySection) {
      const [count, flags] = [number(), number()];
      const least = number();
      const from = at;
      const pages = Math.min(number(), Math.max(least, Math.ceil(most / 2 ** 16)));
      if (count !== 1 || flags !== hasMost) break;
      for (let [i, rest] = [from, pages]; i < at; i++, rest >>>= 7) wasm[i] = (rest & 127) | (i < at - 1 ? 128 : 0);
      return wasm;
    }
    at = end;
  }
  throw new Error("This pyodide declares its memory otherwise");
}

const first = JSON.parse(readLine()) as PythonFirst;
const interpreter = await interpreterIn(first, hostOf(first));
if (first.snapshot === 0) writeAll(await interpreter.make());
const run = await interpreter.start(first.harness);
forget();
writeSync(1, "ready\n");
const { program, limits } = JSON.parse(readLine()) as SandboxTask;
Object.assign(task, { begun: true, stdin: new TextEncoder().encode(program.stdin), most: limits.output });
const { call } = program;
run(program.source, call && `{"name": ${JSON.stringify(call.name)}, "arguments": [${call.arguments.join()}]}`, limits.seconds, limits.output);

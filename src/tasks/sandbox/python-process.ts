// A process that runs one program of Python. Its text is handed to Node as it stands, so it imports Node's own modules only.
import { readFileSync, readSync, writeSync } from "node:fs";
import { createContext, Script, SourceTextModule, type Context } from "node:vm";
import type { Outcome, SandboxTask } from "./program.ts";

/** What the process is told at its start. */
export interface PythonFirst {
  /** Where pyodide lies. */
  readonly folder: string;
  /** Bytes that the interpreter and the program may hold. */
  readonly memory: number;
  /** A function of JavaScript that makes the realm fit for pyodide and starts it there. */
  readonly realm: string;
  /** The Python that runs programs. */
  readonly harness: string;
}

/** How a program ended, where that was not by a limit: JSON of what it returned, or its exception. */
type Ending = Pick<Outcome, "status" | "result" | "message">;

/** What the realm is given: nothing but functions of numbers, text and bytes, which never throw. An object of ours would lead back to us. */
interface Host {
  /** Copies a file of pyodide's, or says how long it is. */
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

type Realm = (file: Host["file"], read: Host["read"], print: Host["print"], complain: Host["complain"], end: Host["end"], memory: number) => (load: unknown, create: unknown, lock: string, harness: string) => Promise<Run>;

const { exit } = process;

/** What is known of the program: until it begins there is nobody to hide an error from. */
const task: { begun: boolean; stdin: Uint8Array; most: number } = { begun: false, stdin: new Uint8Array(), most: 0 };

/** Waits for the next line of the standard input. Without one there is nothing to do: whoever started this process is gone. */
function readLine(): string {
  const chunks: Buffer[] = [];
  for (;;) {
    const chunk = Buffer.alloc(2 ** 16);
    const bytes = readSync(0, chunk);
    if (bytes === 0) exit(0);
    chunks.push(chunk.subarray(0, bytes));
    // One line is sent, and the next when it is answered.
    if (chunk[bytes - 1] === 10) return Buffer.concat(chunks).toString();
  }
}

function hostOf({ folder, memory }: PythonFirst): Host {
  const files = new Map<string, Uint8Array>();
  const decoder = new TextDecoder();
  let stdout = "";
  const answer = (ending: Ending): void => {
    const bytes = Buffer.from(`${JSON.stringify({ ...ending, stdout } satisfies Outcome)}\n`);
    for (let at = 0; at < bytes.length; ) at += writeSync(1, bytes, at);
    exit(0);
  };
  const copied = (from: Uint8Array, into: Uint8Array): number => {
    const part = from.subarray(0, into.length);
    into.set(part);
    return part.length;
  };
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
      const bytes = files.get(name) ?? (name.endsWith(".wasm") ? bounded(readFileSync(`${folder}/${name}`), memory) : readFileSync(`${folder}/${name}`));
      files.set(name, bytes);
      return into === undefined ? bytes.length : (files.delete(name), copied(bytes, into));
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
async function start({ folder, memory, realm, harness }: PythonFirst, { file, read, print, complain, end }: Host): Promise<Run> {
  const context = createContext(Object.create(null) as Context, { codeGeneration: { strings: false, wasm: true } });
  const prepare = (new Script(realm).runInContext(context) as Realm)(file, read, print, complain, end, memory);
  const { loadPyodide } = await moduleIn(context, folder, "pyodide.mjs");
  const { default: create } = await moduleIn(context, folder, "pyodide.asm.mjs");
  const { info } = JSON.parse(readFileSync(`${folder}/pyodide-lock.json`, "utf8")) as { readonly info: unknown };
  return prepare(loadPyodide, create, JSON.stringify({ info, packages: {} }), harness);
}

async function moduleIn(context: Context, folder: string, name: string): Promise<Record<string, unknown>> {
  const none = (): never => {
    throw new Error("There are no modules");
  };
  const module = new SourceTextModule(readFileSync(`${folder}/${name}`, "utf8"), { context, identifier: name, initializeImportMeta: (meta) => void Object.assign(meta, { url: `pyodide:${name}` }), importModuleDynamically: none });
  await module.link(none);
  await module.evaluate();
  return module.namespace as Record<string, unknown>;
}

/** Takes from this process too whatever the language itself has not: should somebody get here, there is less to find. */
function forget(): void {
  const language = new Set(Object.getOwnPropertyNames(new Script("globalThis").runInNewContext()));
  for (const name of Object.getOwnPropertyNames(globalThis)) if (!language.has(name) && name !== "Buffer" && name !== "TextEncoder") Reflect.deleteProperty(globalThis, name);
}

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

const memorySection = 5;
const hasMost = 1;

const first = JSON.parse(readLine()) as PythonFirst;
const run = await start(first, hostOf(first));
forget();
writeSync(1, "ready\n");
const { program, limits } = JSON.parse(readLine()) as SandboxTask;
Object.assign(task, { begun: true, stdin: new TextEncoder().encode(program.stdin), most: limits.output });
run(program.source, program.call === undefined ? undefined : JSON.stringify(program.call), limits.seconds, limits.output);

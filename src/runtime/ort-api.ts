import { createRequire } from "node:module";
import type Koffi from "koffi";
import { LongjingError } from "../errors/index.ts";
import type { TypedArray } from "../tensor/value.ts";
import { ortLibraryPath } from "./ort-library.ts";

/** The address of an object that the library made. */
export type Pointer = bigint;

/** The C types of parameters, and what JavaScript gives for each. */
interface CTypes {
  /** An object of the library's, or memory of ours, which must stay referenced for as long as the library keeps its address. */
  "void *": Pointer | TypedArray | null;
  int: number;
  size_t: number;
  str: string;
  "const char **": readonly string[];
  /** UTF-8, but UTF-16 on Windows. */
  path: string;
}
type CType = keyof CTypes;
type Arguments<T extends readonly CType[]> = { [K in keyof T]: CTypes[T[K]] };

/** What a function hands back through a last parameter of this type, if it has one. */
interface Results {
  none: undefined;
  "void *": Pointer;
  int: number;
  size_t: number;
}
type Result = keyof Results;

/** A function in the table `OrtApi`: its place there, its parameters, and what it hands back. */
interface Entry<T extends readonly CType[] = readonly CType[], R extends Result = Result> {
  readonly index: number;
  readonly takes: T;
  readonly gives: R;
}

const giving =
  <R extends Result>(gives: R) =>
  <const T extends readonly CType[]>(index: number, ...takes: T): Entry<T, R> => ({ index, takes, gives });
const call = giving("none");
const make = giving("void *");
const count = giving("size_t");

/** The API version whose table the indices belong to. The table only ever grows at its end: any newer library has them too. */
const apiVersion = 20;

/** The functions that we use, by their index in `struct OrtApi` of onnxruntime_c_api.h. Each of them returns a status. */
const functions = {
  CreateEnv: make(3, "int", "str"),
  CreateSessionFromArray: make(8, "void *", "void *", "size_t", "void *"),
  CreateSessionOptions: make(10),
  EnableProfiling: call(14, "void *", "path"),
  DisableMemPattern: call(17, "void *"),
  SetSessionGraphOptimizationLevel: call(23, "void *", "int"),
  SetIntraOpNumThreads: call(24, "void *", "int"),
  SetInterOpNumThreads: call(25, "void *", "int"),
  CreateCustomOpDomain: make(26, "str"),
  CustomOpDomain_Add: call(27, "void *", "void *"),
  AddCustomOpDomain: call(28, "void *", "void *"),
  SessionGetInputCount: count(30, "void *"),
  SessionGetOutputCount: count(31, "void *"),
  SessionGetInputTypeInfo: make(33, "void *", "size_t"),
  SessionGetOutputTypeInfo: make(34, "void *", "size_t"),
  SessionGetInputName: make(36, "void *", "size_t", "void *"),
  SessionGetOutputName: make(37, "void *", "size_t", "void *"),
  CreateTensorWithDataAsOrtValue: make(49, "void *", "void *", "size_t", "void *", "size_t", "int"),
  CastTypeInfoToTensorInfo: make(55, "void *"),
  GetTensorElementType: giving("int")(60, "void *"),
  GetDimensionsCount: count(61, "void *"),
  GetDimensions: call(62, "void *", "void *", "size_t"),
  CreateCpuMemoryInfo: make(69, "int", "int"),
  AllocatorFree: call(76, "void *", "void *"),
  GetAllocatorWithDefaultOptions: make(78),
  AddSessionConfigEntry: call(130, "void *", "str", "str"),
  RunWithBinding: call(133, "void *", "void *", "void *"),
  CreateIoBinding: make(134, "void *"),
  BindInput: call(136, "void *", "str", "void *"),
  BindOutput: call(137, "void *", "str", "void *"),
  CreateAndRegisterAllocator: call(144, "void *", "void *", "void *"),
  AddInitializer: call(150, "void *", "str", "void *"),
  AddExternalInitializers: call(210, "void *", "const char **", "void *", "size_t"),
  SessionOptionsAppendExecutionProvider: call(216, "void *", "str", "const char **", "const char **", "size_t"),
};

/** Destructors return nothing and cannot fail. */
const destructors = { ReleaseSession: 95, ReleaseValue: 96, ReleaseTypeInfo: 98, ReleaseSessionOptions: 100, ReleaseIoBinding: 135 };

interface Foreign<T extends readonly CType[], R extends Result> {
  /** @throws LongjingError `runtime` with the library's own message. */
  (...takes: Arguments<T>): Results[R];
  /** The same call on another thread. What it is given stays referenced until it returns. */
  async(...takes: Arguments<T>): Promise<Results[R]>;
}

type Functions = { readonly [N in keyof typeof functions]: (typeof functions)[N] extends Entry<infer T, infer R> ? Foreign<T, R> : never };
type Destructors = { readonly [N in keyof typeof destructors]: (object: Pointer) => void };

/** ONNX Runtime's C API. */
export interface OrtApi extends Functions, Destructors {
  /** Of the library. */
  readonly version: string;
  addressOf(bytes: Uint8Array): bigint;
  readString(at: Pointer): string;
}

let loaded: OrtApi | undefined;

/**
 * Loads ONNX Runtime, once a process.
 *
 * @throws LongjingError `not_found` or `unsupported` where the library, or koffi's build for this machine, is missing.
 */
export function ortApi(): OrtApi {
  return (loaded ??= loadApi(loadKoffi()));
}

/** Foreign code runs on a stack that koffi sets aside. Its 128 KiB for asynchronous calls are too few for a graph's kernels. */
const stackBytes = 8 * 2 ** 20;

/** @throws LongjingError `not_found` where koffi has no build for this machine. */
export function loadKoffi(): typeof Koffi {
  let koffi: typeof Koffi;
  try {
    koffi = createRequire(import.meta.url)("koffi") as typeof Koffi;
  } catch (cause) {
    throw new LongjingError("not_found", "koffi, which calls ONNX Runtime, has no build here", { got: `${process.platform}/${process.arch}`, hint: 'Run npm install again, or use the provider "wasm".' }, { cause });
  }
  const config = koffi.config();
  if (config.async_stack_size !== stackBytes) koffi.config({ ...config, sync_stack_size: stackBytes, async_stack_size: stackBytes });
  return koffi;
}

function loadApi(koffi: typeof Koffi): OrtApi {
  // Since 1.29 the library reports its use on every platform, unless this is set before it is loaded.
  process.env["ORT_DISABLE_TELEMETRY"] = "1";
  const path = ortLibraryPath();
  let base: Pointer;
  try {
    const loaded = koffi.load(path);
    kept.push(loaded);
    base = loaded.func("OrtGetApiBase", "void *", [])() as Pointer;
  } catch (cause) {
    throw new LongjingError("unsupported", "ONNX Runtime's library cannot be loaded", { where: path, got: String(cause) }, { cause });
  }
  const [getApi, getVersion] = koffi.decode(base, koffi.array("void *", 2)) as [Pointer, Pointer];
  const version = koffi.call(getVersion, koffi.proto("str", [])) as string;
  const table = koffi.call(getApi, koffi.proto("void *", ["uint32_t"]), apiVersion) as Pointer | null;
  if (table === null) throw new LongjingError("unsupported", "ONNX Runtime is too old", { got: version, expected: `1.${apiVersion} or newer`, where: path });
  return {
    ...bindFunctions(koffi, table),
    version,
    addressOf: (bytes) => koffi.address(bytes),
    readString: (at) => koffi.decode.string(at),
  };
}

/** "path/file.cc:136 function(parameters) condition was false. " before the part of a message that is for people. */
const failedCheck = /^\S+\.(?:cc|h):\d+ .*? was false\. /s;

type Call = ReturnType<ReturnType<typeof Koffi.load>["func"]>;
type KoffiType = Parameters<typeof Koffi.sizeof>[0] | ReturnType<typeof Koffi.out>;

/** What calls on other threads use, so that the collector leaves it alone. */
const inFlight = new Set<unknown>();

/** Calls foreign code on another thread. @param used what must stay until it returns beside the arguments */
export function callAside(run: Call, args: readonly unknown[], used?: unknown): Promise<unknown> {
  const held = [args, used];
  inFlight.add(held);
  return new Promise<unknown>((resolve, reject) => run.async(...args, (error: unknown, value: unknown) => (error ? reject(error) : resolve(value)))).finally(() => inFlight.delete(held));
}

/**
 * The library and the signatures of its calls. koffi unloads a library whose handle is collected, also under pointers that were
 * read out of it.
 */
const kept: unknown[] = [];

function bindFunctions(koffi: typeof Koffi, table: Pointer): Functions & Destructors {
  const native: Record<CType, KoffiType> = { "void *": "void *", int: "int", size_t: "size_t", str: "str", "const char **": "const char **", path: process.platform === "win32" ? "str16" : "str" };
  const at = (index: number, returns: string, takes: KoffiType[]): Call => {
    const signature = koffi.proto(returns, takes);
    kept.push(signature, ...takes);
    return koffi.decode(koffi.decode(table, index * koffi.sizeof("void *"), "void *"), signature) as Call;
  };

  const message = at(2, "str", ["void *"]); // GetErrorMessage
  const releaseStatus = at(93, "void", ["void *"]);
  const check = (where: string, status: unknown): void => {
    if (status === null) return;
    const text = String(message(status)).replace(failedCheck, "").trim();
    releaseStatus(status);
    throw new LongjingError("runtime", `ONNX Runtime refused: ${text}`, { where });
  };

  const foreign = (name: string, { index, takes, gives }: Entry): Foreign<readonly CType[], Result> => {
    const out = gives === "none" ? [] : [koffi.out(koffi.pointer(gives))];
    const run = at(index, "void *", [...takes.map((type) => native[type]), ...out]);
    const result = (): [] | [[Pointer | number | undefined]] => (gives === "none" ? [] : [[undefined]]);
    const sync = (...args: Arguments<readonly CType[]>): Results[Result] => {
      const slot = result();
      check(name, run(...args, ...slot));
      return slot[0]?.[0];
    };
    const async = (...args: Arguments<readonly CType[]>): Promise<Results[Result]> => {
      const slot = result();
      return callAside(run, [...args, ...slot]).then((value) => (check(name, value), slot[0]?.[0]));
    };
    return Object.assign(sync, { async });
  };

  return Object.fromEntries([
    ...Object.entries(functions).map(([name, entry]) => [name, foreign(name, entry as Entry)]),
    ...Object.entries(destructors).map(([name, index]) => [name, at(index, "void", ["void *"])]),
  ]) as Functions & Destructors;
}

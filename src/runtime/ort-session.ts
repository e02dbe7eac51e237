import { basename, dirname } from "node:path";
import { LongjingError } from "../errors/index.ts";
import type { DType } from "../tensor/value.ts";
import type { Session, SessionOptions } from "./backend.ts";
import { openedOwnKernels } from "./own-kernels.ts";
import { hereIfBrief } from "./brief-run.ts";
import { defaultThreads } from "./cores.ts";
import { type Bound, type BindingDriver, type Declared, ManagedSession, ownTensors, type TensorDriver } from "./lifetime.ts";
import { dtypes } from "./memory.ts";
import { anyOrder, oneAtATime, type Order } from "./order.ts";
import { type OrtApi, ortApi, type Pointer } from "./ort-api.ts";

/** ONNX's numbers for the element types that we have. */
const elementTypes: Readonly<Record<DType, number>> = { float32: 1, uint8: 2, int32: 6, int64: 7, bool: 9 };

/** Objects that the library makes once and keeps. */
interface Library {
  readonly api: OrtApi;
  readonly env: Pointer;
  readonly memory: Pointer;
  readonly allocator: Pointer;
}

let opening: Promise<void> | undefined;
let opened: Library | undefined;

/** Once a process, on another thread for the most part. @throws LongjingError as `ortApi`. */
export const openLibrary = (): Promise<void> => (opening ??= makeLibrary());

async function makeLibrary(): Promise<void> {
  const api = ortApi();
  const fatal = 4; // what goes wrong is thrown: the library need not print it as well
  const [arena, defaultMemory] = [1, 0];
  const env = await api.CreateEnv.async(fatal, "longjing");
  const memory = api.CreateCpuMemoryInfo(arena, defaultMemory);
  api.CreateAndRegisterAllocator(env, memory, null);
  opened = { api, env, memory, allocator: api.GetAllocatorWithDefaultOptions() };
}

/** Whoever has a backend has waited for it. */
const library = (): Library => opened!;

export const ortTensors: TensorDriver<Pointer> = {
  wrap: (dtype, shape, data) => {
    const { api, memory } = library();
    return api.CreateTensorWithDataAsOrtValue(memory, data, data.byteLength, BigInt64Array.from(shape, BigInt), shape.length, elementTypes[dtype]);
  },
  release: (value) => library().api.ReleaseValue(value),
};

/** How the library runs a session. */
export interface OrtProvider {
  /** As the C API names it; the processor's is always there and has no name. */
  readonly name?: "WebGPU";
  readonly order: Order;
}

export const ortProviders = { cpu: { order: anyOrder }, webgpu: { name: "WebGPU", order: oneAtATime() } } as const satisfies Record<string, OrtProvider>;

/** @throws LongjingError `unsupported` where the provider has no device. `openLibrary` comes before. */
export function probe(provider: OrtProvider): void {
  const { api } = library();
  const settings = api.CreateSessionOptions();
  try {
    configure(settings, provider, {});
  } catch (cause) {
    throw new LongjingError("unsupported", `${provider.name ?? "ONNX Runtime"} cannot be used on this machine`, { hint: 'It needs a graphics driver (Vulkan, Metal or Direct3D 12). The provider "cpu" needs none.', got: (cause as Error).message }, { cause });
  } finally {
    api.ReleaseSessionOptions(settings);
  }
}

/** Reads the model and plans its run, on another thread. */
export async function createOrtSession(model: Uint8Array, provider: OrtProvider, options: SessionOptions = {}): Promise<Session> {
  const { api, env } = library();
  const settings = api.CreateSessionOptions();
  try {
    configure(settings, provider, options);
    const initializers = ownTensors(ortTensors, options.initializers ?? {});
    addInitializers(settings, initializers, provider.name === undefined && options.optimization !== "all");
    const session = await provider.order.later(() => api.CreateSessionFromArray.async(env, model, model.byteLength, settings));
    return describe(session, provider, initializers);
  } finally {
    api.ReleaseSessionOptions(settings);
  }
}

/** One that is there: the library wants the file that initializers without data name, and reads nothing of it. */
export const initializerFile = basename(process.execPath);

/** @param inPlace runs read the memory that is given. Otherwise the library copies it: for a device, or to compute with it beforehand. */
function addInitializers(settings: Pointer, initializers: Bound<Pointer>, inPlace: boolean): void {
  const { api } = library();
  if (initializers.length === 0) return;
  api.AddSessionConfigEntry(settings, "session.model_external_initializers_file_folder_path", dirname(process.execPath));
  if (inPlace) for (const [name, { handle }] of initializers) api.AddInitializer(settings, name, handle);
  else api.AddExternalInitializers(settings, initializers.map(([name]) => name), BigInt64Array.from(initializers, ([, { handle }]) => handle), initializers.length);
}

/** A trainer has a session for each length of its rows, and runs one at a time: with arenas of their own, each would keep what its largest run took. */
const sharedArena = { "session.use_env_allocators": "1" };

/**
 * Between the ops of a small model's step lie a few microseconds, and waking a thread takes more than that. Where other work wants the
 * cores, a thread that spins for longer costs the step more than it saves.
 */
const briefSpinning = { "session.intra_op.spin_duration_us": "20", "session.force_spinning_stop": "1" };

function configure(settings: Pointer, provider: OrtProvider, options: SessionOptions): void {
  const { api } = library();
  const { threads = defaultThreads(), memoryPattern = false, optimization = "disabled", spinning = false, arena = "shared", profile } = options;
  if (threads !== undefined) api.SetIntraOpNumThreads(settings, threads);
  api.SetInterOpNumThreads(settings, 1);
  api.SetSessionGraphOptimizationLevel(settings, optimization === "all" ? 99 : 0);
  for (const [key, value] of Object.entries({ ...(arena === "shared" && sharedArena), ...(!spinning && briefSpinning) })) api.AddSessionConfigEntry(settings, key, value);
  if (!memoryPattern) api.DisableMemPattern(settings);
  if (profile !== undefined) api.EnableProfiling(settings, profile);
  const kernels = openedOwnKernels();
  if (kernels) api.AddCustomOpDomain(settings, kernels.domain);
  if (provider.name !== undefined) api.SessionOptionsAppendExecutionProvider(settings, provider.name, [], [], 0);
}

function describe(session: Pointer, provider: OrtProvider, initializers: Bound<Pointer>): Session {
  const { api } = library();
  try {
    const driver = {
      tensors: ortTensors,
      inputs: declarations(session, "Input"),
      outputs: declarations(session, "Output"),
      bind: (inputs: Bound<Pointer>, outputs: Bound<Pointer>) => bindTensors(session, provider, inputs, outputs),
      release: () => provider.order.soon(() => api.ReleaseSession(session)),
    };
    return new ManagedSession(driver, initializers);
  } catch (error) {
    api.ReleaseSession(session);
    throw error;
  }
}

function bindTensors(session: Pointer, { name, order }: OrtProvider, inputs: Bound<Pointer>, outputs: Bound<Pointer>): BindingDriver {
  const { api } = library();
  const binding = api.CreateIoBinding(session);
  const bindInputs = (): void => inputs.forEach(([input, { handle }]) => api.BindInput(binding, input, handle));
  // The processor reads an input where it lies. A device gets its copy when the input is bound, so there it is bound at each run.
  const upload = name === undefined ? () => {} : bindInputs;
  if (name === undefined) bindInputs();
  outputs.forEach(([output, { handle }]) => api.BindOutput(binding, output, handle));
  const runSync = (): void =>
    order.now(() => {
      upload();
      api.RunWithBinding(session, null, binding);
    });
  const aside = (): Promise<unknown> =>
    order.later(() => {
      upload();
      return api.RunWithBinding.async(session, null, binding);
    });
  return {
    runSync,
    // A device computes while this thread does something else, and may be busy with another's run.
    run: name === undefined ? hereIfBrief(runSync, aside) : aside,
    release: () => order.soon(() => api.ReleaseIoBinding(binding)),
  };
}

/** Names and types of a session's inputs or outputs. */
function declarations(session: Pointer, kind: "Input" | "Output"): Declared[] {
  const { api, allocator } = library();
  return Array.from({ length: api[`SessionGet${kind}Count`](session) }, (_, index) => {
    const text = api[`SessionGet${kind}Name`](session, index, allocator);
    const name = api.readString(text);
    api.AllocatorFree(allocator, text);
    const type = api[`SessionGet${kind}TypeInfo`](session, index);
    try {
      return { name, ...tensorType(type, `${kind.toLowerCase()} "${name}"`) };
    } finally {
      api.ReleaseTypeInfo(type);
    }
  });
}

function tensorType(type: Pointer, where: string): Omit<Declared, "name"> {
  const { api } = library();
  const info = api.CastTypeInfoToTensorInfo(type); // null for what is not a tensor
  const element = info === null ? "not a tensor" : api.GetTensorElementType(info);
  const dtype = dtypes.find((each) => elementTypes[each] === element);
  if (dtype === undefined) throw new LongjingError("unsupported", "A session takes and gives tensors of known types only", { where, got: typeof element === "number" ? `ONNX element type ${element}` : element, expected: dtypes.join(", ") });
  const sizes = new BigInt64Array(api.GetDimensionsCount(info));
  api.GetDimensions(info, sizes, sizes.length);
  return { dtype, shape: Array.from(sizes, (size) => (size < 0n ? null : Number(size))) };
}

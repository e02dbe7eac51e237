import type { InferenceSession, Tensor } from "onnxruntime-web";
import { LongjingError } from "../errors/index.ts";
import type { Backend, OpenBackend, Session, SessionOptions } from "./backend.ts";
import { type Bound, type BindingDriver, type Declared, HostTensor, ManagedSession, ownTensors, type TensorDriver, viewOf } from "./lifetime.ts";
import { allocate, dtypes, showShape } from "./memory.ts";
import { oneAtATime } from "./order.ts";

type Ort = typeof import("onnxruntime-web");
type WebProvider = "wasm" | "webgpu";

/**
 * Opens onnxruntime-web. It has no synchronous run, and copies inputs and outputs between our memory and its own. Threads
 * are one pool for all its sessions: the first session decides how many.
 *
 * @throws LongjingError `unsupported` for the provider "cpu", or where there is no WebGPU adapter.
 */
export const openBackend: OpenBackend = async (provider = "wasm") => {
  if (provider === "cpu") throw new LongjingError("unsupported", "Native code does not run in a browser", { got: provider, expected: "wasm, webgpu" });
  return webBackend(provider === "webgpu" ? await loadWebGpu() : await import("onnxruntime-web/wasm"), provider);
};

/** A backend over a build of onnxruntime-web: the builds for browsers do not run in Node, and the other way round. */
export function webBackend(ort: Ort, provider: WebProvider): Backend {
  ort.env.logLevel = "fatal"; // what goes wrong is thrown: the library need not print it as well
  const tensors = webTensors(ort);
  return {
    provider,
    version: ort.env.versions.web ?? ort.env.versions.common,
    initializerFile: null,
    hasOwnKernels: async () => false,
    programs: null,
    ownFunctions: () => null,
    createSession: (model, options) => createWebSession(ort, tensors, provider, model, options),
    tensor: (dtype, shape) => {
      const made = new HostTensor(tensors, dtype, shape, allocate(dtype, shape));
      owned.set(made.handle, made.data.buffer);
      return made;
    },
    tensorOver: (...given) => viewOf(tensors, ...given),
  };
}

async function loadWebGpu(): Promise<Ort> {
  const { gpu } = (globalThis.navigator ?? {}) as { gpu?: { requestAdapter(): Promise<unknown> } };
  if (!(await gpu?.requestAdapter())) throw new LongjingError("unsupported", "There is no WebGPU adapter here", { hint: 'Use the provider "wasm".' });
  return import("onnxruntime-web/webgpu");
}

const order = oneAtATime();
const drivers = new Map<Ort, TensorDriver<Tensor>>();

/** One for each build of the library, so that every backend over it takes the same tensors. */
function webTensors(ort: Ort): TensorDriver<Tensor> {
  let driver = drivers.get(ort);
  if (!driver) drivers.set(ort, (driver = { wrap: (dtype, shape, data) => new ort.Tensor(dtype, data as Uint8Array, shape), release: forget }));
  return driver;
}

/** Tensors on the device by the memory here that they stand for: its buffer and where in it they begin. */
const onDevice = new WeakMap<ArrayBufferLike, Map<number, Tensor>>();
/** The buffers of tensors that were given memory of their own. */
const owned = new WeakMap<Tensor, ArrayBufferLike>();

/** With a tensor goes what stands for its memory on the device. */
function forget(handle: Tensor): void {
  const buffer = owned.get(handle);
  if (buffer === undefined) return;
  for (const tensor of onDevice.get(buffer)?.values() ?? []) tensor.dispose();
  onDevice.delete(buffer);
}

async function createWebSession(ort: Ort, tensors: TensorDriver<Tensor>, provider: WebProvider, model: Uint8Array, options: SessionOptions = {}): Promise<Session> {
  const { threads, memoryPattern = false, optimization = "disabled", profile, initializers = {} } = options;
  const resident = options.resident === true && provider === "webgpu";
  if (profile !== undefined) throw new LongjingError("unsupported", "onnxruntime-web writes no profile", { hint: 'Use the provider "cpu".' });
  if (threads !== undefined) ort.env.wasm.numThreads = threads;
  const externalData = ownTensors(tensors, initializers).map(([path, { data }]) => ({ path, data: new Uint8Array(data.buffer, data.byteOffset, data.byteLength) }));
  const settings = { executionProviders: [provider], graphOptimizationLevel: optimization, enableMemPattern: memoryPattern, logSeverityLevel: 4, externalData, ...(resident && { preferredOutputLocation: "gpu-buffer" as const }) } as const;
  const session = await inTurn("InferenceSession.create", () => ort.InferenceSession.create(model, settings));
  const release = (): void => order.soon(() => void session.release());
  try {
    return new ManagedSession({
      tensors,
      inputs: session.inputMetadata.map((each) => declaration("input", each)),
      outputs: session.outputMetadata.map((each) => declaration("output", each)),
      bind: (inputs, outputs) => bindTensors(session, inputs, outputs, resident),
      release,
    });
  } catch (error) {
    release();
    throw error;
  }
}

function bindTensors(session: InferenceSession, inputs: Bound<Tensor>, outputs: Bound<Tensor>, resident: boolean): BindingDriver {
  const fetches = outputs.map(([name]) => name);
  const read = ({ data }: HostTensor<Tensor>): boolean => inputs.some(([, each]) => each.data.buffer === data.buffer && each.data.byteOffset === data.byteOffset);
  const staying = new Set(resident ? outputs.flatMap(([name, tensor]) => (read(tensor) ? [name] : [])) : []);
  return {
    runSync: () => {
      throw new LongjingError("unsupported", "onnxruntime-web runs asynchronously only", { hint: "Use run()." });
    },
    // Given tensors to write into, 1.30 fills its own copy of them and never ours: so its outputs are fetched and copied.
    run: async () => {
      const feeds = Object.fromEntries(inputs.map(([name, { data, handle }]) => [name, onDevice.get(data.buffer)?.get(data.byteOffset) ?? handle]));
      const results = await inTurn("InferenceSession.run", () => session.run(feeds, fetches));
      for (const [name, tensor] of outputs) {
        if (staying.has(name)) keepOnDevice(tensor, results[name]!);
        else await copyInto(tensor, results[name]!, name);
      }
    },
    release: () => {},
  };
}

/** Takes the place of what stood for this memory before. */
function keepOnDevice({ data }: HostTensor<Tensor>, result: Tensor): void {
  const known = onDevice.get(data.buffer) ?? new Map<number, Tensor>();
  onDevice.set(data.buffer, known);
  known.get(data.byteOffset)?.dispose();
  known.set(data.byteOffset, result);
}

async function copyInto({ shape, data }: HostTensor<Tensor>, result: Tensor, name: string): Promise<void> {
  if (String(result.dims) !== String(shape)) throw new LongjingError("runtime", "The run gave another shape than was bound", { where: `output "${name}"`, got: showShape(result.dims), expected: showShape(shape) });
  data.set((await result.getData(true)) as never);
}

function declaration(kind: "input" | "output", metadata: InferenceSession.ValueMetadata): Declared {
  const { name } = metadata;
  const dtype = dtypes.find((each) => metadata.isTensor && metadata.type === each);
  if (!metadata.isTensor || dtype === undefined) throw new LongjingError("unsupported", "A session takes and gives tensors of known types only", { where: `${kind} "${name}"`, got: metadata.isTensor ? metadata.type : "not a tensor", expected: dtypes.join(", ") });
  return { name, dtype, shape: metadata.shape.map((size) => (typeof size === "number" && size >= 0 ? size : null)) };
}

/** @throws LongjingError `runtime` in place of whatever the library throws. */
function inTurn<T>(where: string, action: () => Promise<T>): Promise<T> {
  return order.later(action).catch((cause: unknown) => {
    throw new LongjingError("runtime", `ONNX Runtime refused: ${cause instanceof Error ? cause.message : String(cause)}`, { where }, { cause });
  });
}

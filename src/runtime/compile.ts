import { lowered } from "../onnx/lower.ts";
import { fuse, simplify, trace, verify, type Graph, type Symbolic, type TensorType, type Tree, type Value } from "../tensor/index.ts";
import { adamwOp } from "../tensor/ops/adamw.ts";
import { cachedAttentionOp } from "../tensor/ops/cached-attention.ts";
import { rmsNormOp } from "../tensor/ops/fused.ts";
import { scatterAddOp } from "../tensor/ops/index-ops.ts";
import { gatedMatmulQuantizedOp, gatherQuantizedOp, matmulQuantizedOp } from "../tensor/ops/quantized.ts";
import { swigluGradientOp, swigluOp } from "../tensor/ops/swiglu.ts";
import { ownKernelName } from "../tensor/own-kernel.ts";
import { leaves } from "../tensor/tree.ts";
import type { Backend, Binding, DeviceTensor, LoweredProgram, Session, SessionOptions } from "./backend.ts";

/** A traced function, ready to run on one provider. */
export interface Program {
  readonly graph: Graph;
  /** Binds trees of tensors once; names are the paths in the trees that were traced. */
  bind(inputs: Tree<DeviceTensor>, outputs: Tree<DeviceTensor>): Binding;
  dispose(): void;
}

/** Asking for our kernels may compile them: only graphs that would use them ask. */
const withOwnKernels = new Set([matmulQuantizedOp.name, gatedMatmulQuantizedOp.name, gatherQuantizedOp.name, cachedAttentionOp.name, adamwOp.name, rmsNormOp.name, swigluOp.name, swigluGradientOp.name, scatterAddOp.name, ownKernelName]);

/** Whether sessions with these options have our kernels. */
export const usesOwnKernels = async (backend: Backend, { ownKernels = true }: Pick<SessionOptions, "ownKernels"> = {}): Promise<boolean> => ownKernels && (await backend.hasOwnKernels());

const isDeviceTensor = (x: unknown): x is DeviceTensor => typeof x === "object" && x !== null && "data" in x && "dispose" in x;

export interface CompileOptions extends Omit<SessionOptions, "initializers"> {
  /**
   * A part of the inputs, as a tree with the same paths, that never changes: its memory is given to the session once and is not
   * bound. Kernels may repack it, so it runs faster than what is bound at each run. What the function does not use is left out, and its
   * values are not loaded.
   */
  readonly frozen?: Tree<DeviceTensor>;
  /**
   * Says all that the function depends on beside its inputs' types. What it was lowered to is then kept for the next process, which need not trace
   * it. Default: nothing is kept.
   */
  readonly key?: string;
}

/** Traces `f` on inputs of the given types, lowers it for the backend's provider and makes a session of it. */
export async function compile<const I>(backend: Backend, f: (inputs: Symbolic<I>) => Tree<Value>, types: I, { frozen = {}, key, ...options }: CompileOptions = {}): Promise<Program> {
  const kept = new Map(leaves(frozen, isDeviceTensor));
  let traced: Graph | undefined;
  const graph = (): Graph => {
    if (traced) return traced;
    traced = withoutIdle(fuse(simplify(trace(f, types))), kept);
    verify(traced);
    return traced;
  };
  const { model, initializers, readByOthers } = await lowerOnce(backend, graph, kept, options, key && JSON.stringify({ key, types, frozen: [...kept.keys()] }));
  const given = Object.fromEntries(initializers.map((name) => [name, kept.get(name)!]));
  const session = await withValues(given, new Set(readByOthers), () => backend.createSession(model, { ...options, initializers: given }));
  return {
    get graph() {
      return graph();
    },
    bind: (inputs, outputs) => session.bind(Object.fromEntries(leaves(inputs, isDeviceTensor)), Object.fromEntries(leaves(outputs, isDeviceTensor))),
    dispose: () => session.dispose(),
  };
}

type Frozen = ReadonlyMap<string, DeviceTensor>;

/** With a key, what was lowered before on this machine is taken, and the function is not traced. */
async function lowerOnce(backend: Backend, graph: () => Graph, kept: Frozen, options: SessionOptions, key: string | undefined): Promise<LoweredProgram> {
  const { programs, provider, initializerFile } = backend;
  if (key === undefined || !programs) return lower(backend, graph(), kept, options);
  const ownKernels = await usesOwnKernels(backend, options);
  const name = JSON.stringify({ key, provider, initializerFile, ownKernels });
  const found = programs.read(name);
  if (found) return found;
  const program = await lower(backend, graph(), kept, options);
  void programs.write(name, program);
  return program;
}

async function lower(backend: Backend, graph: Graph, kept: Frozen, options: SessionOptions): Promise<LoweredProgram> {
  const initializers = graph.inputs.flatMap(([name]) => (kept.has(name) ? [name] : []));
  const ownKernels = graph.nodes.some(({ op }) => withOwnKernels.has(op.name)) && (await usesOwnKernels(backend, options));
  const files = new Map(initializers.map((name) => [name, backend.initializerFile ?? name]));
  const { model, readByOthers } = lowered(graph, backend.provider === "webgpu" ? "webgpu" : "cpu", { frozen: files, ownKernels });
  return { model, initializers, readByOthers: [...readByOthers] };
}

/** Makes a session while tiles are made. It may repack what lies in its tensors' data, which has to be there before. */
async function withValues(initializers: Readonly<Record<string, DeviceTensor>>, readByOthers: ReadonlySet<string>, create: () => Promise<Session>): Promise<Session> {
  const loads = { data: [], tiles: [] } as Record<"data" | "tiles", (Promise<void> | undefined)[]>;
  for (const [name, { load }] of Object.entries(initializers)) {
    const where = readByOthers.has(name) ? "data" : "tiles";
    loads[where].push(load?.(where));
  }
  const making = Promise.all(loads.data).then(create);
  // Also where one fails, the others no longer write into memory.
  await Promise.allSettled([...loads.data, ...loads.tiles, making]);
  try {
    await Promise.all(loads.tiles);
  } catch (error) {
    await making.then((session) => session.dispose(), () => {});
    throw error;
  }
  return making;
}

/** Runs a binding: on this thread, or while the event loop goes on. */
export async function runBinding(binding: Pick<Binding, "run" | "runSync">, blocking: boolean): Promise<void> {
  if (blocking) binding.runSync();
  else await binding.run();
}

/** The graph without those of the named inputs that no node reads. */
function withoutIdle(graph: Graph, names: { has(name: string): boolean }): Graph {
  const read = new Set(graph.nodes.flatMap(({ inputs }) => inputs));
  return { ...graph, inputs: graph.inputs.filter(([name, value]) => !names.has(name) || read.has(value)) };
}

type Types = Readonly<Record<string, TensorType>>;
type TensorsOf<T extends Types> = { readonly [K in keyof T]: DeviceTensor<T[K]["dtype"]> };

/** Tensors of the given types, zeroed. */
export function allocate<const T extends Types>(backend: Backend, types: T): TensorsOf<T> {
  return Object.fromEntries(Object.entries(types).map(([name, { shape, dtype }]) => [name, backend.tensor(dtype, shape as readonly number[])])) as TensorsOf<T>;
}

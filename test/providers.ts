import { openBackend, type Backend, type DeviceTensor, type Provider } from "../src/runtime/index.ts";
import { toOnnx } from "../src/onnx/lower.ts";
import type { Graph, NdArray } from "../src/tensor/index.ts";
import { concrete } from "../src/tensor/nd-array.ts";

/**
 * The providers that the tests run on. WebGPU joins where LONGJING_TEST_WEBGPU is set: it needs an adapter (Chromium's
 * SwiftShader will do), which a bare machine lacks.
 */
export const providersHere: readonly Provider[] = ["cpu", "wasm", ...(process.env.LONGJING_TEST_WEBGPU ? ["webgpu" as const] : [])];

/** The same, and the processor with our own kernels where there are any. */
export type Runner = Provider | "own";
export const runnersHere: readonly Runner[] = [...providersHere, ...((await (await openBackend("cpu")).hasOwnKernels()) ? ["own" as const] : [])];

const opened = new Map<Provider, Promise<Backend>>();
export function backend(provider: Provider): Promise<Backend> {
  const found = opened.get(provider) ?? openBackend(provider);
  opened.set(provider, found);
  return found;
}

function upload(on: Backend, { dtype, shape, data }: NdArray): DeviceTensor {
  const tensor = on.tensor(dtype, shape);
  if (tensor.data instanceof BigInt64Array) tensor.data.set(BigInt64Array.from(data, (v) => BigInt(v)));
  else tensor.data.set(data);
  return tensor;
}

/** Runs a graph once and reads back what it computed. */
export async function runGraph(graph: Graph, inputs: Readonly<Record<string, NdArray>>, runner: Runner, threads = 2): Promise<Record<string, NdArray>> {
  const on = await backend(runner === "own" ? "cpu" : runner);
  const session = await on.createSession(toOnnx(graph, runner === "webgpu" ? "webgpu" : "cpu", { ownKernels: runner === "own" }), { threads });
  const ins = Object.fromEntries(graph.inputs.map(([name]) => [name, upload(on, inputs[name]!)]));
  const outs = Object.fromEntries(graph.outputs.map(([name, v]) => [name, on.tensor(v.dtype, concrete(v.shape, name))]));
  const binding = session.bind(ins, outs);
  await binding.run();
  const read = Object.fromEntries(Object.entries(outs).map(([name, t]) => [name, { shape: t.shape, dtype: t.dtype, data: Float64Array.from(t.data as ArrayLike<number | bigint>, Number) }]));
  binding.dispose();
  session.dispose();
  return read;
}

import { causalAttention, paddedCausalMask } from "../src/nn/index.ts";
import { random } from "../src/random/index.ts";
import { compile, type Backend, type DeviceTensor } from "../src/runtime/index.ts";
import { gradients, mul, sumAll, type Graph, type Symbolic, type TensorType, type Value } from "../src/tensor/index.ts";

/** Sizes of a layer of causal attention, and the seed of its numbers. */
export interface CausalCase {
  readonly time: number;
  /** Keys before the first query. */
  readonly before: number;
  readonly lanes: number;
  readonly dim: number;
  readonly dimV: number;
  /** Parts of the mask; 0 for none. */
  readonly masks: number;
  readonly seed: number;
}
export type Tensors = Readonly<Record<string, DeviceTensor<"float32">>>;

export function causalInputs(backend: Backend, { time, before, lanes, dim, dimV, masks, seed }: CausalCase): Tensors {
  const stream = random(`attention ${seed}`);
  const keys = before + time;
  const real = (...shape: number[]): DeviceTensor<"float32"> => {
    const made = backend.tensor("float32", shape);
    made.data.set(Float32Array.from(made.data, () => stream.normal()));
    return made;
  };
  const inputs = { q: real(time, lanes, dim), k: real(keys, lanes, dim), v: real(keys, lanes, dimV), ct: real(time, lanes, dimV) };
  if (masks === 0) return inputs;
  // Padding comes first, and no query sees padding alone.
  const padding = Array.from({ length: masks }, () => stream.below(before + 1));
  const given = backend.tensor("float32", [masks, keys]);
  given.data.set(Float32Array.from(given.data, (_, at) => Number(at % keys >= padding[Math.floor(at / keys)]!)));
  return { ...inputs, given };
}

const layer = ({ q, k, v, ct, given }: Readonly<Record<string, Value>>): Record<string, Value> => {
  const mask = given && paddedCausalMask(q!.shape[0] as number, given);
  const y = causalAttention(q!, k!, v!, { scale: 0.3, blocks: 1, ...(mask && { mask }) });
  const [dq, dk, dv] = gradients(sumAll(mul(y, ct!)), [q!, k!, v!]) as [Value, Value, Value];
  return { y, dq, dk, dv };
};

/** The numbers of a layer and of its gradients. */
export async function runCausal(backend: Backend, inputs: Tensors, options: { readonly ownKernels: boolean; readonly threads?: number }): Promise<{ readonly graph: Graph; readonly outputs: Record<string, Float32Array> }> {
  const types = Object.fromEntries(Object.entries(inputs).map(([name, { shape, dtype }]): [string, TensorType] => [name, { shape, dtype }]));
  const program = await compile(backend, (v: Symbolic<Record<string, TensorType>>) => layer(v as Record<string, Value>), types, options);
  const outputs = Object.fromEntries(program.graph.outputs.map(([name, { shape }]) => [name, backend.tensor("float32", shape as number[])]));
  const binding = program.bind(inputs, outputs);
  await binding.run();
  binding.dispose();
  program.dispose();
  return { graph: program.graph, outputs: Object.fromEntries(Object.entries(outputs).map(([name, { data }]) => [name, data.slice()])) };
}

import { parameterSpecs, projectionGroups, type ModelConfig, type ParameterSpec } from "../model/index.ts";
import type { Backend, DeviceTensor } from "../runtime/index.ts";
import { newBlocks, openCheckpoint, regroupRowsBy, sameLayout, sliceRows, type Checkpoint, type GenerationConfig, type QuantizedBlocks } from "../weights/index.ts";
import type { ModelParameters, ParameterTensors, QuantizedTensors } from "./model-parameters.ts";

export interface LoadedModel<P = ParameterTensors> {
  readonly config: ModelConfig;
  readonly generationConfig: GenerationConfig | null;
  readonly specs: readonly ParameterSpec[];
  readonly parameters: P;
}

export interface LoadModelOptions {
  /** Of a frozen model. Default "auto". */
  readonly dtype?: ModelDtype | undefined;
  /** Also the next-token module of deepseek_v3, for guessing. Default false. */
  readonly mtp?: boolean;
}

/** Reads a Hugging Face folder or a GGUF file into tensors of the backend, float32 whatever the file holds. */
export const loadModel = (backend: Backend, path: string, options: LoadModelOptions = {}): Promise<LoadedModel> => load(path, options, (checkpoint, specs) => readAll(specs, (spec) => readFloat32(backend, checkpoint, [spec])));

/**
 * What products are computed in. `auto`: from the blocks that a file stores, where kernels take them, with activations that are
 * rounded to 8 bits. `float32`: nothing is rounded; blocks of 4 bits stay, others are widened, because their kernel is slow so.
 */
export type ModelDtype = "auto" | "float32";

/**
 * Reads a model to be run and not trained: matrices keep the blocks that a file stores them in, where kernels take them as they
 * are, and projections of the same rows become one.
 */
export const loadFrozenModel = (backend: Backend, path: string, options: LoadModelOptions = {}): Promise<LoadedModel<ModelParameters>> =>
  load(path, options, async (checkpoint, specs) => {
    const parameters: Record<string, DeviceTensor | QuantizedTensors> = {};
    const exact = options.dtype === "float32";
    for (const [name, parts] of projectionGroups(specs)) {
      const joined = await readJoined(backend, checkpoint, parts, exact);
      if (joined) parameters[name] = joined;
      // What does not join stands alone, and one part always joins.
      else for (const spec of parts) parameters[spec.name] = (await readJoined(backend, checkpoint, [spec], exact))!;
    }
    return parameters;
  });

type Source = Pick<Checkpoint, "read" | "blockLayout" | "readBlocks">;

/**
 * A model's parameters to train an adapter on, each by itself: matrices of linear layers that a file stores in blocks of 4 bits stay
 * in them, and products with them do not round activations, so that sampling and training are one policy; the rest is float32.
 */
export const readBaseParameters = (backend: Backend, checkpoint: Source, specs: readonly ParameterSpec[], { dtype }: LoadModelOptions = {}): Promise<ModelParameters> =>
  readAll<DeviceTensor | QuantizedTensors>(specs, async (spec) => (dtype !== "float32" && spec.quantizable ? (await readJoined(backend, checkpoint, [spec], true))! : readFloat32(backend, checkpoint, [spec])));

async function load<P>(path: string, options: LoadModelOptions, read: (checkpoint: Checkpoint, specs: readonly ParameterSpec[]) => Promise<P>): Promise<LoadedModel<P>> {
  const checkpoint = await openCheckpoint(path);
  try {
    const { config, generationConfig } = checkpoint;
    const specs = parameterSpecs(config, options);
    // Before memory is taken for them: a configuration may say anything.
    for (const { name, shape } of specs) checkpoint.info(name, shape);
    return { config, generationConfig, specs, parameters: await read(checkpoint, specs) };
  } finally {
    await checkpoint.close();
  }
}

async function readAll<T>(specs: readonly ParameterSpec[], read: (spec: ParameterSpec) => Promise<T>): Promise<Record<string, T>> {
  const all: Record<string, T> = {};
  for (const spec of specs) all[spec.name] = await read(spec);
  return all;
}

/** Matrices or vectors of equal columns, one below the other. */
async function readFloat32(backend: Backend, checkpoint: Source, parts: readonly ParameterSpec[]): Promise<DeviceTensor<"float32">> {
  const tensor = backend.tensor("float32", [rowsOf(parts), ...parts[0]!.shape.slice(1)]);
  let at = 0;
  for (const { name, shape } of parts) {
    const size = shape.reduce((a, b) => a * b, 1);
    await checkpoint.read(name, shape, tensor.data.subarray(at, at + size));
    at += size;
  }
  return tensor;
}

/** Parts as one; null where some are in blocks of a kind, and others are not. */
async function readJoined(backend: Backend, checkpoint: Source, parts: readonly ParameterSpec[], exact: boolean): Promise<DeviceTensor | QuantizedTensors | null> {
  const [layout, ...others] = parts.map(({ name }) => {
    const stored = checkpoint.blockLayout(name);
    return exact && stored?.bits === 8 ? null : stored;
  });
  if (!layout && others.every((other) => !other)) return readFloat32(backend, checkpoint, parts);
  if (!layout || !others.every((other) => other && sameLayout(other, layout))) return null;
  const stacked = newBlocks(layout, rowsOf(parts), parts[0]!.shape[1]!);
  const own = (await backend.hasOwnKernels()) ? backend.ownFunctions : null;
  let at = 0;
  for (const { name, shape } of parts) await checkpoint.readBlocks(name, shape, sliceRows(stacked, at, (at += shape[0]!)), own ? regroupRowsBy(own.regroupBlocks) : undefined);
  return { ...quantizedTensors(backend, stacked), exact };
}

const rowsOf = (parts: readonly ParameterSpec[]): number => parts.reduce((n, { shape }) => n + shape[0]!, 0);

/** Blocks as tensors over the same memory. */
export function quantizedTensors(backend: Backend, { rows, columns, bits, block_size, blocks, scales, offsets }: QuantizedBlocks): QuantizedTensors {
  const count = columns / block_size;
  return {
    blocks: backend.tensorOver("uint8", [rows, count, (block_size * bits) / 8], blocks),
    scales: backend.tensorOver("float32", [rows, count], scales),
    ...(offsets && { offsets: backend.tensorOver("float32", [rows, count], offsets) }),
    columns,
  };
}

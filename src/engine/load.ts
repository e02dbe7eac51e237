import { parameterSpecs, projectionGroups, type ModelConfig, type ParameterSpec } from "../model/index.ts";
import { eventLoopTurn } from "../runtime/event-loop.ts";
import type { Backend, DeviceTensor, LoadValues, OwnFunctions } from "../runtime/index.ts";
import { openCheckpoint, sameLayout, sliceRows, type BlockLayout, type Checkpoint, type GgufHeaderOptions, type QuantizedBlocks, type ReadRows } from "../weights/index.ts";
import type { ModelParameters, ParameterTensors, QuantizedTensors } from "./model-parameters.ts";
import { bytesOf, rowsOf, TensorMemory } from "./tensor-memory.ts";

export interface LoadedModel<P = ParameterTensors> {
  readonly config: ModelConfig;
  readonly specs: readonly ParameterSpec[];
  readonly parameters: P;
}

export interface LoadModelOptions {
  /** Of a frozen model. Default "auto". */
  readonly dtype?: ModelDtype | undefined;
  /** Also the next-token module of deepseek_v3, for guessing. Default false. */
  readonly mtp?: boolean;
  /** How much is read of what a GGUF file says of its texts. Default: nothing. */
  readonly vocabulary?: GgufHeaderOptions["vocabulary"];
}

/** Reads a Hugging Face folder or a GGUF file into tensors of the backend, float32 whatever the file holds. */
export async function loadModel(backend: Backend, path: string, options: LoadModelOptions = {}): Promise<LoadedModel> {
  return load(path, options, (checkpoint, all) => readAll(all, (spec) => readFloat32(backend, checkpoint, spec)));
}

/**
 * What products are computed in. `auto`: from the blocks that a file stores, where kernels take them, with activations that are
 * rounded to 8 bits. `float32`: nothing is rounded; blocks of 4 bits stay, others are widened, because their kernel is slow so.
 */
export type ModelDtype = "auto" | "float32";

/** A model to be run, and what its files say beside its parameters. */
export interface FrozenModel extends LoadedModel<ModelParameters>, Pick<Checkpoint, "generationConfig" | "metadata"> {}

/**
 * Opens a model to be run and not trained: matrices keep the blocks that a file stores them in, where kernels take them as they
 * are, and projections of the same rows become one. Of a GGUF file, what a program needs is read when it is compiled, if our own kernels
 * are there: they make their tiles of a matrix straight from it, and are done before long.
 * @param opening where it will run; the header is read while that is being opened
 */
export async function loadFrozenModel(opening: Backend | Promise<Backend>, path: string, options: LoadModelOptions = {}): Promise<FrozenModel> {
  const exact = options.dtype === "float32";
  const model = await load(path, options, async (checkpoint, specs) => {
    const backend = await opening;
    const own = (await backend.hasOwnKernels()) ? backend.ownFunctions() : null;
    const groups = Array.from(projectionGroups(specs))
      .flatMap(([name, parts]) => (joins(checkpoint, parts, exact) ? [{ name, parts }] : parts.map((part) => ({ name: part.name, parts: [part] }))))
      .map((group) => ({ ...group, layout: layoutOf(checkpoint, group.parts[0]!, exact) }));
    const memory = new TensorMemory(backend, groups.reduce((n, { parts, layout }) => n + bytesOf(parts, layout), 0), "sparse");
    const later = own && checkpoint.reopen ? readingLater(checkpoint.reopen, checkpoint.close) : null;
    const parameters: Record<string, DeviceTensor | QuantizedTensors> = {};
    for (const { name, parts, layout } of groups) {
      const { tensors, read } = layOut(memory, checkpoint, parts, layout, { exact, own, ...(later && { later }) });
      parameters[name] = tensors;
      if (!later) await read("data");
    }
    memory.leave();
    return parameters;
  });
  // Every program looks tokens up in it: it comes while the first is being made, which is told where it cannot.
  const embedding = model.parameters["model.embed_tokens.weight"];
  if (embedding) ("blocks" in embedding ? embedding.blocks : embedding).load?.("blocks" in embedding && !embedding.exact ? "tiles" : "data").catch(() => {});
  await eventLoopTurn(); // or it would be asked for when that is made
  return model;
}

/** Opens a closed checkpoint while somebody reads it. */
function readingLater(reopen: () => Promise<void>, close: () => Promise<void>): (read: LoadValues) => LoadValues {
  let readers = 0;
  let ready: Promise<unknown> = Promise.resolve();
  const whileOpen = async (read: () => Promise<void>): Promise<void> => {
    if (readers++ === 0) ready = ready.then(reopen);
    const opened = ready;
    try {
      await opened;
      await read();
    } finally {
      if (--readers === 0) ready = opened.then(close, () => {});
    }
  };
  return (read) => {
    let data: Promise<void> | undefined;
    let tiles: Promise<void> | undefined;
    // Of data that are there, products make tiles themselves.
    return (where) => (where === "data" ? (data ??= whileOpen(() => read("data"))) : (tiles ??= data ?? whileOpen(() => read("tiles"))));
  };
}

/** Also where one fails, the others no longer read the file or write into memory. */
async function allEnded(work: readonly Promise<unknown>[]): Promise<void> {
  await Promise.allSettled(work);
  await Promise.all(work);
}

type Source = Pick<Checkpoint, "read" | "blockLayout" | "readBlocks">;

/**
 * A model's parameters to train an adapter on, each by itself: matrices of linear layers that a file stores in blocks of 4 bits stay
 * in them, and products with them do not round activations, so that sampling and training are one policy; the rest is float32.
 */
export const readBaseParameters = (backend: Backend, checkpoint: Source, specs: readonly ParameterSpec[], { dtype }: LoadModelOptions = {}): Promise<ModelParameters> =>
  readAll(specs, async (spec) => {
    if (dtype === "float32" || !spec.quantizable) return readFloat32(backend, checkpoint, spec);
    const layout = layoutOf(checkpoint, spec, true);
    const memory = new TensorMemory(backend, bytesOf([spec], layout), "sparse");
    const { tensors, read } = layOut(memory, checkpoint, [spec], layout, { exact: true, own: null });
    memory.leave();
    await read("data");
    return tensors;
  });

/** Closes the file when all is read. */
async function load<P>(path: string, options: LoadModelOptions, read: (checkpoint: Checkpoint, specs: readonly ParameterSpec[]) => Promise<P>): Promise<LoadedModel<P> & Pick<Checkpoint, "generationConfig" | "metadata">> {
  const checkpoint = await openCheckpoint(path, { vocabulary: options.vocabulary ?? "none" });
  try {
    const { config, generationConfig, metadata } = checkpoint;
    const specs = parameterSpecs(config, options);
    // Before memory is taken for them: a configuration may say anything.
    for (const { name, shape } of specs) checkpoint.info(name, shape);
    return { config, generationConfig, ...(metadata && { metadata }), specs, parameters: await read(checkpoint, specs) };
  } finally {
    await checkpoint.close();
  }
}

async function readAll<T>(specs: readonly ParameterSpec[], read: (spec: ParameterSpec) => Promise<T>): Promise<Record<string, T>> {
  const all: Record<string, T> = {};
  for (const spec of specs) all[spec.name] = await read(spec);
  return all;
}

async function readFloat32(backend: Backend, checkpoint: Source, spec: ParameterSpec): Promise<DeviceTensor<"float32">> {
  const tensor = backend.tensor("float32", spec.shape);
  await fillFloat32(tensor.data, checkpoint, [spec]);
  return tensor;
}

/** Matrices or vectors of equal columns, one below the other. */
async function fillFloat32(data: Float32Array, checkpoint: Source, parts: readonly ParameterSpec[]): Promise<void> {
  let at = 0;
  for (const { name, shape } of parts) {
    const size = shape.reduce((a, b) => a * b, 1);
    await checkpoint.read(name, shape, data.subarray(at, at + size));
    at += size;
  }
}

const layoutOf = (checkpoint: Source, { name }: ParameterSpec, exact: boolean): BlockLayout | null => {
  const layout = checkpoint.blockLayout(name);
  return exact && layout?.bits === 8 ? null : layout;
};

/** Whether all are in blocks of a kind, or none is in blocks. */
function joins(checkpoint: Source, parts: readonly ParameterSpec[], exact: boolean): boolean {
  const [first, ...others] = parts.map((part) => layoutOf(checkpoint, part, exact));
  return others.every((other) => (first && other ? sameLayout(first, other) : first === other));
}

interface Reading {
  readonly exact: boolean;
  readonly own: OwnFunctions | null;
  /** Makes values come when they are asked for. Absent: the caller reads them. */
  readonly later?: ReturnType<typeof readingLater>;
}

/** Memory for parts that join, one below the other, and how it gets its values. */
function layOut(memory: TensorMemory, checkpoint: Source, parts: readonly ParameterSpec[], layout: BlockLayout | null, { exact, own, later }: Reading): { readonly tensors: DeviceTensor | QuantizedTensors; readonly read: LoadValues } {
  if (!layout) {
    const read: LoadValues = () => fillFloat32(tensors.data, checkpoint, parts);
    const tensors = memory.float32([rowsOf(parts), ...parts[0]!.shape.slice(1)], later?.(read));
    return { tensors, read };
  }
  const read: LoadValues = (where) => fillBlocks(stacked, checkpoint, parts, own, where === "tiles");
  const { stacked, tensors } = memory.blocks(layout, rowsOf(parts), parts[0]!.shape[1]!, later?.(read));
  return { tensors: { ...tensors, exact }, read };
}

function fillBlocks(stacked: QuantizedBlocks, checkpoint: Source, parts: readonly ParameterSpec[], own: OwnFunctions | null, inTiles: boolean): Promise<void> {
  const tilesOf = inTiles ? stacked : undefined;
  const readRows: ReadRows | undefined = own ? (type, from, places, { columns, blocks, scales, offsets }) => own.readBlocks({ type, ...from, columns, places, blocks, scales, offsets, tilesOf }) : undefined;
  let at = 0;
  return allEnded(parts.map(({ name, shape }) => checkpoint.readBlocks(name, shape, sliceRows(stacked, at, (at += shape[0]!)), readRows)));
}

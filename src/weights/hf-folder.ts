import { join } from "node:path";
import { LongjingError } from "../errors/index.ts";
import { parseConfig } from "../model/config.ts";
import { fp8BlockSize, packedScheme, type PackedScheme } from "../model/quantization-config.ts";
import { checkLength, checkShape } from "./checkpoint.ts";
import type { Checkpoint, CheckpointTensor, StoredAs } from "./checkpoint.ts";
import { listFolder, openFileSource, readJson } from "./files.ts";
import { blockGrid, scaleBlocks } from "./fp8.ts";
import type { BlockSize } from "./fp8.ts";
import { parseGenerationConfig } from "./generation-config.ts";
import { dequantizeBlocks, packedBlocks, packedLayout, packedShape, type PackedParts } from "./packed.ts";
import type { QuantizedBlocks } from "./quantized-blocks.ts";
import { openSafetensors } from "./safetensors.ts";
import { unknownType } from "./safetensors-header.ts";
import type { Safetensors, TensorInfo } from "./safetensors.ts";

const largestConfig = 2 ** 24;
const largestIndex = 2 ** 26;
export const weightsFile = "model.safetensors";
export const indexFile = "model.safetensors.index.json";

/**
 * Opens a folder with `config.json` and weights in `model.safetensors`, or in the shards that
 * `model.safetensors.index.json` names.
 * @throws LongjingError "not_found", "bad_file", "bad_config", "unsupported" (pickled weights, another architecture)
 */
export async function openFolder(dir: string): Promise<Checkpoint> {
  const files = await listFolder(dir);
  if (files.includes("adapter_config.json") && !files.includes("config.json")) {
    throw new LongjingError("unsupported", "The folder holds an adapter, not a model", { where: dir, expected: "config.json and weights", hint: "Open the model that it was trained on, and give this folder as --adapter" });
  }
  const configPath = join(dir, "config.json");
  const json = await readJson(configPath, largestConfig);
  const config = parseConfig(json, configPath);
  const generationPath = join(dir, "generation_config.json");
  const generationConfig = files.includes("generation_config.json")
    ? parseGenerationConfig(await readJson(generationPath, largestConfig), generationPath)
    : null;
  const tensors = await openWeights(dir, files, { block: fp8BlockSize(json, configPath), scheme: packedScheme(json, configPath) });
  const find = (name: string): Place => {
    const place = tensors.places.get(name);
    if (place !== undefined) return place;
    const unknown = tensors.unknown.get(name);
    if (unknown !== undefined) throw unknownType(unknown.dtype, `${unknown.path}: ${name}`);
    throw new LongjingError("not_found", "The checkpoint has no such tensor", { got: name, where: dir });
  };
  const info: Checkpoint["info"] = (name, shape) => {
    const place = find(name);
    checkShape(place.info.shape, shape, `${place.path}: ${name}`);
    return place.info;
  };
  return {
    path: dir,
    config,
    generationConfig,
    names: [...tensors.places.keys()].toSorted(),
    info,
    read: async (name, shape, into) => readTensor(find(name), info(name, shape), into),
    blockLayout: (name) => {
      const { packed } = find(name);
      return packed ? packedLayout(packed.scheme) : null;
    },
    readBlocks: async (name, shape, into) => {
      info(name, shape);
      const { packed } = find(name);
      if (!packed) return null;
      const read = await readPacked(packed);
      if (!into) return read;
      into.blocks.set(read.blocks);
      into.scales.set(read.scales);
      if (read.offsets) into.offsets?.set(read.offsets);
      return into;
    },
    close: tensors.close,
  };
}

interface Place {
  readonly file: Safetensors;
  readonly path: string;
  /** Its name in the file. */
  readonly key: string;
  readonly info: TensorInfo;
  /** Of a matrix of FP8: a scale for each block. */
  readonly scales?: { readonly place: Place; readonly block: BlockSize };
  readonly packed?: Packed;
}

/** A matrix of integers, in tensors of a file beside each other. */
interface Packed extends PackedParts<string> {
  readonly file: Safetensors;
  readonly shape: readonly [rows: number, columns: number];
  readonly scheme: PackedScheme;
}

/** How the matrices of a folder are quantised, if they are. */
interface Quantization {
  readonly block: BlockSize | null;
  readonly scheme: PackedScheme | null;
}

interface Weights {
  readonly places: ReadonlyMap<string, Place>;
  /** Tensors of element types that we do not know. */
  readonly unknown: ReadonlyMap<string, { readonly dtype: string; readonly path: string }>;
  close(): Promise<void>;
}

async function openWeights(dir: string, files: readonly string[], quantization: Quantization): Promise<Weights> {
  if (files.includes(weightsFile)) return openShards(dir, [weightsFile], null, quantization);
  if (!files.includes(indexFile)) throw noWeights(dir, files);
  const index = readIndex(await readJson(join(dir, indexFile), largestIndex), join(dir, indexFile));
  return openShards(dir, [...new Set(index.values())], index, quantization);
}

/** `index` says in which file each tensor is; null: all are in the one. */
async function openShards(
  dir: string,
  names: readonly string[],
  index: ReadonlyMap<string, string> | null,
  { block, scheme }: Quantization,
): Promise<Weights> {
  const shards = new Map<string, Safetensors>();
  const close = async (): Promise<void> => {
    for (const shard of shards.values()) await shard.close();
  };
  try {
    for (const name of names) shards.set(name, await openFile(join(dir, name)));
    const places = new Map<string, Place>();
    const unknown = new Map<string, { dtype: string; path: string }>();
    for (const [tensor, name] of index ?? allIn(names, shards)) {
      const file = shards.get(name);
      const info = file?.tensors.get(tensor);
      const path = join(dir, name);
      const dtype = file?.unknown.get(tensor);
      if (dtype !== undefined) {
        unknown.set(tensor, { dtype, path });
        continue;
      }
      if (file === undefined || info === undefined) {
        throw new LongjingError("bad_file", "The index names a tensor that its file does not have", {
          got: tensor,
          where: path,
        });
      }
      places.set(tensor, { file, path, key: tensor, info });
    }
    const named = withPrefix(places);
    return { places: withScales(scheme === null ? named : withPacked(named, scheme), block), unknown, close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** A base model that was saved by itself has no prefix: transformers' `AutoModel` is what its `AutoModelForCausalLM` calls `model`. */
function withPrefix(places: ReadonlyMap<string, Place>): ReadonlyMap<string, Place> {
  if (!places.has("embed_tokens.weight") || [...places.keys()].some((name) => name.startsWith("model."))) return places;
  return new Map(Array.from(places, ([name, place]) => [name.startsWith("lm_head.") ? name : `model.${name}`, place]));
}

const scaleSuffix = "_scale_inv";

/**
 * Joins each matrix of FP8 with its scales, which then are no tensors of their own.
 * @param block as config.json says it; null: as the scales' shapes say, or there are none and the codes are the values
 */
function withScales(places: ReadonlyMap<string, Place>, block: BlockSize | null): ReadonlyMap<string, Place> {
  const joined = new Map<string, Place>();
  for (const [name, place] of places) {
    const where = `${place.path}: ${name}`;
    if (name.endsWith(scaleSuffix)) {
      if (!isFp8(places.get(name.slice(0, -scaleSuffix.length)))) throw new LongjingError("bad_file", "These are scales of no matrix in FP8", { where });
      continue;
    }
    const scales = isFp8(place) ? places.get(name + scaleSuffix) : undefined;
    if (scales !== undefined) joined.set(name, { ...place, scales: { place: scales, block: blockOf(place, scales, block, where) } });
    else if (isFp8(place) && block !== null) throw new LongjingError("bad_file", "A matrix of FP8 has no scales", { expected: name + scaleSuffix, where });
    else if (isFp8(place) && places.has(`${name}_scale`)) throw new LongjingError("unsupported", "A matrix of FP8 has scales of another kind", { got: `${name}_scale`, expected: name + scaleSuffix, where });
    else joined.set(name, place);
  }
  return joined;
}

const isFp8 = (place: Place | undefined): boolean => place?.info.dtype === "F8_E4M3" || place?.info.dtype === "F8_E5M2";

function blockOf({ info: { shape } }: Place, { info: { shape: grid }, path, key }: Place, said: BlockSize | null, where: string): BlockSize {
  if (said !== null) {
    checkShape(grid, blockGrid(shape, said), `${path}: ${key}`);
    return said;
  }
  // One scale, or one for each row or column, leaves no question; blocks between would be a guess.
  const [rows, columns] = shape.map((size, axis) => (grid.every((count) => count === 1) || grid[axis] === 1 ? size : grid[axis] === size ? 1 : undefined));
  if (shape.length === 2 && (grid.length === 2 || grid.every((count) => count === 1)) && rows !== undefined && columns !== undefined) return [rows, columns];
  throw new LongjingError("unsupported", "Nothing says how large the blocks are that share a scale", { got: grid, where, hint: 'Say it in config.json: "quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}' });
}

const [packedSuffix, ...partSuffixes] = ["_packed", "_scale", "_zero_point", "_shape"] as const;

/** Joins the parts of each packed matrix, which is then one tensor under the name that it has in other folders. */
function withPacked(places: ReadonlyMap<string, Place>, scheme: PackedScheme): ReadonlyMap<string, Place> {
  const joined = new Map<string, Place>();
  for (const [name, place] of places) {
    const matrix = name.slice(0, -packedSuffix.length);
    const part = partSuffixes.find((suffix) => name.endsWith(`.weight${suffix}`));
    if (part !== undefined && places.has(name.slice(0, -part.length) + packedSuffix)) continue;
    if (!name.endsWith(`.weight${packedSuffix}`)) {
      joined.set(name, place);
      continue;
    }
    const [scale, zero] = [places.get(`${matrix}_scale`), places.get(`${matrix}_zero_point`)];
    const where = `${place.path}: ${matrix}`;
    if (scale === undefined || scale.file !== place.file || (zero !== undefined && zero.file !== place.file)) throw new LongjingError("bad_file", "A packed matrix lacks its scales, or they are in another file", { expected: `${matrix}_scale`, where });
    const shape = packedShape({ packed: place.info, scale: scale.info, zero: zero?.info ?? null }, scheme, where);
    const parts = { packed: place.key, scale: scale.key, zero: zero?.key ?? null };
    joined.set(matrix, { ...place, info: { ...place.info, shape }, packed: { file: place.file, shape, scheme, ...parts } });
  }
  return joined;
}

async function readPacked({ file, shape, scheme, packed, scale, zero }: Packed): Promise<QuantizedBlocks> {
  const parts = { packed: await file.read(packed), scale: await file.read(scale), zero: zero === null ? null : await file.read(zero) };
  return packedBlocks(parts, await file.readFloat32(scale), shape, scheme);
}

function* allIn(
  names: readonly string[],
  shards: ReadonlyMap<string, Safetensors>,
): Generator<[tensor: string, name: string]> {
  for (const name of names) for (const of of [shards.get(name)?.tensors, shards.get(name)?.unknown]) for (const tensor of of?.keys() ?? []) yield [tensor, name];
}

async function openFile(path: string): Promise<Safetensors> {
  const source = await openFileSource(path);
  try {
    return await openSafetensors(source);
  } catch (error) {
    await source.close();
    throw error;
  }
}

/** A plain file name: an index must not lead out of its folder. */
const shardName = /^[^./\\\0][^/\\\0]*\.safetensors$/;

function readIndex(json: unknown, where: string): ReadonlyMap<string, string> {
  const map = (json as { weight_map?: unknown } | null)?.weight_map;
  if (typeof map !== "object" || map === null || Array.isArray(map)) {
    throw new LongjingError("bad_file", "The index has no weight_map", { expected: "an object of tensor to file", where });
  }
  const index = new Map<string, string>();
  for (const [tensor, file] of Object.entries(map)) {
    if (typeof file !== "string" || !shardName.test(file)) {
      throw new LongjingError("bad_file", "A shard is not a file of this folder", {
        got: typeof file === "string" ? file : typeof file,
        expected: "NAME.safetensors",
        where: `${where}: ${tensor}`,
      });
    }
    index.set(tensor, file);
  }
  return index;
}

function noWeights(dir: string, files: readonly string[]): LongjingError {
  const pickle = files.find((file) => /\.(bin|pt|pth|ckpt|pkl)$/.test(file));
  if (pickle === undefined) {
    return new LongjingError("not_found", "The folder has no weights", {
      expected: `${weightsFile} or ${indexFile}`,
      where: dir,
    });
  }
  return new LongjingError("unsupported", "Pickled weights can run code when they are read", {
    got: pickle,
    expected: weightsFile,
    where: dir,
    hint: "Save the model as safetensors: model.save_pretrained(folder, safe_serialization=True).",
  });
}

async function readTensor({ file, key, scales, packed }: Place, { shape, dtype }: StoredAs, into: Float32Array | undefined): Promise<CheckpointTensor> {
  if (packed) {
    if (into) checkLength(into, packed.shape[0] * packed.shape[1], key);
    return { shape, dtype, data: dequantizeBlocks(await readPacked(packed), into) };
  }
  const data = await file.readFloat32(key, into);
  if (scales) scaleBlocks(data, shape, await scales.place.file.readFloat32(scales.place.key), scales.block);
  return { shape, dtype, data };
}

import { LongjingError } from "../errors/index.ts";
import type { ModelConfig } from "../model/config.ts";
import { parameterSpecs } from "../model/parameters.ts";
import type { ParameterSpec } from "../model/parameters.ts";
import type { ByteSource } from "./byte-source.ts";
import { checkLength, checkShape } from "./checkpoint.ts";
import type { Checkpoint, StoredAs } from "./checkpoint.ts";
import { configFromGguf, generationConfigFromGguf } from "./gguf-config.ts";
import { ggufPlace } from "./gguf-names.ts";
import type { GgufHeaderOptions } from "./gguf-header.ts";
import { openGguf } from "./gguf.ts";
import type { Gguf, GgufTensorInfo } from "./gguf.ts";
import { ggufBlockLayout, newBlocks, regroupRows, type BlockLayout, type QuantizedBlocks, type ReadRows } from "./quantized-blocks.ts";

const ropeFactors = "rope_freqs.weight";

/**
 * A GGUF file as a checkpoint: configuration from its metadata, parameters under their names and in the row order of a
 * Hugging Face folder. Closes the source when it fails.
 * @throws LongjingError "bad_file", "bad_config", "unsupported" (another architecture, rotation or type of block; one shard of several)
 */
export async function openGgufCheckpoint(source: ByteSource, options: GgufHeaderOptions = { vocabulary: "tokens" }): Promise<Checkpoint> {
  try {
    const file = await openGguf(source, options);
    refuseShard(file);
    const config = configFromGguf(file, file.tensors.has(ropeFactors) ? await file.readFloat32(ropeFactors) : null);
    const specs = parameterSpecs(config);
    refuseLeftOver(file, config, specs);
    const parts = new Map(specs.flatMap((spec) => partsOf(file, config, spec)));
    const find = (name: string): Part => {
      const part = parts.get(name);
      if (part !== undefined) return part;
      throw new LongjingError("not_found", "The checkpoint has no such tensor", { got: name, expected: ggufPlace(name)?.tensor, where: file.label });
    };
    const info: Checkpoint["info"] = (name, shape) => {
      const { stored } = find(name);
      checkShape(stored.shape, shape, `${file.label}: ${name}`);
      return stored;
    };
    return {
      path: file.label,
      config,
      metadata: file.metadata,
      generationConfig: generationConfigFromGguf(file, config),
      names: [...parts.keys()].toSorted(),
      info,
      blockLayout: (name) => find(name).blocks?.layout ?? null,
      readBlocks: async (name, shape, into, readRows) => {
        info(name, shape);
        const { blocks } = find(name);
        return blocks ? blocks.read(into, readRows) : null;
      },
      read: async (name, shape, into) => ({ shape: info(name, shape).shape, dtype: info(name).dtype, data: await find(name).read(into) }),
      close: file.close,
      reopen: file.reopen,
    };
  } catch (error) {
    await source.close();
    throw error;
  }
}

function refuseShard({ metadata, label }: Gguf): void {
  const count = Number(metadata.get("split.count") ?? 1);
  if (count > 1) throw new LongjingError("unsupported", "The file is one shard of a model", { got: `${count} shards`, expected: "one file", where: label, hint: "Merge them first: llama-gguf-split --merge FIRST-SHARD.gguf WHOLE.gguf" });
}

interface Part {
  readonly stored: StoredAs;
  readonly read: (into?: Float32Array) => Promise<Float32Array>;
  /** Of a matrix that has a layout. */
  readonly blocks?: { readonly layout: BlockLayout; readonly read: (into?: QuantizedBlocks, readRows?: ReadRows) => Promise<QuantizedBlocks> } | undefined;
}

/** @throws LongjingError "unsupported" for a tensor of the language model that no parameter takes: without it, other numbers come out */
function refuseLeftOver({ tensors, label }: Gguf, { num_hidden_layers }: ModelConfig, specs: readonly ParameterSpec[]): void {
  const taken = new Set(specs.flatMap(({ name }) => [ggufPlace(name)?.tensor, ...Object.values(splitLatent(name) ?? {})]));
  const guesses = (layer: number): boolean => layer >= num_hidden_layers && tensors.has(`blk.${layer}.nextn.eh_proj.weight`);
  for (const name of tensors.keys()) {
    const layer = /^blk\.(\d+)\./.exec(name)?.[1];
    if (taken.has(name) || name === ropeFactors || !/^(?:blk\.|output|token_embd|rope_)/.test(name) || (layer !== undefined && guesses(Number(layer)))) continue;
    throw new LongjingError("unsupported", "The model has a tensor that is not computed with", { got: name, expected: "tensors of its architecture alone", where: label });
  }
}

/** The parameter with its name, or nothing when the file lacks it. Biases may be missing where others are there: zeros. */
function partsOf(file: Gguf, config: ModelConfig, { name, shape: size }: ParameterSpec): [string, Part][] {
  const place = ggufPlace(name);
  const info = place === null ? undefined : file.tensors.get(place.tensor);
  if (place !== null && info === undefined && name.endsWith("bias")) return [[name, zeros(size)]];
  if (place === null || info === undefined) return joinedPart(file, name);
  const { tensor, expert } = place;
  const blocks = (entries?: readonly [number, number], place?: (row: number) => number): Part["blocks"] => {
    const [rows = 0, columns, ...more] = info.shape.slice(entries ? 1 : 0);
    const layout = ggufBlockLayout(info.dtype);
    if (layout === null || columns === undefined || more.length > 0) return undefined;
    const read = async (into = newBlocks(layout, rows, columns), readRows?: ReadRows): Promise<QuantizedBlocks> => {
      const from = readRows && file.placeOf(tensor, entries);
      const done = from && (await readRows(info.dtype, from, placesOf(rows, place), into));
      // A file that ends early is told so here.
      if (!done) await file.eachRows(tensor, (bytes, first) => regroupRows(info.dtype, bytes, into, first, place), entries);
      return into;
    };
    return { layout, read };
  };
  if (expert === undefined) {
    const heads = permutedHeads(config, name);
    const read: Part["read"] = (into) => file.readFloat32(tensor, { into });
    if (heads === null) return [[name, { stored: info, read, blocks: blocks() }]];
    const [rows = 0] = info.shape;
    return [[name, { stored: info, read: async (into) => unpermute(await read(), heads, rows, into), blocks: blocks(undefined, (row) => restoredRow(row, rows / heads)) }]];
  }
  const [count = 0, ...shape] = info.shape;
  if (expert >= count) return [];
  return [[name, { stored: { shape, dtype: info.dtype }, read: (into) => file.readFloat32(tensor, { entries: [expert, expert + 1], into }), blocks: blocks([expert, expert + 1]) }]];
}

function placesOf(rows: number, place: ((row: number) => number) | undefined): Int32Array {
  const places = new Int32Array(rows);
  for (let row = 0; row < rows; row++) places[row] = place ? place(row) : row;
  return places;
}

function zeros(shape: readonly number[]): Part {
  const length = shape.reduce((product, size) => product * size, 1);
  return {
    stored: { shape, dtype: "F32" },
    read: async (into = new Float32Array(length)) => {
      checkLength(into, length, "a bias");
      return into.fill(0);
    },
  };
}

/** llama.cpp rotates pairs (2i, 2i + 1) for this architecture, so its converter has moved the two halves of q and k together. */
function permutedHeads(config: ModelConfig, name: string): number | null {
  if (config.model_type !== "llama") return null;
  if (/\.q_proj\.\w+$/.test(name)) return config.num_attention_heads;
  return /\.k_proj\.\w+$/.test(name) ? config.num_key_value_heads : null;
}

/** Where row (head, pair, half) is among rows (head, half, pair). */
function restoredRow(row: number, dim: number): number {
  const within = row % dim;
  return row - within + (within % 2) * (dim / 2) + Math.floor(within / 2);
}

/** Rows (head, pair, half) → (head, half, pair). */
function unpermute(from: Float32Array, heads: number, rows: number, to: Float32Array = new Float32Array(from.length)): Float32Array {
  const width = from.length / rows;
  for (let row = 0; row < rows; row++) to.set(from.subarray(row * width, (row + 1) * width), restoredRow(row, rows / heads) * width);
  return to;
}

function splitLatent(name: string): { readonly keys: string; readonly values: string } | null {
  const layer = /^model\.layers\.(\d+)\.self_attn\.kv_b_proj\.weight$/.exec(name)?.[1];
  return layer === undefined ? null : { keys: `blk.${layer}.attn_k_b.weight`, values: `blk.${layer}.attn_v_b.weight` };
}

/** MLA's kv_b, which newer files split in two and of which they transpose the keys' half, so that it can be absorbed. */
function joinedPart(file: Gguf, name: string): [string, Part][] {
  const split = splitLatent(name);
  if (split === null) return [];
  const { keys, values } = split;
  const [k, v] = [file.tensors.get(keys), file.tensors.get(values)];
  if (k === undefined || v === undefined) return [];
  const [heads, rank, nope] = matrices(k, `${file.label}: ${keys}`);
  const [, valueDim] = matrices(v, `${file.label}: ${values}`);
  checkShape(v.shape, [heads, valueDim, rank], `${file.label}: ${values}`);
  const stored: StoredAs = { shape: [heads * (nope + valueDim), rank], dtype: k.dtype };
  return [[name, { stored, read: async (into) => joinHeads(await file.readFloat32(keys), await file.readFloat32(values), { heads, rank, nope, valueDim }, into) }]];
}

function matrices(info: GgufTensorInfo, where: string): readonly [number, number, number] {
  const [heads, rows, columns, ...more] = info.shape;
  if (heads !== undefined && rows !== undefined && columns !== undefined && more.length === 0) return [heads, rows, columns];
  throw new LongjingError("shape_mismatch", "The tensor has another shape", { got: info.shape, expected: "a matrix for each head", where });
}

interface HeadSizes {
  readonly heads: number;
  readonly rank: number;
  readonly nope: number;
  readonly valueDim: number;
}

/** [heads, rank, nope] and [heads, valueDim, rank] → [heads · (nope + valueDim), rank]. */
function joinHeads(keys: Float32Array, values: Float32Array, { heads, rank, nope, valueDim }: HeadSizes, joined: Float32Array = new Float32Array(keys.length + values.length)): Float32Array {
  for (let head = 0; head < heads; head++) {
    const to = head * (nope + valueDim) * rank;
    for (let r = 0; r < rank; r++) for (let i = 0; i < nope; i++) joined[to + i * rank + r] = keys[(head * rank + r) * nope + i]!;
    joined.set(values.subarray(head * valueDim * rank, (head + 1) * valueDim * rank), to + nope * rank);
  }
  return joined;
}

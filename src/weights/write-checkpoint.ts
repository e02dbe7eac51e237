import { join } from "node:path";
import { LongjingError } from "../errors/index.ts";
import { configToText } from "../model/config.ts";
import type { ModelConfig, WeightDtype } from "../model/config.ts";
import { writeFolder, writeNewFile } from "./files.ts";
import { indexFile, weightsFile } from "./hf-folder.ts";
import { safetensorsPieces } from "./safetensors.ts";
import type { TensorToWrite } from "./safetensors.ts";
import { elementBytes } from "./safetensors-header.ts";

export interface CheckpointToWrite {
  readonly config: ModelConfig;
  readonly tensors: Iterable<{ readonly name: string; readonly shape: readonly number[]; readonly data: Float32Array }>;
  /** What `tensors` are written as, whatever they were read from. */
  readonly dtype: WeightDtype;
  /** Tensors to be written as they are: quantised ones. */
  readonly stored?: Iterable<TensorToWrite>;
  /** For config.json, when there are such. */
  readonly quantization_config?: Readonly<Record<string, unknown>>;
  /** Most bytes of tensors in one file. Default 5e9, as on the hub. */
  readonly maxShardBytes?: number;
  /** name → content of other files of the folder: tokenizer, generation_config.json, model card. */
  readonly extraFiles?: Readonly<Record<string, string | Uint8Array>>;
  /** Replaces a folder that is not empty. Default false. */
  readonly overwrite?: boolean;
}

/**
 * Writes a Hugging Face folder that transformers, vLLM and `openCheckpoint` read. Equal content gives equal bytes. The folder
 * appears all at once, when everything in it is on the disk.
 * @throws LongjingError "conflict" when the folder is not empty; "unsupported" for a weight beyond float16, where it is written so;
 *   "bad_argument"; "disk"
 */
export async function writeCheckpoint(dir: string, checkpoint: CheckpointToWrite): Promise<void> {
  const { config, dtype, stored = [], quantization_config, maxShardBytes = 5e9, extraFiles = {}, overwrite = false } = checkpoint;
  const files = new Map<string, Iterable<Uint8Array>>([["config.json", [encode(configToText(config, dtype, quantization_config && { quantization_config }))]]]);
  const tensors = [...Array.from(checkpoint.tensors, (tensor) => withDtype(tensor, dtype)), ...stored];
  tensors.forEach(refuseOverflow);
  const shards = packShards(tensors, maxShardBytes);
  const shardNames = shards.map((_, i) => (shards.length === 1 ? weightsFile : shardName(i, shards.length)));
  shards.forEach((shard, i) => files.set(shardNames[i] as string, safetensorsPieces(shard)));
  if (shards.length > 1) files.set(indexFile, [encode(indexText(shards, shardNames))]);
  for (const [name, content] of Object.entries(extraFiles)) {
    if (files.has(name) || !plainName.test(name)) {
      throw new LongjingError("bad_argument", "An extra file may not have this name", {
        got: name,
        expected: "a new name in the folder",
      });
    }
    files.set(name, [typeof content === "string" ? encode(content) : content]);
  }
  await writeFolder(dir, overwrite, async (folder) => {
    for (const [name, pieces] of files) await writeNewFile(join(folder, name), pieces);
  });
}

const plainName = /^[^./\\\0][^/\\\0]*$/;
const encode = (text: string): Uint8Array => new TextEncoder().encode(text);
const bytesOf = (tensor: TensorToWrite): number => tensor.data.length * elementBytes[tensor.dtype];

const storedAs = { float32: "F32", bfloat16: "BF16", float16: "F16" } as const;

/** The router's bias moves by steps that 16 bits lose; every implementation keeps it in float32. */
function withDtype(
  tensor: { name: string; shape: readonly number[]; data: Float32Array },
  dtype: WeightDtype,
): TensorToWrite {
  return { ...tensor, dtype: tensor.name.endsWith(".e_score_correction_bias") ? "F32" : storedAs[dtype] };
}

/** The least magnitude that float16 rounds to infinity. */
const beyondFloat16 = 65_520;

/** A weight that is infinite already stays so; one that only its type would make infinite is not written. */
function refuseOverflow({ name, dtype, data }: TensorToWrite): void {
  if (dtype !== "F16") return;
  const got = data.find((value) => Math.abs(value) >= beyondFloat16 && Math.abs(value) !== Infinity);
  if (got === undefined) return;
  throw new LongjingError("unsupported", "A weight is too large for float16", {
    got,
    expected: `less than ${beyondFloat16}`,
    where: name,
    hint: "bfloat16 and float32 hold it: --dtype of an export, --embeddings 32 and --head 32 of a quantised folder.",
  });
}

/** Shards of consecutive tensors by name, each as full as the limit lets it be; a larger tensor has one of its own. */
function packShards(tensors: readonly TensorToWrite[], most: number): TensorToWrite[][] {
  const shards: TensorToWrite[][] = [[]];
  let filled = 0;
  let last: string | undefined;
  for (const tensor of tensors.toSorted((a, b) => (a.name < b.name ? -1 : 1))) {
    if (tensor.name === last) throw new LongjingError("bad_argument", "Two tensors have one name", { got: last });
    last = tensor.name;
    const bytes = bytesOf(tensor);
    if (filled > 0 && filled + bytes > most) {
      shards.push([]);
      filled = 0;
    }
    shards.at(-1)?.push(tensor);
    filled += bytes;
  }
  return shards;
}

function shardName(index: number, count: number): string {
  const digits = (n: number): string => String(n).padStart(5, "0");
  return `model-${digits(index + 1)}-of-${digits(count)}.safetensors`;
}

function indexText(shards: readonly (readonly TensorToWrite[])[], names: readonly string[]): string {
  const placed = shards.flatMap((shard, i) => shard.map((tensor) => ({ tensor, file: names[i] as string })));
  const total_size = placed.reduce((sum, { tensor }) => sum + bytesOf(tensor), 0);
  const weight_map = Object.fromEntries(placed.map(({ tensor, file }) => [tensor.name, file]));
  return `${JSON.stringify({ metadata: { total_size }, weight_map }, null, 2)}\n`;
}

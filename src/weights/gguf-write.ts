import type { ModelConfig } from "../model/config.ts";
import { parameterSpecs } from "../model/parameters.ts";
import type { ParameterSpec } from "../model/parameters.ts";
import type { Checkpoint } from "./checkpoint.ts";
import { writeWholeFile } from "./files.ts";
import type { GenerationConfig } from "./generation-config.ts";
import { blockTypes } from "./gguf-blocks.ts";
import { ggufPieces } from "./gguf-container.ts";
import type { GgufField } from "./gguf-container.ts";
import type { WritableType } from "./gguf-encode.ts";
import { endTokens, ggufMetadata } from "./gguf-metadata.ts";
import { ggufTensors } from "./gguf-tensors.ts";
import type { GgufParameter } from "./gguf-tensors.ts";

export interface GgufToWrite {
  readonly config: ModelConfig;
  readonly generationConfig: GenerationConfig | null;
  /** `tokenizer.*` keys, as `tokenizerToGguf` makes them, and whatever else the file should say of itself (`general.*`). */
  readonly metadata: Readonly<Record<string, GgufField>>;
  /** Every one of `parameterSpecs`, in any order. */
  readonly parameters: Iterable<GgufParameter>;
}

export interface GgufWritten {
  /** Tokens that end a text and for which the format has no key: llama.cpp does not stop at them. */
  readonly eos_left_out: readonly number[];
}

/**
 * Writes a GGUF file that llama.cpp and `openCheckpoint` read. It appears all at once, when everything is on the disk; one
 * parameter at a time is in memory.
 * @throws LongjingError "unsupported" for what llama.cpp does not compute or a type does not hold; "not_found", "bad_argument",
 *   "shape_mismatch" for parameters that are not the model's; "conflict" when there is such a file; "disk"
 */
export async function writeGguf(path: string, { config, generationConfig, metadata, parameters }: GgufToWrite): Promise<GgufWritten> {
  const tensors = ggufTensors(config, parameters);
  const quantized = tensors.some(({ dtype }) => blockTypes[dtype].elements > 1);
  const keys = { ...ggufMetadata(config, generationConfig, metadata), ...(quantized && { "general.quantization_version": 2 }) };
  await writeWholeFile(path, ggufPieces(keys, tensors));
  return { eos_left_out: endTokens(config, generationConfig, metadata).leftOut };
}

/** What llama.cpp calls a file by the type of most of its weights, and its number for it in `general.file_type`. */
export const ggufFileTypes = { F32: 0, F16: 1, Q4_0: 2, Q8_0: 7, Q4_K_M: 15 } as const;
export type GgufFileType = keyof typeof ggufFileTypes;

/** A checkpoint's parameters, each in the type that it has in a file of `fileType`. */
export function ggufParameters(checkpoint: Checkpoint, fileType: GgufFileType): GgufParameter[] {
  return parameterSpecs(checkpoint.config).map((spec) => ({
    name: spec.name,
    shape: spec.shape,
    dtype: typeIn(fileType, spec, checkpoint.config),
    values: async () => (await checkpoint.read(spec.name, spec.shape)).data,
  }));
}

/**
 * The type of a parameter, as llama.cpp's quantiser chooses it (`src/llama-quant.cpp`) but for its exceptions for single models:
 * vectors and the router stay float32, the head keeps 6 bits beside 4, and so do what is most sensitive in Q4_K_M.
 */
function typeIn(fileType: GgufFileType, { name, shape }: ParameterSpec, config: ModelConfig): WritableType {
  if (fileType === "F32" || shape.length < 2 || name.endsWith(".mlp.gate.weight")) return "F32";
  const head = name === (config.tie_word_embeddings ? "model.embed_tokens.weight" : "lm_head.weight");
  const large = fileType === "Q4_K_M" ? "Q4_K" : fileType;
  const finer = fileType === "Q4_0" || fileType === "Q4_K_M" ? "Q6_K" : large;
  return fitting(head || (fileType === "Q4_K_M" && isSensitive(name, config.num_hidden_layers)) ? finer : large, shape.at(-1) ?? 0);
}

/** Values and the way down of the first and last eighth of the layers, and of every third between. */
function isSensitive(name: string, layers: number): boolean {
  const layer = Number(/^model\.layers\.(\d+)\..*\.(?:v_proj|kv_b_proj|down_proj)\.weight$/.exec(name)?.[1] ?? NaN);
  const eighth = Math.floor(layers / 8);
  return layer < eighth || layer >= Math.floor((7 * layers) / 8) || (layer - eighth) % 3 === 2;
}

/** What llama.cpp takes for rows that are no whole blocks of 256, or of 32. */
const smallerBlocks: Readonly<Partial<Record<WritableType, WritableType>>> = { Q4_K: "Q5_0", Q6_K: "Q8_0" };

function fitting(wanted: WritableType, width: number): WritableType {
  const fits = (type: WritableType): boolean => width % blockTypes[type].elements === 0;
  const type = fits(wanted) ? wanted : (smallerBlocks[wanted] ?? wanted);
  return fits(type) ? type : "F16";
}

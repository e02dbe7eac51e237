import { LongjingError } from "../errors/index.ts";
import type { ModelConfig } from "../model/config.ts";
import { latentNormEpsilon } from "../model/latent-attention.ts";
import { parameterSpecs } from "../model/parameters.ts";
import { cosSinScale, factorsFromRope } from "../model/rope-factors.ts";
import { checkLength, checkShape } from "./checkpoint.ts";
import { narrowFloat16, widenFloat16 } from "./float-formats.ts";
import { blockTypes } from "./gguf-blocks.ts";
import type { GgufType } from "./gguf-blocks.ts";
import type { GgufTensorToWrite } from "./gguf-container.ts";
import { encodeBlocks } from "./gguf-encode.ts";
import type { WritableType } from "./gguf-encode.ts";
import { ggufPlace } from "./gguf-names.ts";

/** A parameter under the name and in the row order of a Hugging Face folder: values to encode, or blocks as they shall be. */
export type GgufParameter = { readonly name: string; readonly shape: readonly number[] } & (
  | { readonly dtype: WritableType; readonly values: () => Promise<Float32Array> }
  | { readonly dtype: GgufType; readonly blocks: () => Promise<Uint8Array> }
);

/**
 * The tensors of a GGUF file for a model's parameters, the inverse of `openGgufCheckpoint`: renamed, experts stacked, rows put
 * in the order in which llama.cpp rotates, Llama 3's rotation as factors. Nothing is read before a tensor's turn.
 * @throws LongjingError "not_found" for a parameter that is missing; "bad_argument" for one that the model does not have;
 *   "shape_mismatch"; "unsupported" for blocks whose rows would have to be scaled and cannot
 */
export function ggufTensors(config: ModelConfig, parameters: Iterable<GgufParameter>): GgufTensorToWrite[] {
  const given = new Map(Array.from(parameters, (parameter) => [parameter.name, parameter]));
  const stacks = new Map<string, GgufParameter[]>();
  for (const { name, shape } of parameterSpecs(config)) {
    const parameter = given.get(name);
    if (parameter === undefined) throw new LongjingError("not_found", "The model lacks a parameter", { got: name });
    given.delete(name);
    checkShape(parameter.shape, shape, name);
    const { tensor } = ggufPlace(name)!;
    // Experts come in their order.
    const stack = stacks.get(tensor);
    if (stack === undefined) stacks.set(tensor, [parameter]);
    else stack.push(parameter);
  }
  const [unknown] = given.keys();
  if (unknown !== undefined) throw new LongjingError("bad_argument", "The model has no such parameter", { got: unknown });
  const tensors = [...stacks].map(([tensor, parts]) => stackOf(config, tensor, parts));
  if (config.rope.rope_type !== "llama3") return tensors;
  const factors = factorsFromRope(config.rope, config.head_dim);
  return [...tensors, { name: "rope_freqs.weight", shape: [factors.length], dtype: "F32", pieces: async function* () { yield new Uint8Array(factors.buffer); } }];
}

function stackOf(config: ModelConfig, name: string, parts: readonly GgufParameter[]): GgufTensorToWrite {
  const [{ dtype, shape, name: first }] = parts as [GgufParameter];
  const other = parts.find((part) => part.dtype !== dtype);
  if (other !== undefined) throw new LongjingError("bad_argument", "The experts of a layer are stored in one type", { got: other.dtype, expected: dtype, where: other.name });
  const stacked = ggufPlace(first)?.expert !== undefined;
  const pieces = async function* (): AsyncGenerator<Uint8Array> {
    for (const part of parts) yield await bytesOf(config, part);
  };
  return { name, shape: stacked ? [parts.length, ...shape] : shape, dtype, pieces };
}

async function bytesOf(config: ModelConfig, parameter: GgufParameter): Promise<Uint8Array> {
  const { name, shape } = parameter;
  const [rows = 0] = shape;
  const scale = rowScale(config, name);
  const rotated = rotatedRows(config, name);
  if ("blocks" in parameter) {
    const blocks = await parameter.blocks();
    return inOrder(scale === null ? blocks : scaledBlocks(parameter.dtype, blocks, rows, scale, name), rows, rotated);
  }
  const values = await parameter.values();
  checkLength(values, shape.reduce((product, size) => product * size, 1), name);
  const width = values.length / rows;
  const scaled = scale === null ? values : values.map((value, i) => value * scale(Math.floor(i / width)));
  return inOrder(encodeBlocks(parameter.dtype, scaled, name), rows, rotated);
}

const minimumBytes = blockTypes.Q4_1.bytes;

/** Blocks of which each row is multiplied: scale and minimum, two float16 at the start of a Q4_1 block, take the factor as their own. */
function scaledBlocks(dtype: GgufType, blocks: Uint8Array, rows: number, scale: (row: number) => number, name: string): Uint8Array {
  const refused = (got: unknown, expected: string): LongjingError => new LongjingError("unsupported", "Rows of this parameter would have to be scaled, which its blocks do not allow", { got, expected, where: name });
  if (dtype !== "Q4_1") throw refused(dtype, "values, or blocks of Q4_1");
  const out = blocks.slice();
  const view = new DataView(out.buffer);
  const [halves, values] = [new Uint16Array(2), new Float32Array(2)];
  for (let at = 0; at < out.length; at += minimumBytes) {
    const factor = scale(Math.floor((at * rows) / out.length));
    halves.set([view.getUint16(at, true), view.getUint16(at + 2, true)]);
    widenFloat16(halves, values);
    narrowFloat16(values.map((value) => value * factor), halves);
    widenFloat16(halves, values);
    if (!values.every(Number.isFinite)) throw refused(`${factor} times`, "what float16 holds");
    for (const [i, half] of halves.entries()) view.setUint16(at + 2 * i, half, true);
  }
  return out;
}

/** Heads of `size` rows, of which those from `start` are rotated. */
interface RotatedRows {
  readonly size: number;
  readonly start: number;
}

/** Parameters whose rows a checkpoint holds as two halves, and llama.cpp as pairs (2i, 2i + 1). */
function rotatedRows(config: ModelConfig, name: string): RotatedRows | null {
  if (config.model_type === "llama") return /\.[qk]_proj\.\w+$/.test(name) ? { size: config.head_dim, start: 0 } : null;
  if (config.model_type !== "deepseek_v3" || config.rope_interleave) return null;
  return latentRows(config, name);
}

function latentRows({ qk_nope_head_dim, qk_rope_head_dim, kv_lora_rank }: Extract<ModelConfig, { model_type: "deepseek_v3" }>, name: string): RotatedRows | null {
  if (/\.q_(b_)?proj\.\w+$/.test(name)) return { size: qk_nope_head_dim + qk_rope_head_dim, start: qk_nope_head_dim };
  return /\.kv_a_proj_with_mqa\.\w+$/.test(name) ? { size: kv_lora_rank + qk_rope_head_dim, start: kv_lora_rank } : null;
}

/** Rows (head, half, pair) → (head, pair, half). */
function inOrder(from: Uint8Array, rows: number, rotated: RotatedRows | null): Uint8Array {
  if (rotated === null) return from;
  const to = new Uint8Array(from.length);
  const width = from.length / rows;
  const pairs = (rotated.size - rotated.start) / 2;
  for (let row = 0; row < rows; row++) {
    const within = (row % rotated.size) - rotated.start;
    const target = within < 0 ? row : row - within + (within % pairs) * 2 + Math.floor(within / pairs);
    to.set(from.subarray(row * width, (row + 1) * width), target * width);
  }
  return to;
}

/**
 * What a row is multiplied with so that llama.cpp computes the same, or null. It has one epsilon for every norm of deepseek2:
 * the latents, whose norm takes another, are scaled until the difference does not matter (the norm takes the scale out again).
 * And it has no factor on cos and sin, which are as well multiplied into what they rotate.
 */
function rowScale(config: ModelConfig, name: string): ((row: number) => number) | null {
  if (config.model_type !== "deepseek_v3") return null;
  const latent = Math.sqrt(config.rms_norm_eps / latentNormEpsilon);
  if (/\.q_a_proj\.\w+$/.test(name)) return latent === 1 ? null : () => latent;
  const rotated = latentRows(config, name);
  const turned = cosSinScale(config.rope);
  const rest = name.includes(".kv_a_proj_with_mqa.") ? latent : 1;
  if (rotated === null || (turned === 1 && rest === 1)) return null;
  return (row) => (row % rotated.size < rotated.start ? rest : turned);
}

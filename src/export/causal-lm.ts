import { growingCacheContext, hiddenStates, logits, parameterSpecs, rotaryTables, type ModelConfig } from "../model/index.ts";
import { onnxPieces, type StoredData } from "../onnx/index.ts";
import { dequantize, graphOf, input, reshape, simplify, verify, type DType, type Graph, type Shape, type Value } from "../tensor/index.ts";
import type { QuantizedBlocks } from "../weights/index.ts";

/** A model as files, each in pieces. */
export interface OnnxModel {
  readonly model: Iterable<Uint8Array>;
  /** The file beside the model that holds the weights, or null where they are within it. */
  readonly data: Iterable<Uint8Array> | null;
}

export interface OnnxOptions {
  /** Name of the file of weights, as the model refers to it. */
  readonly dataName: string;
  /** Most bytes of weights within the model's own file. Default 1.5e9: protobuf ends at 2^31. */
  readonly mostInline?: number;
}

/** By checkpoint name, as `parameterSpecs` lists them: float32, or matrices in blocks, which stay in them. */
export type ExportedWeights = Readonly<Record<string, Float32Array | QuantizedBlocks>>;

/** Files of weights are mapped into memory page by page. */
const page = 4096;

/**
 * A language model as ONNX with its weights, in the manner of transformers.js and Optimum: `input_ids` [batch, sequence],
 * `attention_mask` [batch, past + sequence], `position_ids` [batch, sequence] and `past_key_values.N.key` and `.value` [batch,
 * kvHeads, past, dim] give `logits` [batch, sequence, vocabulary] and `present.N.key` and `.value`.
 */
export function causalLmOnnx(of: ModelConfig, weights: ExportedWeights, { dataName, mostInline = 1.5e9 }: OnnxOptions): OnnxModel {
  // Layers that predict further tokens take no part in generation.
  const config = of.model_type === "deepseek_v3" ? { ...of, num_nextn_predict_layers: 0 } : of;
  const bytes = parameterSpecs(config).flatMap(({ name, shape }) => partsOf(name, shape, weights[name]!).map(({ path, data }): [string, Uint8Array] => [path, new Uint8Array(data.buffer, data.byteOffset, data.byteLength)]));
  const graph = causalLmGraph(config, weights);
  // Standard operators where there are any: the file is for every provider.
  const write = (stored: ReadonlyMap<string, StoredData>): readonly Uint8Array[] => onnxPieces(graph, "webgpu", stored);
  if (bytes.reduce((sum, [, { length }]) => sum + length, 0) <= mostInline) return { model: write(new Map(bytes)), data: null };
  const placed = new Map<string, StoredData>();
  const data: Uint8Array[] = [];
  let offset = 0;
  for (const [name, part] of bytes) {
    placed.set(name, { location: dataName, offset, length: part.length });
    const padding = (page - (part.length % page)) % page;
    data.push(part, new Uint8Array(padding));
    offset += part.length + padding;
  }
  return { model: write(placed), data };
}

interface WeightPart {
  readonly path: string;
  readonly shape: Shape;
  readonly dtype: DType;
  readonly data: Float32Array | Uint8Array;
}

/** The initializers of one parameter: itself, or the parts of a matrix in blocks in the order that `dequantize` has them. */
function partsOf(name: string, shape: Shape, weight: Float32Array | QuantizedBlocks): WeightPart[] {
  if (weight instanceof Float32Array) return [{ path: name, shape, dtype: "float32", data: weight }];
  const { rows, columns, bits, block_size, blocks, scales, offsets } = weight;
  const count = columns / block_size;
  return [
    { path: `${name}.blocks`, shape: [rows, count, (block_size * bits) / 8], dtype: "uint8", data: blocks },
    { path: `${name}.scales`, shape: [rows, count], dtype: "float32", data: scales },
    ...(offsets ? [{ path: `${name}.offsets`, shape: [rows, count], dtype: "float32" as const, data: offsets }] : []),
  ];
}

/** Dimensions under the names that Optimum gives them; transformers.js reads `batch_size`. */
const [batch, count, past, total, rows] = ["batch_size", "sequence_length", "past_sequence_length", "total_sequence_length", "tokens"] as const;

function causalLmGraph(config: ModelConfig, weights: ExportedWeights): Graph {
  const inputs: [string, Value][] = [];
  const declare = (name: string, shape: Shape, dtype: DType): Value => {
    const value = input(name, shape, dtype);
    inputs.push([name, value]);
    return value;
  };
  const ids = declare("input_ids", [batch, count], "int64");
  const attentionMask = declare("attention_mask", [batch, total], "int64");
  const positions = declare("position_ids", [batch, count], "int64");
  const { kvHeads, dim, dimV } = cachedHeads(config);
  const layers = Array.from({ length: config.num_hidden_layers }, (_, n) => n);
  const cache = layers.map((n) => ({ key: declare(`past_key_values.${n}.key`, [batch, kvHeads, past, dim], "float32"), value: declare(`past_key_values.${n}.value`, [batch, kvHeads, past, dimV], "float32") }));
  const parameter = (name: string, shape: Shape): Value => {
    const weight = weights[name]!;
    const [first, scales, offsets] = partsOf(name, shape, weight).map((part) => declare(part.path, part.shape, part.dtype));
    return weight instanceof Float32Array ? first! : dequantize({ blocks: first!, scales: scales!, offsets }, weight.columns);
  };
  const parameters = Object.fromEntries(parameterSpecs(config).map(({ name, shape }) => [name, parameter(name, shape)]));
  const context = growingCacheContext({ batch, count, rows, total, positions, attentionMask, cache: { keys: cache.map((c) => c.key), values: cache.map((c) => c.value) } }, rotaryTables(config, config.max_position_embeddings));
  const { hidden } = hiddenStates(config, parameters, reshape(ids, [rows]), context);
  const { keys, values } = context.present;
  const graph = simplify(graphOf(inputs, [["logits", reshape(logits(config, parameters, hidden), [batch, count, config.vocab_size])], ...layers.flatMap((n): [string, Value][] => [[`present.${n}.key`, keys[n]!], [`present.${n}.value`, values[n]!]])]));
  verify(graph);
  return graph;
}

function cachedHeads(config: ModelConfig): { kvHeads: number; dim: number; dimV: number } {
  if (config.model_type !== "deepseek_v3") return { kvHeads: config.num_key_value_heads, dim: config.head_dim, dimV: config.head_dim };
  return { kvHeads: config.num_attention_heads, dim: config.qk_nope_head_dim + config.qk_rope_head_dim, dimV: config.v_head_dim };
}

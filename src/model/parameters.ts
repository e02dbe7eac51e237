import { LongjingError } from "../errors/index.ts";
import type { Random } from "../random/index.ts";
import type { DeepseekV3Config, ModelConfig, Qwen3MoeConfig } from "./config.ts";

/** One parameter of a model. */
export interface ParameterSpec {
  /** Its name in the checkpoint. */
  readonly name: string;
  readonly shape: readonly number[];
  readonly init: "normal" | "kaiming_uniform" | "ones" | "zeros";
  /** Weight decay applies: matrices, but no gains and no biases. */
  readonly decay: boolean;
  /** Worth quantising: matrices of linear layers. */
  readonly quantizable: boolean;
  /** Moved by the optimiser; the router's bias is moved by load instead. */
  readonly trainable: boolean;
}

const matrix = (name: string, out: number, inner: number): ParameterSpec => ({ name, shape: [out, inner], init: "normal", decay: true, quantizable: true, trainable: true });
const gain = (name: string, size: number): ParameterSpec => ({ name, shape: [size], init: "ones", decay: false, quantizable: false, trainable: true });
const bias = (name: string, size: number): ParameterSpec => ({ name, shape: [size], init: "zeros", decay: false, quantizable: false, trainable: true });
const table = (name: string, rows: number, width: number): ParameterSpec => ({ ...matrix(name, rows, width), quantizable: false });

/**
 * Every parameter of a model, in checkpoint order: the only list there is. Initialisation, loading, optimiser groups, adapters
 * and quantisation all read it.
 * @param mtp also the multi-token-prediction modules of deepseek_v3 (behind the last layer), for training
 */
export function parameterSpecs(config: ModelConfig, { mtp = false }: { mtp?: boolean } = {}): readonly ParameterSpec[] {
  const { hidden_size: d, vocab_size, num_hidden_layers } = config;
  const specs = [table("model.embed_tokens.weight", vocab_size, d)];
  for (let layer = 0; layer < num_hidden_layers; layer++) specs.push(...blockSpecs(config, layer));
  specs.push(gain("model.norm.weight", d));
  if (!config.tie_word_embeddings) specs.push(table("lm_head.weight", vocab_size, d));
  if (mtp && config.model_type === "deepseek_v3")
    for (let k = 0; k < config.num_nextn_predict_layers; k++) {
      const at = `model.layers.${num_hidden_layers + k}.`;
      specs.push(gain(`${at}enorm.weight`, d), gain(`${at}hnorm.weight`, d), matrix(`${at}eh_proj.weight`, d, 2 * d), ...blockSpecs(config, num_hidden_layers + k), gain(`${at}shared_head.norm.weight`, d));
    }
  return specs;
}

function blockSpecs(config: ModelConfig, layer: number): ParameterSpec[] {
  const at = `model.layers.${layer}.`;
  const d = config.hidden_size;
  const attention = config.model_type === "deepseek_v3" ? latentAttentionSpecs(config, `${at}self_attn.`) : attentionSpecs(config, `${at}self_attn.`);
  return [gain(`${at}input_layernorm.weight`, d), ...attention, gain(`${at}post_attention_layernorm.weight`, d), ...feedForwardSpecs(config, layer, `${at}mlp.`)];
}

function attentionSpecs(config: Exclude<ModelConfig, DeepseekV3Config>, at: string): ParameterSpec[] {
  const { hidden_size: d, head_dim, num_attention_heads, num_key_value_heads } = config;
  const [q, kv] = [num_attention_heads * head_dim, num_key_value_heads * head_dim];
  const qkvBias = config.model_type === "qwen2" || config.attention_bias;
  const oBias = config.model_type !== "qwen2" && config.attention_bias;
  const perHead = config.model_type === "qwen3" || config.model_type === "qwen3_moe";
  const projection = (name: string, out: number, inner: number, biased: boolean): ParameterSpec[] => [matrix(`${at}${name}.weight`, out, inner), ...(biased ? [bias(`${at}${name}.bias`, out)] : [])];
  return [
    ...projection("q_proj", q, d, qkvBias),
    ...projection("k_proj", kv, d, qkvBias),
    ...projection("v_proj", kv, d, qkvBias),
    ...projection("o_proj", d, q, oBias),
    ...(perHead ? [gain(`${at}q_norm.weight`, head_dim), gain(`${at}k_norm.weight`, head_dim)] : []),
  ];
}

function latentAttentionSpecs(config: DeepseekV3Config, at: string): ParameterSpec[] {
  const { hidden_size: d, num_attention_heads: heads, q_lora_rank, kv_lora_rank, qk_nope_head_dim, qk_rope_head_dim, v_head_dim, attention_bias } = config;
  const key = qk_nope_head_dim + qk_rope_head_dim;
  const biased = (name: string, size: number): ParameterSpec[] => (attention_bias ? [bias(`${at}${name}.bias`, size)] : []);
  const queries =
    q_lora_rank === null
      ? [matrix(`${at}q_proj.weight`, heads * key, d)]
      : [matrix(`${at}q_a_proj.weight`, q_lora_rank, d), ...biased("q_a_proj", q_lora_rank), gain(`${at}q_a_layernorm.weight`, q_lora_rank), matrix(`${at}q_b_proj.weight`, heads * key, q_lora_rank)];
  return [
    ...queries,
    matrix(`${at}kv_a_proj_with_mqa.weight`, kv_lora_rank + qk_rope_head_dim, d),
    ...biased("kv_a_proj_with_mqa", kv_lora_rank + qk_rope_head_dim),
    gain(`${at}kv_a_layernorm.weight`, kv_lora_rank),
    matrix(`${at}kv_b_proj.weight`, heads * (qk_nope_head_dim + v_head_dim), kv_lora_rank),
    matrix(`${at}o_proj.weight`, d, heads * v_head_dim),
    ...biased("o_proj", d),
  ];
}

function mlpSpecs(at: string, d: number, inner: number, biased = false): ParameterSpec[] {
  const projection = (name: string, out: number, inside: number): ParameterSpec[] => [matrix(`${at}${name}.weight`, out, inside), ...(biased ? [bias(`${at}${name}.bias`, out)] : [])];
  return [...projection("gate_proj", inner, d), ...projection("up_proj", inner, d), ...projection("down_proj", d, inner)];
}

function feedForwardSpecs(config: ModelConfig, layer: number, at: string): ParameterSpec[] {
  const d = config.hidden_size;
  if (!isSparse(config, layer)) return mlpSpecs(at, d, config.intermediate_size, config.model_type === "llama" && config.mlp_bias);
  const experts = Array.from({ length: expertCount(config) }, (_, j) => mlpSpecs(`${at}experts.${j}.`, d, config.moe_intermediate_size)).flat();
  const router = { ...matrix(`${at}gate.weight`, expertCount(config), d), quantizable: false };
  if (config.model_type === "qwen3_moe") return [router, ...experts];
  const correction: ParameterSpec = { ...bias(`${at}gate.e_score_correction_bias`, expertCount(config)), trainable: false };
  return [router, correction, ...experts, ...(config.n_shared_experts > 0 ? mlpSpecs(`${at}shared_experts.`, d, config.n_shared_experts * config.moe_intermediate_size) : [])];
}

/** Projections that attention takes as one. */
const packed = /(?<=\.self_attn\.)[qkv]_proj(?=\.(?:weight|bias)$)/;

/**
 * Parameters by the name that they have when projections that one kernel reads are stacked into one matrix, [q | k | v, hidden]: each
 * with its parts in order. Queries and keys that are normalised apart stay apart, and so do gate and up: to take their product apart
 * again costs more than a second product.
 */
export function projectionGroups(specs: readonly ParameterSpec[]): Map<string, ParameterSpec[]> {
  const apart = specs.some(({ name }) => name.endsWith(".q_norm.weight") || name.includes(".kv_a_layernorm."));
  const joined = (name: string): string => (apart ? name : name.replace(packed, "qkv_proj"));
  const found = new Map<string, ParameterSpec[]>();
  for (const spec of specs) {
    const group = found.get(joined(spec.name));
    if (group) group.push(spec);
    else found.set(joined(spec.name), [spec]);
  }
  return found;
}

type SparseConfig = DeepseekV3Config | Qwen3MoeConfig;
export const expertCount = (config: SparseConfig): number => (config.model_type === "qwen3_moe" ? config.num_experts : config.n_routed_experts);

/** Whether a layer's feed-forward is a mixture of experts. */
export function isSparse(config: ModelConfig, layer: number): config is SparseConfig {
  if (config.model_type === "qwen3_moe") return !config.mlp_only_layers.includes(layer) && (layer + 1) % config.decoder_sparse_step === 0;
  if (config.model_type === "deepseek_v3") return layer >= config.first_k_dense_replace && layer % config.moe_layer_freq === 0;
  return false;
}

/**
 * Fresh parameters: matrices from a normal distribution of std `initializer_range`, gains 1, biases 0; A of an adapter uniform within
 * ±1 / √in, as PEFT and PyTorch's own linear layers begin (He et al., arXiv 1502.01852, with a = √5).
 */
export function initParameters(specs: readonly ParameterSpec[], std: number, random: Random): Record<string, Float32Array> {
  const fill = ({ shape, init }: ParameterSpec): Float32Array => {
    const size = shape.reduce((a, b) => a * b, 1);
    if (init === "normal") return Float32Array.from({ length: size }, () => random.normal() * std);
    if (init === "kaiming_uniform") return Float32Array.from({ length: size }, () => (2 * random.next() - 1) / Math.sqrt(shape[1]!));
    return new Float32Array(size).fill(init === "ones" ? 1 : 0);
  };
  return Object.fromEntries(specs.map((spec) => [spec.name, fill(spec)]));
}

export const parameterCount = (specs: readonly ParameterSpec[]): number => specs.reduce((n, { shape }) => n + shape.reduce((a, b) => a * b, 1), 0);

/** Parameters by name, below a prefix. */
export interface Scope<T> {
  (name: string): T;
  readonly optional: (name: string) => T | undefined;
}

export function scope<T>(parameters: Readonly<Record<string, T>>, prefix: string): Scope<T> {
  const optional = (name: string): T | undefined => parameters[prefix + name];
  const required = (name: string): T => {
    const found = optional(name);
    if (found === undefined) throw new LongjingError("not_found", "a parameter is missing", { where: prefix + name });
    return found;
  };
  return Object.assign(required, { optional });
}

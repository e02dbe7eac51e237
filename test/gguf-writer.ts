import { inverseFrequencies } from "../src/nn/rope.ts";
import type { ModelConfig } from "../src/model/index.ts";
import { ggufPlace, type Checkpoint } from "../src/weights/index.ts";

interface Tensor {
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

type Scalar = number | boolean | string;

/** The bytes of a GGUF file with F32 tensors. Whole numbers are u32, other numbers f32. */
export function writeGguf(metadata: Readonly<Record<string, Scalar>>, tensors: ReadonlyMap<string, Tensor>): Uint8Array {
  const u32 = (value: number): Uint8Array => new Uint8Array(Uint32Array.of(value).buffer);
  const u64 = (value: number): Uint8Array => new Uint8Array(BigUint64Array.of(BigInt(value)).buffer);
  const text = (value: string): Uint8Array[] => [u64(Buffer.byteLength(value)), Buffer.from(value)];
  const value = (of: Scalar): Uint8Array[] => {
    if (typeof of === "string") return [u32(8), ...text(of)];
    if (typeof of === "boolean") return [u32(7), Uint8Array.of(Number(of))];
    return Number.isInteger(of) ? [u32(4), u32(of)] : [u32(6), new Uint8Array(Float32Array.of(of).buffer)];
  };
  const padded = (bytes: number): number => Math.ceil(bytes / 32) * 32;
  const parts = [Buffer.from("GGUF"), u32(3), u64(tensors.size), u64(Object.keys(metadata).length)];
  for (const [key, of] of Object.entries(metadata)) parts.push(...text(key), ...value(of));
  let offset = 0;
  for (const [name, { shape, data }] of tensors) {
    parts.push(...text(name), u32(shape.length), ...shape.toReversed().map(u64), u32(0), u64(offset));
    offset += padded(data.byteLength);
  }
  const header = Buffer.concat(parts);
  const out = new Uint8Array(padded(header.length) + offset);
  out.set(header);
  let at = padded(header.length);
  for (const { data } of tensors.values()) {
    out.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), at);
    at += padded(data.byteLength);
  }
  return out;
}

const architectures = { llama: "llama", qwen2: "qwen2", qwen3: "qwen3", qwen3_moe: "qwen3moe", deepseek_v3: "deepseek2" } as const;

/** The keys that llama.cpp's converter writes for a configuration. */
export function ggufMetadata(config: ModelConfig): Record<string, Scalar> {
  const { rope } = config;
  const yarn = { "rope.scaling.type": "yarn", "rope.scaling.factor": rope.factor, "rope.scaling.original_context_length": rope.original_max_position_embeddings, "rope.scaling.yarn_log_multiplier": 0.1 * (rope.mscale_all_dim ?? 0) };
  const fields = {
    block_count: config.num_hidden_layers,
    context_length: config.max_position_embeddings,
    embedding_length: config.hidden_size,
    feed_forward_length: config.intermediate_size,
    "attention.head_count": config.num_attention_heads,
    "attention.head_count_kv": config.num_key_value_heads,
    "attention.layer_norm_rms_epsilon": config.rms_norm_eps,
    "rope.freq_base": rope.rope_theta,
    "rope.dimension_count": config.head_dim,
    ...(rope.rope_type === "yarn" && yarn),
    ...(config.model_type === "deepseek_v3" ? deepseekKeys(config) : { "attention.key_length": config.head_dim, "attention.value_length": config.head_dim }),
    ...(config.model_type === "qwen3_moe" && { expert_count: config.num_experts, expert_used_count: config.num_experts_per_tok, expert_feed_forward_length: config.moe_intermediate_size }),
  };
  const architecture = architectures[config.model_type];
  const ids = { bos: config.bos_token_id, eos: config.eos_token_id[0], eot: config.eos_token_id[1], padding: config.pad_token_id };
  return Object.fromEntries([
    ["general.architecture", architecture],
    ...Object.entries(fields).filter(([, value]) => value !== undefined).map(([key, value]) => [`${architecture}.${key}`, value]),
    ...Object.entries(ids).filter(([, id]) => id !== null && id !== undefined).map(([name, id]) => [`tokenizer.ggml.${name}_token_id`, id]),
  ]);
}

const deepseekKeys = (config: Extract<ModelConfig, { model_type: "deepseek_v3" }>): Record<string, Scalar> => ({
  ...(config.q_lora_rank !== null && { "attention.q_lora_rank": config.q_lora_rank }),
  "attention.kv_lora_rank": config.kv_lora_rank,
  "attention.key_length": config.qk_nope_head_dim + config.qk_rope_head_dim,
  "attention.value_length": config.v_head_dim,
  expert_count: config.n_routed_experts,
  expert_used_count: config.num_experts_per_tok,
  expert_shared_count: config.n_shared_experts,
  expert_feed_forward_length: config.moe_intermediate_size,
  expert_weights_scale: config.routed_scaling_factor,
  expert_weights_norm: config.norm_topk_prob,
  expert_gating_func: 2,
  expert_group_count: config.n_group,
  expert_group_used_count: config.topk_group,
  leading_dense_block_count: config.first_k_dense_replace,
});

/** A checkpoint's tensors as GGUF has them: renamed, experts stacked, llama's q and k permuted, Llama 3's rotation as factors. */
export async function ggufTensors(checkpoint: Checkpoint): Promise<Map<string, Tensor>> {
  const { config } = checkpoint;
  const tensors = new Map<string, Tensor>();
  for (const name of checkpoint.names) {
    const { tensor, expert } = ggufPlace(name)!;
    const { shape, data } = await checkpoint.read(name);
    const heads = /q_proj/.test(name) ? config.num_attention_heads : /k_proj/.test(name) ? config.num_key_value_heads : null;
    if (expert !== undefined) {
      const experts = config.model_type === "qwen3_moe" ? config.num_experts : config.model_type === "deepseek_v3" ? config.n_routed_experts : 0;
      const stack = tensors.get(tensor) ?? { shape: [experts, ...shape], data: new Float32Array(experts * data.length) };
      stack.data.set(data, expert * data.length);
      tensors.set(tensor, stack);
    } else tensors.set(tensor, { shape, data: config.model_type === "llama" && heads !== null ? permute(data, heads, shape[0]!) : data });
  }
  if (config.rope.rope_type === "llama3") {
    const scaled = inverseFrequencies(config.rope, config.head_dim);
    const factors = Float32Array.from(inverseFrequencies({ rope_type: "default", rope_theta: config.rope.rope_theta }, config.head_dim), (f, i) => f / scaled[i]!);
    tensors.set("rope_freqs.weight", { shape: [factors.length], data: factors });
  }
  return tensors;
}

/** Rows (head, half, pair) → (head, pair, half). */
function permute(data: Float32Array, heads: number, rows: number): Float32Array {
  const [width, pairs] = [data.length / rows, rows / heads / 2];
  const out: number[] = [];
  for (let head = 0; head < heads; head++)
    for (let pair = 0; pair < pairs; pair++)
      for (let half = 0; half < 2; half++) {
        const row = (head * 2 + half) * pairs + pair;
        out.push(...data.subarray(row * width, (row + 1) * width));
      }
  return Float32Array.from(out);
}

/** The same tensors with each kv_b split into k_b, transposed, and v_b. */
export function absorbed(config: Extract<ModelConfig, { model_type: "deepseek_v3" }>, tensors: ReadonlyMap<string, Tensor>): Map<string, Tensor> {
  const { num_attention_heads: heads, kv_lora_rank: rank, qk_nope_head_dim: nope, v_head_dim: valueDim } = config;
  const split = [...tensors].flatMap(([name, tensor]): [string, Tensor][] => {
    if (!name.endsWith("attn_kv_b.weight")) return [[name, tensor]];
    const at = (head: number, row: number, r: number): number => tensor.data[(head * (nope + valueDim) + row) * rank + r]!;
    const keys = Float32Array.from({ length: heads * rank * nope }, (_, i) => at(Math.floor(i / (rank * nope)), i % nope, Math.floor(i / nope) % rank));
    const values = Float32Array.from({ length: heads * valueDim * rank }, (_, i) => at(Math.floor(i / (valueDim * rank)), nope + (Math.floor(i / rank) % valueDim), i % rank));
    return [
      [name.replace("kv_b", "k_b"), { shape: [heads, rank, nope], data: keys }],
      [name.replace("kv_b", "v_b"), { shape: [heads, valueDim, rank], data: values }],
    ];
  });
  return new Map(split);
}

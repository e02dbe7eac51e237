import { LongjingError } from "../errors/index.ts";
import type { DeepseekV3Config, ModelConfig, ModelType } from "../model/config.ts";
import { isSparse } from "../model/parameters.ts";
import { cosSinScale } from "../model/rope-factors.ts";
import type { GenerationConfig } from "./generation-config.ts";
import { endsByName } from "./gguf-ends.ts";
import type { GgufField } from "./gguf-container.ts";

type Fields = Readonly<Record<string, GgufField | undefined>>;

const architectures: Readonly<Record<ModelType, string>> = { llama: "llama", qwen2: "qwen2", qwen3: "qwen3", qwen3_moe: "qwen3moe", deepseek_v3: "deepseek2" };

/**
 * A model's configuration as the metadata of a GGUF file, the inverse of `configFromGguf` (keys of llama.cpp, `src/llama-arch.cpp`).
 * @param given other keys: a tokenizer's, whose end token is the first of those that end a turn
 * @throws LongjingError "unsupported" for what llama.cpp does not compute, since it would load the file and give other numbers
 */
export function ggufMetadata(config: ModelConfig, generationConfig: GenerationConfig | null, given: Readonly<Record<string, GgufField>>): Record<string, GgufField> {
  refuseWhatIsLost(config);
  const architecture = architectures[config.model_type];
  const below: Fields = { ...commonFields(config), ...(config.model_type === "deepseek_v3" ? latentFields(config) : headFields(config)), ...ropeFields(config) };
  return defined({
    "general.architecture": architecture,
    "general.type": "model",
    ...Object.fromEntries(Object.entries(below).map(([key, value]) => [`${architecture}.${key}`, value])),
    ...samplingFields(generationConfig),
    ...tokenIds(config, generationConfig, given),
    ...given,
  });
}

function defined(fields: Fields): Record<string, GgufField> {
  return Object.fromEntries(Object.entries(fields).filter((field): field is [string, GgufField] => field[1] !== undefined));
}

const f32 = (value: number): GgufField => ({ f32: value });

function commonFields(config: ModelConfig): Fields {
  return {
    vocab_size: config.vocab_size,
    block_count: config.num_hidden_layers,
    context_length: config.max_position_embeddings,
    embedding_length: config.hidden_size,
    feed_forward_length: config.intermediate_size,
    "attention.head_count": config.num_attention_heads,
    "attention.head_count_kv": config.num_key_value_heads,
    "attention.layer_norm_rms_epsilon": f32(config.rms_norm_eps),
    "rope.freq_base": f32(config.rope.rope_theta),
    "rope.dimension_count": config.head_dim,
  };
}

function headFields(config: ModelConfig): Fields {
  return {
    "attention.key_length": config.head_dim,
    "attention.value_length": config.head_dim,
    ...(config.model_type === "qwen3_moe" && { expert_count: config.num_experts, expert_used_count: config.num_experts_per_tok, expert_feed_forward_length: config.moe_intermediate_size }),
  };
}

/** `expert_gating_func` of the sigmoid. */
const sigmoid = 2;

function latentFields(config: DeepseekV3Config): Fields {
  // Where every group is kept, groups choose nothing; llama.cpp stops at a file that says so of more than one.
  const grouped = config.topk_group < config.n_group;
  return {
    // llama.cpp wants the key where there is no low rank, too.
    "attention.q_lora_rank": config.q_lora_rank ?? 0,
    "attention.kv_lora_rank": config.kv_lora_rank,
    "attention.key_length": config.qk_nope_head_dim + config.qk_rope_head_dim,
    "attention.value_length": config.v_head_dim,
    expert_count: config.n_routed_experts,
    expert_used_count: config.num_experts_per_tok,
    expert_shared_count: config.n_shared_experts,
    expert_feed_forward_length: config.moe_intermediate_size,
    expert_weights_scale: f32(config.routed_scaling_factor),
    expert_weights_norm: config.norm_topk_prob,
    expert_gating_func: sigmoid,
    expert_group_count: grouped ? config.n_group : 1,
    expert_group_used_count: grouped ? config.topk_group : 1,
    leading_dense_block_count: config.first_k_dense_replace,
  };
}

/** Llama 3's rotation is a tensor of factors. */
function ropeFields(config: ModelConfig): Fields {
  const { rope } = config;
  if (rope.rope_type === "linear") return { "rope.scaling.type": "linear", "rope.scaling.factor": f32(rope.factor ?? 1) };
  if (rope.rope_type !== "yarn") return {};
  const factor = rope.factor ?? 1;
  const shared = config.model_type === "deepseek_v3" && rope.mscale_all_dim ? rope.mscale_all_dim : 0;
  // What llama.cpp multiplies cos and sin with of its own accord; deepseek2's weights hold what is asked for (`rowScale`).
  const own = shared === 0 ? 1 + 0.1 * Math.log(factor) : 1;
  const asked = config.model_type === "deepseek_v3" ? 1 : cosSinScale(rope);
  return {
    "rope.scaling.type": "yarn",
    "rope.scaling.factor": f32(factor),
    "rope.scaling.original_context_length": rope.original_max_position_embeddings,
    "rope.scaling.yarn_log_multiplier": shared === 0 ? undefined : f32(0.1 * shared),
    "rope.scaling.attn_factor": Math.abs(asked / own - 1) < 1e-9 ? undefined : f32(asked / own),
  };
}

/** Two tokens may end a turn, and one more a message. */
const endings = ["eos", "eot", "eom"];

/**
 * Tokens that end a text: those for which a file has keys, and those that are left out.
 * @param given as for `ggufMetadata`
 */
export function endTokens(config: ModelConfig, generationConfig: GenerationConfig | null, given: Fields): { readonly written: readonly number[]; readonly leftOut: readonly number[] } {
  const first = given["tokenizer.ggml.eos_token_id"] as number | undefined;
  const all = new Set([...(first === undefined ? [] : [first]), ...config.eos_token_id, ...(generationConfig?.eos_token_id ?? [])]);
  // Whoever reads the file knows these by their names.
  const named = endsByName(given["tokenizer.ggml.tokens"] as readonly string[] | undefined, given["tokenizer.ggml.token_type"] as readonly number[] | undefined);
  const ends = all.size > endings.length ? [...all].filter((id, i) => i === 0 || !named.includes(id)) : [...all];
  return { written: ends.slice(0, endings.length), leftOut: ends.slice(endings.length) };
}

function tokenIds(config: ModelConfig, generationConfig: GenerationConfig | null, given: Fields): Fields {
  const { written } = endTokens(config, generationConfig, given);
  const ids: [string | undefined, number | null][] = [["bos", config.bos_token_id], ["padding", config.pad_token_id], ...written.map((id, i): [string | undefined, number] => [endings[i], id])];
  return Object.fromEntries(ids.map(([name, id]) => [`tokenizer.ggml.${name}_token_id`, id ?? undefined]));
}

/** A temperature of 0 is how a GGUF file says that the likeliest token is taken. */
function samplingFields(sampling: GenerationConfig | null): Fields {
  if (sampling === null) return {};
  const number = (value: number | undefined): GgufField | undefined => (value === undefined ? undefined : f32(value));
  return {
    "general.sampling.temp": f32(sampling.do_sample ? (sampling.temperature ?? 1) : 0),
    "general.sampling.top_k": sampling.top_k,
    "general.sampling.top_p": number(sampling.top_p),
    "general.sampling.min_p": number(sampling.min_p),
    "general.sampling.penalty_repeat": number(sampling.repetition_penalty),
  };
}

function unsupported(field: string, got: unknown, expected: string): LongjingError {
  return new LongjingError("unsupported", "llama.cpp does not compute this model", { got, expected, where: field });
}

function refuseWhatIsLost(config: ModelConfig): void {
  const { model_type, rope } = config;
  const refuse = (lost: boolean, field: string, got: unknown, expected: string): void => {
    if (lost) throw unsupported(field, got, `${expected}, for ${model_type}`);
  };
  refuse(rope.rope_type === "llama3" && model_type !== "llama", "rope_type", rope.rope_type, "default | linear | yarn");
  refuse(rope.rope_type === "linear" && model_type === "deepseek_v3", "rope_type", rope.rope_type, "default | yarn");
  refuse((rope.beta_fast ?? 32) !== 32 || (rope.beta_slow ?? 1) !== 1, "beta_fast, beta_slow", [rope.beta_fast, rope.beta_slow], "32, 1");
  refuse("attention_bias" in config && config.attention_bias && (model_type === "deepseek_v3" || model_type.startsWith("qwen3")), "attention_bias", true, "false");
  if (model_type === "qwen2") refuse(config.head_dim * config.num_attention_heads !== config.hidden_size, "head_dim", config.head_dim, "hidden_size / num_attention_heads");
  if (model_type === "qwen3_moe") {
    refuse(!config.norm_topk_prob, "norm_topk_prob", false, "true");
    refuse(layers(config).some((layer) => !isSparse(config, layer)), "mlp_only_layers", config.mlp_only_layers, "a mixture of experts in every layer");
  }
  if (model_type === "deepseek_v3") {
    refuse([26, 27].includes(config.num_hidden_layers) && config.q_lora_rank !== null, "q_lora_rank", config.q_lora_rank, "null with so many layers");
    refuse(layers(config).some((layer) => layer >= config.first_k_dense_replace !== isSparse(config, layer)), "moe_layer_freq", config.moe_layer_freq, "1");
  }
}

const layers = (config: ModelConfig): number[] => Array.from({ length: config.num_hidden_layers }, (_, layer) => layer);

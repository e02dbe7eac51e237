import { concat, constant, matmul, mul, reshape, slice, split, transpose, type Value } from "../tensor/index.ts";
import { linear, rmsNorm, type Projection } from "../nn/linear.ts";
import { softmaxScaleFactor } from "../nn/rope.ts";
import type { DeepseekV3Config } from "./config.ts";
import type { ModelContext } from "./context.ts";
import type { Scope } from "./parameters.ts";

// The reference implementation uses this for the latent norms, whatever rms_norm_eps says.
export const latentNormEpsilon = 1e-6;

/**
 * Multi-head latent attention (DeepSeek-V3, arXiv 2412.19437, eq. 1 to 11). A key is [nope | rope]; the rope part is one for all
 * heads. Training makes keys and values from the latent before they meet the queries. With a cache it is the other way round:
 * what makes them is absorbed into the queries and the output, q · (W_UK c) = (W_UKᵀ q) · c and Σ p W_UV c = W_UV Σ p c, so that
 * the latent is all that is kept.
 */
export function latentAttention(config: DeepseekV3Config, p: Scope<Value>, project: Projection, layer: number, context: ModelContext): Value {
  const { num_attention_heads: heads, kv_lora_rank, qk_nope_head_dim: nope, qk_rope_head_dim: rope, rope_interleave } = config;
  const { rows } = context;
  const rotated = (x: Value, count: number): Value => reshape(context.rotate(reshape(x, [rows, count * rope]), count, rope_interleave), [rows, count, rope]);
  const [qNope, qRope] = split(reshape(queries(config, p, project), [rows, heads, nope + rope]), [nope, rope], 2) as [Value, Value];
  const [latent, kRope] = split(project(p("kv_a_proj_with_mqa.weight"), p.optional("kv_a_proj_with_mqa.bias")), [kv_lora_rank, rope], 1) as [Value, Value];
  const parts = { qNope, qRope: rotated(qRope, heads), latent: rmsNorm(latent, p("kv_a_layernorm.weight"), latentNormEpsilon), kRope: rotated(kRope, 1) };
  const y = context.absorbed ? absorbed(config, p, parts, layer, context) : expanded(config, p, parts, layer, context);
  return linear(y, p("o_proj.weight"), p.optional("o_proj.bias"));
}

interface Parts {
  /** [rows, heads, nope] */
  readonly qNope: Value;
  /** [rows, heads, rope] */
  readonly qRope: Value;
  /** [rows, kv_lora_rank] */
  readonly latent: Value;
  /** [rows, 1, rope] */
  readonly kRope: Value;
}

/** Factor on q · k: that of the width of a key as training sees it. */
const scaleOf = ({ rope, qk_nope_head_dim, qk_rope_head_dim }: DeepseekV3Config): number => softmaxScaleFactor(rope) / Math.sqrt(qk_nope_head_dim + qk_rope_head_dim);

/** → [rows, heads · v_head_dim] */
function expanded(config: DeepseekV3Config, p: Scope<Value>, { qNope, qRope, latent, kRope }: Parts, layer: number, context: ModelContext): Value {
  const { num_attention_heads: heads, qk_nope_head_dim: nope, qk_rope_head_dim: rope, v_head_dim: dimV } = config;
  const { rows } = context;
  const dim = nope + rope;
  const [kNope, v] = split(reshape(linear(latent, p("kv_b_proj.weight")), [rows, heads, nope + dimV]), [nope, dimV], 2) as [Value, Value];
  const q = concat([qNope, qRope], 2);
  const k = concat([kNope, broadcastHeads(kRope, heads)], 2);
  return context.attend(layer, [reshape(q, [rows, heads * dim]), reshape(k, [rows, heads * dim]), reshape(v, [rows, heads * dimV])], { heads, kvHeads: heads, dim, dimV, scale: scaleOf(config) });
}

/** The same, attending to [latent | rope] as the one key of all heads and to the latent as its value. */
function absorbed(config: DeepseekV3Config, p: Scope<Value>, { qNope, qRope, latent, kRope }: Parts, layer: number, context: ModelContext): Value {
  const { num_attention_heads: heads, kv_lora_rank: rank, qk_nope_head_dim: nope, qk_rope_head_dim: rope, v_head_dim: dimV } = config;
  const { rows } = context;
  // W_UK and W_UV of every head as they are stored, one below the other. To take them apart would copy them at each step:
  // queries get zeros where W_UV stands, and of the products with both the part of W_UK is left out.
  const both = reshape(p("kv_b_proj.weight"), [heads, nope + dimV, rank]);
  const none = mul(slice(qNope, 2, 0, 1), constant(new Float32Array(dimV), [1, 1, dimV]));
  const qLatent = transpose(matmul(concat([qNope, none], 2), both, { transBatchA: true }), [1, 0, 2]);
  const q = reshape(concat([qLatent, qRope], 2), [rows, heads * (rank + rope)]);
  const k = concat([latent, reshape(kRope, [rows, rope])], 1);
  const seen = context.attend(layer, [q, k], { heads, kvHeads: 1, dim: rank + rope, dimV: rank, scale: scaleOf(config) });
  const products = matmul(reshape(seen, [rows, heads, rank]), both, { transBatchA: true, transB: true });
  return reshape(transpose(slice(products, 2, nope, dimV), [1, 0, 2]), [rows, heads * dimV]);
}

function queries({ q_lora_rank }: DeepseekV3Config, p: Scope<Value>, project: Projection): Value {
  if (q_lora_rank === null) return project(p("q_proj.weight"));
  const latent = project(p("q_a_proj.weight"), p.optional("q_a_proj.bias"));
  return linear(rmsNorm(latent, p("q_a_layernorm.weight"), latentNormEpsilon), p("q_b_proj.weight"));
}

/** [rows, 1, width] → [rows, heads, width]. */
const broadcastHeads = (x: Value, heads: number): Value => concat(new Array<Value>(heads).fill(x), 1);

import { concat, reshape, split, type Value } from "../tensor/index.ts";
import { linear, rmsNorm, type Projection } from "../nn/linear.ts";
import { softmaxScaleFactor } from "../nn/rope.ts";
import type { DeepseekV3Config } from "./config.ts";
import type { ModelContext } from "./context.ts";
import type { Scope } from "./parameters.ts";

// The reference implementation uses this for the latent norms, whatever rms_norm_eps says.
export const latentNormEpsilon = 1e-6;

/**
 * Multi-head latent attention (DeepSeek-V3, arXiv 2412.19437, eq. 1 to 11), expanded: keys and values are made from the latent
 * before they are used. A key is [nope | rope]; the rope part is one for all heads.
 */
export function latentAttention(config: DeepseekV3Config, p: Scope<Value>, project: Projection, layer: number, context: ModelContext): Value {
  const { num_attention_heads: heads, kv_lora_rank, qk_nope_head_dim: nope, qk_rope_head_dim: rope, v_head_dim: dimV, rope_interleave } = config;
  const { rows } = context;
  const dim = nope + rope;
  const perHead = (x: Value, width: number): Value => reshape(x, [rows, heads, width]);
  const rotated = (x: Value, count: number): Value => reshape(context.rotate(reshape(x, [rows, count * rope]), count, rope_interleave), [rows, count, rope]);

  const [qNope, qRope] = split(perHead(queries(config, p, project), dim), [nope, rope], 2) as [Value, Value];
  const q = concat([qNope, rotated(qRope, heads)], 2);

  const [latent, kRope] = split(project(p("kv_a_proj_with_mqa.weight"), p.optional("kv_a_proj_with_mqa.bias")), [kv_lora_rank, rope], 1) as [Value, Value];
  const expanded = linear(rmsNorm(latent, p("kv_a_layernorm.weight"), latentNormEpsilon), p("kv_b_proj.weight"));
  const [kNope, v] = split(perHead(expanded, nope + dimV), [nope, dimV], 2) as [Value, Value];
  const shared = broadcastHeads(rotated(kRope, 1), heads);
  const k = concat([kNope, shared], 2);

  const scale = softmaxScaleFactor(config.rope) / Math.sqrt(dim);
  const y = context.attend(layer, [reshape(q, [rows, heads * dim]), reshape(k, [rows, heads * dim]), reshape(v, [rows, heads * dimV])], { heads, kvHeads: heads, dim, dimV, scale });
  return linear(y, p("o_proj.weight"), p.optional("o_proj.bias"));
}

function queries({ q_lora_rank }: DeepseekV3Config, p: Scope<Value>, project: Projection): Value {
  if (q_lora_rank === null) return project(p("q_proj.weight"));
  const latent = project(p("q_a_proj.weight"), p.optional("q_a_proj.bias"));
  return linear(rmsNorm(latent, p("q_a_layernorm.weight"), latentNormEpsilon), p("q_b_proj.weight"));
}

/** [rows, 1, width] → [rows, heads, width]. */
const broadcastHeads = (x: Value, heads: number): Value => concat(new Array<Value>(heads).fill(x), 1);

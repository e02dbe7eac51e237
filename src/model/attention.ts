import { mul, reshape, rmsNormalize, type Value } from "../tensor/index.ts";
import { linear, type Projection } from "../nn/linear.ts";
import type { DeepseekV3Config, ModelConfig } from "./config.ts";
import type { ModelContext, Projected } from "./context.ts";
import type { Scope } from "./parameters.ts";

/** Grouped-query attention of llama, qwen2 (with biases), qwen3 and qwen3_moe (q and k normalised per head). */
export function groupedQueryAttention(config: Exclude<ModelConfig, DeepseekV3Config>, p: Scope<Value>, project: Projection, layer: number, context: ModelContext): Value {
  const { num_attention_heads: heads, num_key_value_heads: kvHeads, head_dim: dim, rms_norm_eps } = config;
  const one = (name: string): Value => project(p(`${name}.weight`), p.optional(`${name}.bias`));
  const perHead = (name: string, count: number, gain: Value | undefined): Value => {
    const x = one(name);
    return gain ? reshape(mul(rmsNormalize(reshape(x, [context.rows, count, dim]), rms_norm_eps), gain), x.shape) : x;
  };
  const packed = p.optional("qkv_proj.weight");
  const projected: Projected = packed
    ? project(packed, p.optional("qkv_proj.bias"))
    : [perHead("q_proj", heads, p.optional("q_norm.weight")), perHead("k_proj", kvHeads, p.optional("k_norm.weight")), one("v_proj")];
  const y = context.attend(layer, projected, { heads, kvHeads, dim, dimV: dim, scale: 1 / Math.sqrt(dim), rotated: true });
  return linear(y, p("o_proj.weight"), p.optional("o_proj.bias"));
}

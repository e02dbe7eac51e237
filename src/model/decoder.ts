import { add, concat, slice, type Value } from "../tensor/index.ts";
import { embedding, linear, normed, rmsNorm, type Projection } from "../nn/linear.ts";
import { groupedSigmoidRouting, mixture, softmaxRouting, type Routing } from "../nn/moe.ts";
import { ropeTables, type RopeTables } from "../nn/rope.ts";
import { swiglu } from "../nn/swiglu.ts";
import { sizeOf } from "../tensor/op.ts";
import { groupedQueryAttention } from "./attention.ts";
import type { ModelConfig } from "./config.ts";
import type { ModelContext } from "./context.ts";
import { latentAttention } from "./latent-attention.ts";
import { expertCount, isSparse, scope, type Scope } from "./parameters.ts";

export type Parameters = Readonly<Record<string, Value>>;

export interface Hidden {
  /** After the last norm, [rows, hidden]: what the head reads. */
  readonly hidden: Value;
  /** One for each sparse layer, in order. */
  readonly routings: readonly Routing[];
}

/** The rotation's tables for positions below `positions`. */
export const rotaryTables = (config: ModelConfig, positions: number): RopeTables => ropeTables(config.rope, config.model_type === "deepseek_v3" ? config.qk_rope_head_dim : config.head_dim, positions);

/** ids [rows] int64 → hidden states. One function for training, prefill and decoding: the context says which. */
export function hiddenStates(config: ModelConfig, parameters: Parameters, ids: Value, context: ModelContext): Hidden {
  let x = embedding(parameters["model.embed_tokens.weight"]!, ids);
  const routings: Routing[] = [];
  for (let layer = 0; layer < config.num_hidden_layers; layer++) x = block(config, parameters, x, layer, context, routings);
  return { hidden: rmsNorm(x, parameters["model.norm.weight"]!, config.rms_norm_eps), routings };
}

/** Layer `layer` on x [rows, hidden]; a sparse one adds to `routings`. */
export function block(config: ModelConfig, parameters: Parameters, x: Value, layer: number, context: ModelContext, routings: Routing[]): Value {
  const p = scope(parameters, `model.layers.${layer}.`);
  const attention = scope(parameters, `model.layers.${layer}.self_attn.`);
  const projectAttention = normed(x, p("input_layernorm.weight"), config.rms_norm_eps, context.foldGain);
  const attended = add(x, config.model_type === "deepseek_v3" ? latentAttention(config, attention, projectAttention, layer, context) : groupedQueryAttention(config, attention, projectAttention, layer, context));
  return add(attended, feedForward(config, parameters, attended, p("post_attention_layernorm.weight"), layer, context, routings));
}

function feedForward(config: ModelConfig, parameters: Parameters, x: Value, gain: Value, layer: number, context: ModelContext, routings: Routing[]): Value {
  const p = scope(parameters, `model.layers.${layer}.mlp.`);
  if (!isSparse(config, layer)) return mlp(p, normed(x, gain, config.rms_norm_eps, context.foldGain));
  const unit = rmsNorm(x, gain, config.rms_norm_eps);
  const logits = linear(unit, p("gate.weight"));
  const routing = config.model_type === "qwen3_moe" ? softmaxRouting(logits, config.num_experts_per_tok, config.norm_topk_prob) : groupedSigmoidRouting(logits, p("gate.e_score_correction_bias"), config);
  routings.push(routing);
  const experts = Array.from({ length: expertCount(config) }, (_, j) => ({ gate: p(`experts.${j}.gate_proj.weight`), up: p(`experts.${j}.up_proj.weight`), down: p(`experts.${j}.down_proj.weight`) }));
  const routed = mixture(unit, routing, experts);
  if (config.model_type === "qwen3_moe" || config.n_shared_experts === 0) return routed;
  return add(routed, mlp(scope(parameters, `model.layers.${layer}.mlp.shared_experts.`), (weight, bias) => linear(unit, weight, bias)));
}

function mlp(p: Scope<Value>, project: Projection): Value {
  const of = (name: string): Value => project(p(`${name}.weight`), p.optional(`${name}.bias`));
  return linear(swiglu(of("gate_proj"), of("up_proj")), p("down_proj.weight"), p.optional("down_proj.bias"));
}

/** The matrix that turns hidden states into logits, [vocabulary, hidden]. */
export const headWeight = (config: ModelConfig, parameters: Parameters): Value => parameters[config.tie_word_embeddings ? "model.embed_tokens.weight" : "lm_head.weight"]!;

/** hidden [rows, hidden] → logits [rows, vocabulary]. */
export const logits = (config: ModelConfig, parameters: Parameters, hidden: Value): Value => linear(hidden, headWeight(config, parameters));

/**
 * DeepSeek-V3's multi-token prediction at depth 1 (section 2.2): at each position the main model's output and the embedding of
 * the next token, normalised and joined, go through one more block and the shared head to predict the token after next. The
 * embedding comes first, as in the released weights (eq. 21 has it second).
 * @param main [rows, hidden]
 * @param next the token after each row's, [rows] int64
 * @param routings takes that of the module's own mixture
 */
export function tokenAfterNextHidden(config: ModelConfig, parameters: Parameters, main: Value, next: Value, context: ModelContext, routings: Routing[] = []): Value {
  const layer = config.num_hidden_layers;
  const p = scope(parameters, `model.layers.${layer}.`);
  const embedded = embedding(parameters["model.embed_tokens.weight"]!, next);
  const joined = concat([rmsNorm(embedded, p("enorm.weight"), config.rms_norm_eps), rmsNorm(main, p("hnorm.weight"), config.rms_norm_eps)], 1);
  const out = block(config, parameters, linear(joined, p("eh_proj.weight")), layer, context, routings);
  return rmsNorm(out, p("shared_head.norm.weight"), config.rms_norm_eps);
}

/**
 * `tokenAfterNextHidden` of a batch in training. Rows are ordered by time; the last time has no token after next, so the result
 * has (time − 1) · batch rows.
 * @param targets next tokens [rows] int64
 * @param context of time − 1
 */
export function nextTokenHidden(config: ModelConfig, parameters: Parameters, main: Value, targets: Value, context: ModelContext, routings: Routing[] = []): Value {
  const rows = sizeOf(context.rows, "nextTokenHidden");
  return tokenAfterNextHidden(config, parameters, slice(main, 0, 0, rows), slice(targets, 0, 0, rows), context, routings);
}

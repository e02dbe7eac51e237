import { add, broadcastTo, constant, gather, matmul, mean, mul, neg, reciprocal, reshape, sigmoid, slice, concat, softmax, sqrt, sumAll, takeAlong, transpose, logSoftmax, type Value } from "../src/tensor/index.ts";
import type { LlamaConfig } from "../src/model/index.ts";

/**
 * The same model written as a textbook has it: rows by sequence, one op a step, no folded gain, no fused gradient, no causal
 * blocks. What the tuned train step is compared with.
 */
export function naiveLoss(config: LlamaConfig, p: Readonly<Record<string, Value>>, ids: Value, targets: Value, weights: Value, batch: number, time: number): Value {
  const { num_attention_heads: heads, head_dim: dim, hidden_size } = config;
  const rows = batch * time;
  const norm = (x: Value, gain: Value): Value => mul(mul(x, reciprocal(sqrt(add(mean(mul(x, x), [-1]), config.rms_norm_eps)))), gain);
  const linear = (x: Value, w: Value): Value => matmul(x, transpose(w, [1, 0]));
  const byHead = (x: Value): Value => transpose(reshape(x, [batch, time, heads, dim]), [0, 2, 1, 3]);
  const angle = (f: (x: number) => number): Value =>
    constant(Float32Array.from({ length: time * dim }, (_, k) => f(Math.floor(k / dim) * config.rope.rope_theta ** ((-2 * ((k % dim) % (dim / 2))) / dim))), [time, dim]);
  const [cos, sin] = [angle(Math.cos), angle(Math.sin)];
  const rotate = (x: Value): Value => add(mul(x, cos), mul(concat([neg(slice(x, 3, dim / 2, dim / 2)), slice(x, 3, 0, dim / 2)], 3), sin));
  const mask = constant(Float32Array.from({ length: time * time }, (_, k) => (k % time > Math.floor(k / time) ? -1e9 : 0)), [time, time]);
  let x = gather(p["model.embed_tokens.weight"]!, ids);
  for (let layer = 0; layer < config.num_hidden_layers; layer++) {
    const w = (name: string): Value => p[`model.layers.${layer}.${name}.weight`]!;
    const a = norm(x, w("input_layernorm"));
    const [q, k, v] = [rotate(byHead(linear(a, w("self_attn.q_proj")))), rotate(byHead(linear(a, w("self_attn.k_proj")))), byHead(linear(a, w("self_attn.v_proj")))];
    const scores = add(mul(matmul(q, transpose(k, [0, 1, 3, 2])), 1 / Math.sqrt(dim)), broadcastTo(mask, [batch, heads, time, time]));
    const y = reshape(transpose(matmul(softmax(scores), v), [0, 2, 1, 3]), [rows, hidden_size]);
    x = add(x, linear(y, w("self_attn.o_proj")));
    const b = norm(x, w("post_attention_layernorm"));
    const gate = linear(b, w("mlp.gate_proj"));
    x = add(x, linear(mul(mul(gate, sigmoid(gate)), linear(b, w("mlp.up_proj"))), w("mlp.down_proj")));
  }
  const logits = linear(norm(x, p["model.norm.weight"]!), p["model.embed_tokens.weight"]!);
  return neg(sumAll(mul(takeAlong(logSoftmax(logits), reshape(targets, [rows, 1])), weights)));
}

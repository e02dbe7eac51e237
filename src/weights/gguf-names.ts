/** Where a parameter lies in a GGUF file. */
export interface GgufPlace {
  readonly tensor: string;
  /** Of a tensor that stacks the experts of a layer. */
  readonly expert?: number;
}

/** llama.cpp's name for each module of a layer (`gguf-py/gguf/constants.py`). */
const modules: Readonly<Record<string, string>> = {
  input_layernorm: "attn_norm",
  "self_attn.q_proj": "attn_q",
  "self_attn.k_proj": "attn_k",
  "self_attn.v_proj": "attn_v",
  "self_attn.o_proj": "attn_output",
  "self_attn.q_norm": "attn_q_norm",
  "self_attn.k_norm": "attn_k_norm",
  "self_attn.q_a_proj": "attn_q_a",
  "self_attn.q_a_layernorm": "attn_q_a_norm",
  "self_attn.q_b_proj": "attn_q_b",
  "self_attn.kv_a_proj_with_mqa": "attn_kv_a_mqa",
  "self_attn.kv_a_layernorm": "attn_kv_a_norm",
  "self_attn.kv_b_proj": "attn_kv_b",
  post_attention_layernorm: "ffn_norm",
  "mlp.gate_proj": "ffn_gate",
  "mlp.up_proj": "ffn_up",
  "mlp.down_proj": "ffn_down",
  "mlp.gate": "ffn_gate_inp",
  "mlp.experts.gate_proj": "ffn_gate_exps",
  "mlp.experts.up_proj": "ffn_up_exps",
  "mlp.experts.down_proj": "ffn_down_exps",
  "mlp.shared_experts.gate_proj": "ffn_gate_shexp",
  "mlp.shared_experts.up_proj": "ffn_up_shexp",
  "mlp.shared_experts.down_proj": "ffn_down_shexp",
};

const outside: Readonly<Record<string, string>> = {
  "model.embed_tokens.weight": "token_embd.weight",
  "model.norm.weight": "output_norm.weight",
  "lm_head.weight": "output.weight",
};

/** The place of a parameter by its name in `parameterSpecs`, or null for one that GGUF has no name for. */
export function ggufPlace(parameter: string): GgufPlace | null {
  const whole = outside[parameter];
  if (whole !== undefined) return { tensor: whole };
  const [, layer, path = "", kind] = /^model\.layers\.(\d+)\.(.+)\.(weight|bias|e_score_correction_bias)$/.exec(parameter) ?? [];
  if (kind === "e_score_correction_bias") return { tensor: `blk.${layer}.exp_probs_b.bias` };
  const [, before, expert, behind] = /^(mlp\.experts)\.(\d+)\.(.+)$/.exec(path) ?? [];
  const module = modules[expert === undefined ? path : `${before}.${behind}`];
  if (module === undefined) return null;
  return { tensor: `blk.${layer}.${module}.${kind}`, ...(expert !== undefined && { expert: Number(expert) }) };
}

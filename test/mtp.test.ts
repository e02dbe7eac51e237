import { expect, test } from "vitest";
import { headWeight, hiddenStates, initParameters, nextTokenHidden, parameterSpecs, parseConfig, rotaryTables, trainingContext, type DeepseekV3Config } from "../src/model/index.ts";
import { tokenLogprobs, weightedNll } from "../src/nn/losses.ts";
import { random } from "../src/random/index.ts";
import { add, gradientsOf, interpret, simplify, slice, trace, type NdArray, type TensorType, type Value } from "../src/tensor/index.ts";
import { ndArray } from "../src/tensor/nd-array.ts";
import { runGraph } from "./providers.ts";

const [batch, time] = [2, 5];
const rows = batch * time;

const shape = {
  model_type: "deepseek_v3",
  vocab_size: 40,
  hidden_size: 32,
  intermediate_size: 48,
  moe_intermediate_size: 12,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  n_routed_experts: 8,
  num_experts_per_tok: 2,
  n_group: 2,
  topk_group: 1,
  n_shared_experts: 1,
  first_k_dense_replace: 1,
  kv_lora_rank: 16,
  q_lora_rank: null,
  qk_nope_head_dim: 8,
  qk_rope_head_dim: 8,
  v_head_dim: 8,
  num_nextn_predict_layers: 1,
};

function setup() {
  const config = parseConfig(shape, "test") as DeepseekV3Config;
  const specs = parameterSpecs(config, { mtp: true });
  const types = { p: Object.fromEntries(specs.map((s): [string, TensorType] => [s.name, { shape: s.shape, dtype: "float32" }])), ids: { shape: [rows], dtype: "int64" } as TensorType, targets: { shape: [rows], dtype: "int64" } as TensorType };
  const graph = simplify(
    trace((v) => {
      const p = v.p as Record<string, Value>;
      const tables = rotaryTables(config, time);
      const { hidden } = hiddenStates(config, p, v.ids, trainingContext({ batch, time }, tables));
      const next = nextTokenHidden(config, p, hidden, v.targets, trainingContext({ batch, time: time - 1 }, tables));
      const ahead = rows - batch;
      const weights = (n: number): Value => slice(add(slice(hidden, 1, 0, 1), 1), 0, 0, n);
      const logprobs = tokenLogprobs(next, headWeight(config, p), slice(v.targets, 0, batch, ahead)).logprobs;
      const loss = weightedNll(logprobs, weights(ahead));
      return { next, loss, g: gradientsOf(loss, Object.fromEntries(Object.entries(p).filter(([name]) => !name.endsWith("e_score_correction_bias")))) };
    }, types),
  );
  const values = initParameters(specs, 0.3, random("mtp"));
  const stream = random("mtp tokens");
  const tokens = Array.from({ length: rows + batch }, () => stream.below(config.vocab_size));
  const inputs = (ids: number[]): Record<string, NdArray> => ({
    ...Object.fromEntries(specs.map((s) => [`p/${s.name}`, ndArray(s.shape, values[s.name]!)])),
    ids: ndArray([rows], ids.slice(0, rows), "int64"),
    targets: ndArray([rows], ids.slice(batch), "int64"), // rows are ordered by time: the next token is a batch further on
  });
  return { config, graph, tokens, inputs, width: config.hidden_size };
}

test("the prediction of the token after next sees the next token and nothing later", () => {
  const { graph, tokens, inputs, width, config } = setup();
  const before = interpret(graph, inputs(tokens)).next!.data;
  const changedTime = 3;
  const changed = tokens.map((id, i) => (Math.floor(i / batch) === changedTime ? (id + 1) % config.vocab_size : id));
  const after = interpret(graph, inputs(changed)).next!.data;
  for (let row = 0; row < rows - batch; row++) {
    const t = Math.floor(row / batch);
    const same = before.subarray(row * width, (row + 1) * width).every((v, i) => v === after[row * width + i]);
    // Position t reads tokens up to t and, as its next token, t + 1.
    expect(same, `position ${t}`).toBe(t + 1 < changedTime);
  }
});

test("every parameter of the module learns, and ONNX Runtime agrees with the reference", async () => {
  const { graph, tokens, inputs, config } = setup();
  const want = interpret(graph, inputs(tokens));
  const got = await runGraph(graph, inputs(tokens), "cpu");
  for (const [name, value] of Object.entries(want)) {
    const scale = Math.max(1e-3, ...value.data.map(Math.abs));
    expect(Math.max(...value.data.map((v, i) => Math.abs(v - got[name]!.data[i]!))), name).toBeLessThan(1e-4 * scale);
    if (name.startsWith(`g/model.layers.${config.num_hidden_layers}.`) && !name.includes("experts")) expect(value.data.some((v) => v !== 0), name).toBe(true);
  }
});

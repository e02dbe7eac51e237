import { describe, expect, test } from "vitest";
import { ModelRunner } from "../src/engine/model-runner.ts";
import { cacheShape, hiddenStates, initParameters, parameterSpecs, parseConfig, rotaryTables, trainingContext, type ModelConfig } from "../src/model/index.ts";
import { random } from "../src/random/index.ts";
import { interpret, simplify, trace, type NdArray, type TensorType, type Value } from "../src/tensor/index.ts";
import { ndArray } from "../src/tensor/nd-array.ts";
import { backend, runGraph, runnersHere } from "./providers.ts";

const tiny = {
  model_type: "deepseek_v3",
  vocab_size: 30,
  hidden_size: 32,
  intermediate_size: 40,
  moe_intermediate_size: 12,
  num_hidden_layers: 2,
  num_attention_heads: 3,
  n_routed_experts: 4,
  num_experts_per_tok: 2,
  n_group: 2,
  topk_group: 1,
  n_shared_experts: 1,
  first_k_dense_replace: 1,
  kv_lora_rank: 10,
  q_lora_rank: null,
  qk_nope_head_dim: 6,
  qk_rope_head_dim: 8,
  v_head_dim: 5,
};
const yarn = { type: "yarn", factor: 4, beta_fast: 32, beta_slow: 1, mscale: 1, mscale_all_dim: 1, original_max_position_embeddings: 16 };
const configs: Record<string, object> = {
  "queries at once, halves rotated": { ...tiny, rope_interleave: false },
  "queries by a latent, YaRN, biases": { ...tiny, q_lora_rank: 12, max_position_embeddings: 64, rope_scaling: yarn, attention_bias: true },
};

const [batch, time] = [2, 7];

function hidden(config: ModelConfig, absorbed: boolean) {
  const specs = parameterSpecs(config);
  const types = { p: Object.fromEntries(specs.map((s): [string, TensorType] => [s.name, { shape: s.shape, dtype: "float32" }])), ids: { shape: [batch * time], dtype: "int64" } as TensorType };
  const graph = simplify(trace((v) => ({ hidden: hiddenStates(config, v.p as Record<string, Value>, v.ids, { ...trainingContext({ batch, time }, rotaryTables(config, time)), absorbed }).hidden }), types));
  const stream = random("latent cache");
  const values = initParameters(specs, 0.3, random("latent cache weights"));
  const inputs: Record<string, NdArray> = { ...Object.fromEntries(specs.map((s) => [`p/${s.name}`, ndArray(s.shape, values[s.name]!)])), ids: ndArray([batch * time], Array.from({ length: batch * time }, () => stream.below(config.vocab_size)), "int64") };
  return { graph, inputs };
}

const furthest = (a: NdArray, b: NdArray): number => Math.max(...a.data.map((x, i) => Math.abs(x - b.data[i]!)));

describe.each(Object.entries(configs))("%s", (_, shape) => {
  const config = parseConfig(shape, "test");

  test("what is absorbed says what is expanded", async () => {
    const [naive, absorbed] = [hidden(config, false), hidden(config, true)];
    const want = interpret(naive.graph, naive.inputs).hidden!;
    // In double precision it is one sum in another order.
    expect(furthest(interpret(absorbed.graph, absorbed.inputs).hidden!, want)).toBeLessThan(1e-9);
    for (const provider of runnersHere) expect(furthest((await runGraph(absorbed.graph, absorbed.inputs, provider)).hidden!, want), provider).toBeLessThan(1e-4);
  });

  test("no graph of it makes keys and values of every head", () => {
    const { graph } = hidden(config, true);
    const widths = graph.nodes.flatMap(({ outputs }) => outputs.map(({ shape: s }) => s.at(-1)));
    expect(widths).not.toContain(tiny.num_attention_heads * (tiny.qk_nope_head_dim + tiny.v_head_dim));
  });

  test("the engine takes the latent's memory for a token, and no more", async () => {
    const real = await backend("cpu");
    let bytes = 0;
    const counting = { ...real, tensor: ((dtype, dims) => {
      const made = real.tensor(dtype, dims);
      bytes += made.data.byteLength;
      return made;
    }) as typeof real.tensor };
    const runner = new ModelRunner(counting, config, { max_num_seqs: 3, max_model_len: 50 });
    // 10 + 8 numbers, which the kernel wants as 24.
    expect(bytes).toBe(3 * 50 * tiny.num_hidden_layers * 24 * 4);
    expect(runner.floatsPerToken).toBe(tiny.num_hidden_layers * 24);
    await runner.dispose();
  });
});

test("DeepSeek-V3 keeps 70,272 bytes of a token in two-byte numbers (arXiv 2505.09343, table 1)", () => {
  const v3 = parseConfig({ ...tiny, vocab_size: 129280, hidden_size: 7168, num_hidden_layers: 61, num_attention_heads: 128, kv_lora_rank: 512, q_lora_rank: 1536, qk_nope_head_dim: 128, qk_rope_head_dim: 64, v_head_dim: 128 }, "test");
  expect(2 * cacheShape(v3).floatsPerToken).toBe(70272);
});

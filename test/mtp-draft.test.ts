import { expect, test } from "vitest";
import { Generator } from "../src/engine/generator.ts";
import { ModelRunner } from "../src/engine/model-runner.ts";
import { headWeight, hiddenStates, initParameters, nextTokenHidden, parameterSpecs, parseConfig, rotaryTables, trainingContext } from "../src/model/index.ts";
import { random } from "../src/random/index.ts";
import { matmul, simplify, trace, type NdArray, type TensorType, type Value } from "../src/tensor/index.ts";
import { ndArray } from "../src/tensor/nd-array.ts";
import { backend, runGraph } from "./providers.ts";

const config = parseConfig(
  { model_type: "deepseek_v3", vocab_size: 24, hidden_size: 32, intermediate_size: 40, moe_intermediate_size: 12, num_hidden_layers: 2, num_attention_heads: 3, n_routed_experts: 4, num_experts_per_tok: 2, n_group: 2, topk_group: 1, n_shared_experts: 1, first_k_dense_replace: 1, kv_lora_rank: 10, q_lora_rank: null, qk_nope_head_dim: 6, qk_rope_head_dim: 8, v_head_dim: 6, num_nextn_predict_layers: 1 },
  "test",
);
const specs = parameterSpecs(config, { mtp: true });
const values = initParameters(specs, 0.2, random("mtp draft"));
const max_model_len = 64;

const ids = (name: string, n: number): number[] => {
  const stream = random(name);
  return Array.from({ length: n }, () => stream.below(config.vocab_size));
};

async function served(frozen: boolean) {
  const on = await backend("cpu");
  const parameters = Object.fromEntries(specs.map((s) => [s.name, on.tensorOver("float32", s.shape, values[s.name]!)]));
  const runner = new ModelRunner(on, config, { max_num_seqs: 4, max_model_len, mtp: true, ...(frozen && { frozen: parameters }) });
  return { runner, parameters: frozen ? {} : parameters };
}

/** What training predicts after `tokens`, whose last is the next token of the main model's last output. */
async function trained(tokens: readonly number[]): Promise<Float64Array> {
  const time = tokens.length;
  const types = { p: Object.fromEntries(specs.map((s): [string, TensorType] => [s.name, { shape: s.shape, dtype: "float32" }])), ids: { shape: [time], dtype: "int64" } as TensorType, targets: { shape: [time], dtype: "int64" } as TensorType };
  const graph = simplify(
    trace((v) => {
      const p = v.p as Record<string, Value>;
      const tables = rotaryTables(config, time);
      const { hidden } = hiddenStates(config, p, v.ids, trainingContext({ batch: 1, time }, tables));
      return { logits: matmul(nextTokenHidden(config, p, hidden, v.targets, trainingContext({ batch: 1, time: time - 1 }, tables)), headWeight(config, p), { transB: true }) };
    }, types),
  );
  const inputs: Record<string, NdArray> = { ...Object.fromEntries(specs.map((s) => [`p/${s.name}`, ndArray(s.shape, values[s.name]!)])), ids: ndArray([time], [...tokens], "int64"), targets: ndArray([time], [...tokens.slice(1), 0], "int64") };
  const { data } = (await runGraph(graph, inputs, "cpu")).logits!;
  return data.slice(-config.vocab_size) as Float64Array;
}

test.each([true, false])("what the engine guesses is what training predicts, however far the guesser lags (frozen: %s)", async (frozen) => {
  const { runner, parameters } = await served(frozen);
  const tokens = ids("tokens", 20);
  await runner.forward(parameters, 1, [tokens.slice(0, 12), ids("others", 9)].map((token_ids) => ({ token_ids, past: 0 })), false);
  let past = 0;
  for (const computed of [12, 13, 14, 19]) {
    for (let n = Math.max(past, 12); n < computed; n++) await runner.extend(parameters, 1, n, [tokens[n]!], 1, false);
    const row = tokens.slice(0, computed + 1);
    const [got, want] = [await runner.draft(parameters, { row: 1, tokens: row, past }, false), await trained(row)];
    want.forEach((w, i) => expect(Math.abs(got[i]! - w), `${computed} tokens, logit ${i}`).toBeLessThan(1e-4));
    past = computed;
  }
  await runner.dispose();
});

test("with guesses by the module every sequence says what it says without, and some guesses are right", async () => {
  const { runner, parameters } = await served(false);
  const requests = Array.from({ length: 12 }, (_, i) => ({ prompt_ids: ids(`prompt ${i}`, 1 + (i % 7)), sampling: { temperature: i % 2, seed: i, max_tokens: 20 + i } }));
  const plain = new Generator(runner, parameters);
  const guessing = new Generator(runner, parameters, { speculative: { method: "mtp", num_speculative_tokens: 1 } });
  for (const request of requests) {
    const [want] = await plain.generate([request]);
    const [got] = await guessing.generate([request]);
    expect(got!.token_ids).toEqual(want!.token_ids);
    got!.logprobs.forEach((logprob, t) => expect(Math.abs(logprob - want!.logprobs[t]!)).toBeLessThan(1e-4));
  }
  // While many run nobody guesses; the last ones do, with rows that have moved.
  const [alone, together] = [await plain.generate(requests), await guessing.generate(requests)];
  expect(together.map((c) => c.token_ids)).toEqual(alone.map((c) => c.token_ids));
  const { spec_decode_num_drafts, spec_decode_num_draft_tokens, spec_decode_num_accepted_tokens } = guessing.stats();
  expect(spec_decode_num_draft_tokens).toBe(spec_decode_num_drafts);
  expect(spec_decode_num_accepted_tokens).toBeGreaterThan(0);
  await runner.dispose();
});

test("a model without the module, or loaded without it, says so", async () => {
  const on = await backend("cpu");
  const llama = parseConfig({ model_type: "llama", vocab_size: 8, hidden_size: 16, intermediate_size: 16, num_hidden_layers: 1, num_attention_heads: 1 }, "test");
  expect(() => new ModelRunner(on, llama, { max_num_seqs: 1, max_model_len: 8, mtp: true })).toThrow(expect.objectContaining({ code: "unsupported" }));
  const runner = new ModelRunner(on, llama, { max_num_seqs: 1, max_model_len: 8 });
  expect(() => new Generator(runner, {}, { speculative: { method: "mtp", num_speculative_tokens: 1 } })).toThrow(expect.objectContaining({ code: "bad_argument" }));
  await runner.dispose();
});

import { readdirSync } from "node:fs";
import { expect, test } from "vitest";
import { Generator, type GeneratorOptions } from "../src/engine/generator.ts";
import { loadFrozenModel } from "../src/engine/load.ts";
import { ModelRunner } from "../src/engine/model-runner.ts";
import type { EngineRequest } from "../src/engine/types.ts";
import { initParameters, parameterSpecs, parseConfig, type ModelConfig } from "../src/model/index.ts";
import { random } from "../src/random/index.ts";
import { fixture, hasFixture } from "./fixtures.ts";
import { backend } from "./providers.ts";

const shapes = {
  llama: { model_type: "llama", vocab_size: 64, hidden_size: 32, intermediate_size: 48, num_hidden_layers: 2, num_attention_heads: 4, num_key_value_heads: 2, head_dim: 8 },
  qwen3_moe: { model_type: "qwen3_moe", vocab_size: 64, hidden_size: 32, intermediate_size: 48, moe_intermediate_size: 16, num_hidden_layers: 2, num_attention_heads: 4, num_key_value_heads: 2, head_dim: 12, num_experts: 4, num_experts_per_tok: 2 },
  deepseek_v3: { model_type: "deepseek_v3", vocab_size: 64, hidden_size: 32, intermediate_size: 40, moe_intermediate_size: 12, num_hidden_layers: 2, num_attention_heads: 3, n_routed_experts: 4, num_experts_per_tok: 2, n_group: 2, topk_group: 1, n_shared_experts: 1, first_k_dense_replace: 1, kv_lora_rank: 10, q_lora_rank: null, qk_nope_head_dim: 6, qk_rope_head_dim: 8, v_head_dim: 6 },
};

const max_model_len = 96;
const streams = 64;

/** Prompts of every length, of which many begin alike; several users and salts; greedy and sampled. */
function mixed(config: ModelConfig): EngineRequest[] {
  const stream = random("mixed requests");
  const ids = (n: number): number[] => Array.from({ length: n }, () => stream.below(config.vocab_size));
  const systems = [[], ids(17), ids(40)];
  return Array.from({ length: streams }, (_, i) => ({
    prompt_ids: [...stream.pick(systems), ...ids(1 + stream.below(24))],
    sampling: { temperature: i % 3 === 0 ? 0 : 1, seed: i, max_tokens: 1 + stream.below(30) },
    user: `user ${i % 5}`,
    cache_salt: i % 2 === 0 ? "" : "salt",
  }));
}

const setups: Record<string, GeneratorOptions> = {
  "in small chunks, from kept prefixes, with guesses": { max_num_batched_tokens: 24, kv_cache_memory_bytes: 2 ** 18, speculative: { method: "ngram", num_speculative_tokens: 3, prompt_lookup_min: 1 } },
  "in whole prompts, on this thread": { blocking: true },
};

test.each(Object.keys(shapes).flatMap((shape) => Object.keys(setups).map((setup) => [shape as keyof typeof shapes, setup] as const)))(`${streams} streams of %s say what each says alone, %s`, async (shape, setup) => {
  const on = await backend("cpu");
  const config = parseConfig(shapes[shape], "test");
  const specs = parameterSpecs(config);
  const values = initParameters(specs, 0.2, random("continuous batching", shape));
  const parameters = Object.fromEntries(specs.map((s) => [s.name, on.tensorOver("float32", s.shape, values[s.name]!)]));
  const runner = new ModelRunner(on, config, { max_num_seqs: 13, max_model_len });
  const requests = mixed(config);
  const generator = new Generator(runner, parameters, setups[setup]);
  const [again, together] = [await generator.generate(requests), await generator.generate(requests)];
  for (const [i, request] of requests.entries()) {
    const [alone] = await new Generator(runner, parameters).generate([request]);
    for (const got of [again[i]!, together[i]!]) {
      expect(got.token_ids, `stream ${i}`).toEqual(alone!.token_ids);
      got.logprobs.forEach((logprob, t) => expect(Math.abs(logprob - alone!.logprobs[t]!), `stream ${i}, token ${t}`).toBeLessThan(1e-4));
    }
  }
  if (setups[setup]!.kv_cache_memory_bytes) expect(generator.stats().prefix_cache_hits).toBeGreaterThan(0);
  await runner.dispose();
});

const inBlocks = hasFixture("gguf") ? readdirSync(fixture("gguf")).filter((name) => /[.]Q[48]_[01][.]gguf$/.test(name)) : [];

// Kernels that round activations to 8 bits make a different token of a different bit: here it has to be the same to the bit.
test.each(inBlocks)("weights in blocks, %s: the same to the bit", async (name) => {
  const on = await backend("cpu");
  const { config, parameters } = await loadFrozenModel(on, fixture("gguf", name));
  const runner = new ModelRunner(on, config, { max_num_seqs: 13, max_model_len, frozen: parameters });
  const requests = mixed(config);
  const generator = new Generator(runner, {}, { max_num_batched_tokens: 24, kv_cache_memory_bytes: 2 ** 20 });
  const [first, again] = [await generator.generate(requests), await generator.generate(requests)];
  const alone = new Generator(runner, {});
  for (const [i, request] of requests.entries()) {
    const [want] = await alone.generate([request]);
    expect([first[i], again[i]], `stream ${i}`).toEqual([want, want]);
  }
  expect(generator.stats().prefix_cache_hits).toBeGreaterThan(0);
  await runner.dispose();
});

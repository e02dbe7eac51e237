import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Chunk } from "../src/engine/chunk.ts";
import { ModelRunner } from "../src/engine/model-runner.ts";
import { initParameters, llamaConfig, parameterSpecs, parseConfig, type ModelConfig } from "../src/model/index.ts";
import { random } from "../src/random/index.ts";
import { backend } from "./providers.ts";

const special = { vocabSize: 40, bosId: 0, eosId: 1, padId: 2 };
const common = { hidden_size: 32, intermediate_size: 48, num_hidden_layers: 2, max_position_embeddings: 40 };
const latent = { kv_lora_rank: 10, q_lora_rank: null, qk_nope_head_dim: 6, qk_rope_head_dim: 8, v_head_dim: 5, n_routed_experts: 4, num_experts_per_tok: 2, n_group: 2, topk_group: 1, n_shared_experts: 1, first_k_dense_replace: 1, moe_intermediate_size: 12 };
const configs: Record<string, ModelConfig> = {
  "heads that the kernel rotates": llamaConfig({ ...common, num_attention_heads: 2, num_key_value_heads: 1 }, special),
  "heads that it does not": llamaConfig({ ...common, num_attention_heads: 4, num_key_value_heads: 2 }, special),
  "a cache of latents": parseConfig({ model_type: "deepseek_v3", vocab_size: 40, num_attention_heads: 3, ...common, ...latent }, "test"),
};
const max_model_len = 40;
const rows = 4;
/** How many tokens each row gets in each step, some none. */
const steps = fc.array(fc.array(fc.oneof(fc.constantFrom(0, 1, 1), fc.nat(8)), { minLength: rows, maxLength: rows }), { minLength: 1, maxLength: 5 });

const on = await backend("cpu");
const ways = [false, ...((await on.hasOwnKernels()) ? [true] : [])];

describe.each(Object.entries(configs))("%s", (_, config) => {
  const values = initParameters(parameterSpecs(config), 0.3, random("forward"));
  const parameters = Object.fromEntries(parameterSpecs(config).map(({ name, shape }) => [name, on.tensorOver("float32", shape, values[name]!)]));

  test.each(ways)("rows say together what they say alone, whatever they are given in a step (own kernels: %s)", async (ownKernels) => {
    const runner = (max_num_seqs: number): ModelRunner => new ModelRunner(on, config, { max_num_seqs, max_model_len, session: { ownKernels } });
    const [together, single] = [runner(rows + 1), runner(1)];
    await fc.assert(
      fc.asyncProperty(steps, fc.nat(100), async (plan, seed) => {
        const stream = random("forward", seed);
        const past = new Array<number>(rows).fill(0);
        const given: Chunk[][] = plan.map((counts) =>
          counts.map((count, row) => {
            const chunk = { token_ids: Array.from({ length: count }, () => stream.below(40)), past: past[row]!, wanted: 1 + stream.below(2) };
            past[row]! += count;
            return chunk;
          }),
        );
        const got: Float32Array[] = [];
        for (const chunks of given) got.push((await together.forward(parameters, 1, chunks, true)).slice());
        for (let row = 0; row < rows; row++)
          for (const [step, chunks] of given.entries()) {
            const { token_ids, past, wanted } = chunks[row]!;
            if (token_ids.length === 0) continue;
            const want = (await single.extend(parameters, 0, past, token_ids, wanted!, true)).slice();
            const before = chunks.slice(0, row).reduce((n, c) => n + Math.min(c.wanted!, c.token_ids.length), 0) * config.vocab_size;
            const furthest = want.reduce((worst, value, i) => Math.max(worst, Math.abs(value - got[step]![before + i]!)), 0);
            expect(furthest, `row ${row} of step ${step}`).toBeLessThan(1e-4);
          }
      }),
      { numRuns: 25 },
    );
    await together.dispose();
    await single.dispose();
  });
});

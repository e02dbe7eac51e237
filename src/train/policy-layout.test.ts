import { expect, test } from "vitest";
import { deepseekConfig, initParameters, llamaConfig, parameterSpecs, type ModelConfig } from "../model/index.ts";
import { adamwDefaults } from "../optim/adamw.ts";
import { random } from "../random/index.ts";
import { openBackend } from "../runtime/index.ts";
import { policyLossDefaults } from "./objectives.ts";
import { fillBatch, layOut, microBatches, policyBatchTypes, type PolicyLayout, type TrainSample } from "./policy-layout.ts";
import { createScorer, policyObjective } from "./policy-step.ts";
import { TrainState } from "./train-state.ts";
import { TrainStep } from "./train-step.ts";

const vocabulary = { vocabSize: 40, bosId: null, eosId: null, padId: null };
const configs: Readonly<Record<string, ModelConfig>> = {
  "grouped queries": llamaConfig({ hidden_size: 32, intermediate_size: 48, num_hidden_layers: 2, num_attention_heads: 4, num_key_value_heads: 2 }, vocabulary),
  "latent attention": deepseekConfig({ hidden_size: 32, intermediate_size: 48, moe_intermediate_size: 16, num_hidden_layers: 2, num_attention_heads: 2, n_routed_experts: 4, num_experts_per_tok: 1, kv_lora_rank: 16, qk_rope_head_dim: 8, v_head_dim: 16 }, vocabulary),
};

const stream = random("policy layout");
const tokens = (count: number): number[] => Array.from({ length: count }, () => stream.below(vocabulary.vocabSize));
/** `counts[p]` completions of prompt p. */
const samplesOf = (counts: readonly number[]): TrainSample[] =>
  counts.flatMap((count, p) => {
    const prompt_ids = tokens(5 + 4 * p);
    return Array.from({ length: count }, (_, i) => {
      const completion_ids = tokens(1 + ((3 * i + p) % 12));
      return { prompt_ids, completion_ids, old_logprobs: completion_ids.map(() => -3.5), advantage: i % 2 ? 1 : -0.7, masked: i === 3, ...(i === 2 && { tool_mask: completion_ids.map((_, t) => (t % 3 === 1 ? 0 : 1)) }) };
    });
  });

/** A step, and the scores of the same parameters, on samples in a layout. */
async function stepOn(config: ModelConfig, layout: PolicyLayout, placed: readonly TrainSample[]) {
  const backend = await openBackend();
  const specs = parameterSpecs(config);
  const initial = initParameters(specs, 0.3, random("parameters"));
  const state = new TrainState(backend, specs, initial);
  const loss = { ...policyLossDefaults, max_completion_length: 16, epsilon: 5, beta: 0.1 };
  const step = await TrainStep.create(backend, state, policyBatchTypes(layout), policyObjective(config, layout, loss), { optimizer: { ...adamwDefaults, epsilon: 1 }, max_grad_norm: 1e9 });
  const count = fillBatch(step.batch, layout, placed, 0);
  const reference = new TrainState(backend, specs, initParameters(specs, 0.3, random("reference")));
  const scorer = await createScorer(backend, config, reference.base, reference.parameters, layout, step.batch);
  await scorer.run();
  const metrics = await step.run(1);
  // With ε = 1 the first update is the gradient over 1 plus itself.
  const update = Object.entries(state.parameters).flatMap(([name, { data }]) => Array.from(data as Float32Array, (value, i) => value - initial[name]![i]!));
  scorer.dispose();
  step.dispose();
  return { count, metrics, update };
}

test.each(Object.keys(configs))("prompts that are shared give what prompts of their own give: %s", async (name) => {
  const samples = samplesOf([4, 8, 4]);
  const { layout, placed } = layOut(samples, 20);
  expect(layout.shared?.group).toBe(4);
  const shared = await stepOn(configs[name]!, layout, placed);
  const apart = await stepOn(configs[name]!, { batch: 20, time: 32 }, samples);
  expect(shared.count).toBe(apart.count);
  for (const [metric, value] of Object.entries(apart.metrics)) expect(shared.metrics[metric], metric).toBeCloseTo(value, 4);
  const size = Math.max(...apart.update.map(Math.abs));
  expect(size).toBeGreaterThan(1e-3);
  const furthest = apart.update.reduce((worst, value, i) => Math.max(worst, Math.abs(value - shared.update[i]!)), 0);
  expect(furthest / size).toBeLessThan(1e-3);
});

test("prompts are shared where each has as many completions, and the places can be divided so", () => {
  const group = (counts: readonly number[], batch: number): number | undefined => layOut(samplesOf(counts), batch).layout.shared?.group;
  expect(group([4, 4], 8)).toBe(4);
  expect(group([4, 8], 12)).toBe(4);
  expect(group([4, 3], 8)).toBeUndefined();
  expect(group([4, 4], 10)).toBeUndefined();
  expect(group([1, 1, 1], 3)).toBeUndefined();
});

test("micro-batches are the minibatch, in parts, with the completions of a prompt side by side", () => {
  const samples = stream.shuffle(samplesOf([4, 8, 4]));
  const parts = microBatches(samples, 4);
  expect(parts.map((part) => part.length)).toEqual([4, 4, 4, 4]);
  expect(new Set(parts.flat())).toEqual(new Set(samples));
  expect(parts.map((part) => layOut(part, 4).layout.shared?.group)).toEqual([4, 4, 4, 4]);
  expect(microBatches(samples, 5).map((part) => part.length)).toEqual([5, 5, 5, 1]);
});

test("more completions than positions", async () => {
  const samples = samplesOf([1]).flatMap((sample) => Array.from({ length: 20 }, () => sample));
  const few = layOut(samples.slice(0, 1), 1).layout;
  const many = { batch: 20, time: few.time };
  expect(many.time).toBeLessThan(many.batch);
  const [one, twenty] = [await stepOn(configs["grouped queries"]!, few, samples.slice(0, 1)), await stepOn(configs["grouped queries"]!, many, samples)];
  for (const metric of ["loss", "entropy", "kl"]) expect(twenty.metrics[metric], metric).toBeCloseTo(one.metrics[metric]!, 4);
});

import { expect, test } from "vitest";
import { Generator } from "../engine/generator.ts";
import { ModelRunner } from "../engine/model-runner.ts";
import { initParameters, parameterSpecs } from "../model/index.ts";
import { adamwDefaults } from "../optim/adamw.ts";
import { random } from "../random/index.ts";
import { openBackend } from "../runtime/index.ts";
import { benchSizes } from "./bench-sizes.ts";
import { policyLossDefaults } from "./objectives.ts";
import { PolicyTrainer } from "./policy-trainer.ts";
import { TrainState } from "./train-state.ts";

const { config } = benchSizes.S;
const loss = { ...policyLossDefaults, max_completion_length: 24 };
const optimizer = { ...adamwDefaults, weight_decay: 0 };

async function rolled(seed: number) {
  const backend = await openBackend("cpu");
  const specs = parameterSpecs(config);
  const state = new TrainState(backend, specs, initParameters(specs, 0.1, random("policy trainer", seed)));
  const runner = new ModelRunner(backend, config, { max_num_seqs: 16, max_model_len: 64 });
  const sample = async () => {
    const stream = random("prompts", seed);
    const requests = Array.from({ length: 12 }, (_, i) => ({ prompt_ids: Array.from({ length: 3 + (i % 5) }, () => stream.below(config.vocab_size)), sampling: { seed: i, max_tokens: 8 + i } }));
    const completions = await new Generator(runner, state.parameters).generate(requests);
    return completions.map((c, i) => ({ prompt_ids: requests[i]!.prompt_ids, completion_ids: c.token_ids, old_logprobs: c.logprobs, advantage: i % 2 ? 1 : -1, masked: false }));
  };
  return { trainer: new PolicyTrainer(backend, config, state, 0, { minibatch: 4, loss, optimizer, max_grad_norm: 1 }), state, sample };
}

test("on unchanged weights every importance ratio is 1, within 1e-3", async () => {
  const { trainer, sample } = await rolled(1);
  const metrics = await trainer.train(await sample(), 0, random("order"));
  // A learning rate of zero leaves the weights unchanged for all three minibatches.
  expect(metrics["sampling/importance_sampling_ratio/min"]).toBeGreaterThan(1 - 1e-3);
  expect(metrics["sampling/importance_sampling_ratio/max"]).toBeLessThan(1 + 1e-3);
  trainer.dispose();
});

test("the engine samples from what the last step wrote, without a copy", async () => {
  const { trainer, state, sample } = await rolled(2);
  const first = await sample();
  await trainer.train(first, 1e-2, random("order"));
  const buffers = new Set([state.parameters]);
  const second = await sample();
  expect(second.map((s) => s.old_logprobs)).not.toEqual(first.map((s) => s.old_logprobs));
  // Again on-policy with the new weights: train() refuses otherwise.
  const metrics = await trainer.train(second, 1e-2, random("order"));
  expect(metrics["sampling/on_policy_deviation"]).toBeLessThan(1e-3);
  buffers.add(state.parameters);
  // Three steps flip between two sets of buffers: there is no third.
  expect(buffers.size).toBe(2);
  trainer.dispose();
});

test("samples of another policy are refused", async () => {
  const { trainer, sample } = await rolled(3);
  const samples = (await sample()).map((s) => ({ ...s, old_logprobs: s.old_logprobs.map((l) => l - 0.1) }));
  await expect(trainer.train(samples, 1e-3, random("order"))).rejects.toThrow(/not the one that sampled/);
});

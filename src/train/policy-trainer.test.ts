import { expect, test } from "vitest";
import { Generator } from "../engine/generator.ts";
import { ModelRunner } from "../engine/model-runner.ts";
import { initParameters, parameterSpecs } from "../model/index.ts";
import { adamwDefaults } from "../optim/adamw.ts";
import { random } from "../random/index.ts";
import { openBackend } from "../runtime/index.ts";
import { benchSizes } from "./bench-sizes.ts";
import { policyLossDefaults, type LossType } from "./objectives.ts";
import { PolicyTrainer, type PolicyTrainerOptions } from "./policy-trainer.ts";
import { TrainState } from "./train-state.ts";

const { config } = benchSizes.S;
const loss = { ...policyLossDefaults, max_completion_length: 24 };
const optimizer = { ...adamwDefaults, weight_decay: 0 };

async function rolled(seed: number, minibatch = 4, options: Partial<PolicyTrainerOptions> = {}) {
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
  return { trainer: new PolicyTrainer(backend, config, state, 0, { minibatch, loss, optimizer, max_grad_norm: 1, ...options }), state, runner, sample };
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

test.each([{}, { micro_batch: 2 }])("a step whose gradients are not finite is not taken, and leaves no trace: %o", async (options) => {
  const [spoilt, sound] = [await rolled(4, 4, options), await rolled(4, 4, options)];
  const samples = (await spoilt.sample()).slice(0, 4);
  const before = spoilt.state.parameters;
  const broken = samples.map((s, i) => ({ ...s, advantage: i === 3 ? Number.NaN : 1 }));
  await expect(spoilt.trainer.train(broken, 1e-2, random("order"))).rejects.toMatchObject({ code: "runtime", message: expect.stringMatching(/diverged.*norm of the gradients; got: NaN/) });
  await expect(spoilt.trainer.train(samples, Number.NaN, random("order"))).rejects.toMatchObject({ code: "runtime", message: expect.stringMatching(/learning rate/) });
  expect([spoilt.state.step, spoilt.state.parameters === before]).toEqual([0, true]);
  for (const { trainer } of [spoilt, sound]) await trainer.train(samples, 1e-2, random("order"));
  for (const [name, { data }] of Object.entries(sound.state.parameters)) expect((spoilt.state.parameters[name]!.data as Float32Array).every((value, i) => value === data[i]), name).toBe(true);
  for (const { trainer } of [spoilt, sound]) trainer.dispose();
});

test("samples of another policy are refused", async () => {
  const { trainer, sample } = await rolled(3);
  const samples = (await sample()).map((s) => ({ ...s, old_logprobs: s.old_logprobs.map((l) => l - 0.1) }));
  await expect(trainer.train(samples, 1e-3, random("order"))).rejects.toThrow(/not the one that sampled/);
});

test("a conversation is worth what its turns are, each behind all that came before it: what answered them counts nowhere", async () => {
  const { trainer, state, runner } = await rolled(4, 2);
  const [prompt_ids, answer] = [[5, 6, 7, 8], [9, 10, 11]];
  let asked = 0;
  const next = () => (asked++ === 0 ? { token_ids: answer, max_tokens: 6 } : null);
  const [said] = await new Generator(runner, state.parameters).generate([{ prompt_ids, sampling: { seed: 1, max_tokens: 5 }, next }]);
  const { token_ids, logprobs, tool_mask } = said!;
  const whole = { prompt_ids, completion_ids: token_ids, old_logprobs: logprobs, tool_mask: tool_mask!, advantage: 1, masked: false };
  const turns = [
    { prompt_ids, completion_ids: token_ids.slice(0, 5), old_logprobs: logprobs.slice(0, 5), advantage: 1, masked: false },
    { prompt_ids: [...prompt_ids, ...token_ids.slice(0, 8)], completion_ids: token_ids.slice(8), old_logprobs: logprobs.slice(8), advantage: 1, masked: false },
  ];
  // Without a step that moves anything, so that both see the same weights.
  const [one, two] = [await trainer.train([whole], 0, random("order")), await trainer.train(turns, 0, random("order"))];
  expect(one.trained_tokens).toBe(11);
  expect(two.trained_tokens).toBe(11);
  for (const name of ["loss", "grad_norm", "entropy", "sampling/importance_sampling_ratio/mean"]) expect(Math.abs(one[name]! - two[name]!), name).toBeLessThan(1e-4 * Math.max(1, Math.abs(two[name]!)));
  expect(one["grad_norm"]).toBeGreaterThan(0);
  // All tokens at once would be another thing.
  const { tool_mask: _, ...unmasked } = whole;
  await expect(trainer.train([unmasked], 0, random("order"))).rejects.toThrow(/not the one that sampled/);
  trainer.dispose();
});

test("a minibatch without anything to learn from takes no step", async () => {
  const { trainer, state, sample } = await rolled(5);
  const before = state.step;
  const metrics = await trainer.train((await sample()).map((s) => ({ ...s, masked: true })), 1e-2, random("order"));
  expect([metrics.trained_tokens, state.step]).toEqual([0, before]);
  trainer.dispose();
});

test.each<LossType>(["grpo", "dr_grpo", "dapo", "cispo"])("gradients of micro-batches add up to that of the minibatch: %s, with a reference policy", async (loss_type) => {
  // With ε = 1 a step goes as far as its gradient, and not as its sign.
  const options = { loss: { ...loss, loss_type, beta: 0.1 }, optimizer: { ...optimizer, epsilon: 1 } };
  const [whole, parts] = [await rolled(6, 8, { ...options, micro_batch: 8 }), await rolled(6, 8, { ...options, micro_batch: 2 })];
  const sampled = await whole.sample();
  // Two completions of one prompt, one without a part in the loss, and 12 that 8 do not divide.
  const samples = sampled.map((s, i) => ({ ...s, ...(i === 1 && { ...sampled[0]!, advantage: 1 }), masked: i === 4 }));
  const results = [];
  for (const { trainer, state } of [whole, parts]) {
    trainer.replaceReference();
    const first = await trainer.train(samples, 0.5, random("order"));
    results.push({ first, step: state.step, parameters: Object.values(state.parameters).flatMap(({ data }) => [...(data as Float32Array)]) });
    trainer.dispose();
  }
  const [a, b] = results as [(typeof results)[0], (typeof results)[0]];
  expect(b.step).toBe(a.step);
  expect(Object.keys(b.first).sort()).toEqual(Object.keys(a.first).sort());
  for (const [name, value] of Object.entries(a.first)) expect(Math.abs(b.first[name]! - value), name).toBeLessThan(5e-5 * Math.max(1, Math.abs(value)));
  const start = Object.values((await rolled(6, 8)).state.parameters).flatMap(({ data }) => [...(data as Float32Array)]);
  const furthest = (x: readonly number[], y: readonly number[]): number => x.reduce((worst, value, i) => Math.max(worst, Math.abs(value - y[i]!)), 0);
  const moved = furthest(a.parameters, start);
  expect(moved).toBeGreaterThan(1e-4);
  expect(furthest(a.parameters, b.parameters) / moved).toBeLessThan(1e-3);
});

const layouts = [{}, { micro_batch: 2 }];
test.each((["grpo", "dr_grpo", "bnpo", "dapo"] as const).flatMap((loss_type) => layouts.map((layout) => [loss_type, layout] as const)))("a minibatch that is not full is worth what its completions are: %s %o", async (loss_type, layout) => {
  const options = { loss: { ...loss, loss_type }, max_grad_norm: 1e9, ...layout };
  const [full, wide] = [await rolled(9, 4, options), await rolled(9, 16, options)];
  const samples = (await full.sample()).slice(0, 4).map((s, i) => ({ ...s, advantage: 1 + i }));
  const [want, got] = [await full.trainer.train(samples, 0, random("order")), await wide.trainer.train(samples, 0, random("order"))];
  for (const name of ["loss", "grad_norm", "entropy"]) expect(Math.abs(got[name]! - want[name]!), name).toBeLessThan(1e-4 * Math.abs(want[name]!));
  expect(want["grad_norm"]).toBeGreaterThan(0);
  // Every importance ratio is 1, so that each completion costs its advantage.
  if (loss_type === "grpo") expect(want["loss"]).toBeCloseTo(-2.5, 2);
  for (const { trainer } of [full, wide]) trainer.dispose();
});

test("micro-batches that do not divide the minibatch are refused", async () => {
  await expect(rolled(7, 8, { micro_batch: 3 })).rejects.toThrow(/divisor of 8/);
});

test("a step that memory cannot hold is refused before it is compiled, and smaller parts of it are not", async () => {
  const { trainer, state, sample } = await rolled(8, 12, { memory: 200_000, micro_batch: 12 });
  const samples = await sample();
  await expect(trainer.train(samples, 1e-2, random("order"))).rejects.toMatchObject({ code: "too_large", message: expect.stringContaining("micro_batch") });
  expect(state.step).toBe(0);
  const parts = await rolled(8, 12, { memory: 200_000, micro_batch: 1 });
  expect((await parts.trainer.train(await parts.sample(), 1e-2, random("order"))).trained_tokens).toBeGreaterThan(0);
  trainer.dispose();
  parts.trainer.dispose();
});

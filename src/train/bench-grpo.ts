import { Generator } from "../engine/generator.ts";
import { ModelRunner } from "../engine/model-runner.ts";
import { initParameters, parameterCount, parameterSpecs, type ModelConfig } from "../model/index.ts";
import { adamwDefaults } from "../optim/adamw.ts";
import { random } from "../random/index.ts";
import type { Backend } from "../runtime/index.ts";
import { groupAdvantages } from "./advantages.ts";
import { policyLossDefaults } from "./objectives.ts";
import { PolicyTrainer } from "./policy-trainer.ts";
import { TrainState } from "./train-state.ts";

export interface GrpoBenchOptions {
  /** Problems a step. */
  readonly prompts: number;
  /** Completions of each. */
  readonly group: number;
  readonly prompt_tokens: number;
  /** Of every completion: nothing ends one sooner. */
  readonly new_tokens: number;
  /** Counted steps; one comes before them. */
  readonly steps: number;
  /** Monotonic seconds. */
  readonly now: () => number;
}

export interface GrpoBenchResult {
  readonly engine: "longjing";
  readonly parameters: number;
  readonly completions_per_second: number;
  readonly tokens_per_second: number;
  readonly step_seconds: readonly number[];
  /** Of the steps' time, the part that sampling took. */
  readonly rollout_share: number;
}

/** A model's configuration with the dimensions of the benchmark's small size: 128 wide, 4 layers, 4 heads. */
export function smallSize(config: ModelConfig): ModelConfig {
  if (config.model_type === "deepseek_v3" || config.model_type === "qwen3_moe") return config;
  return { ...config, hidden_size: 128, num_hidden_layers: 4, num_attention_heads: 4, num_key_value_heads: 4, intermediate_size: 384, head_dim: 32, max_position_embeddings: 512 };
}

/**
 * Times whole GRPO steps on random weights: groups are sampled at temperature 1, rewarded by a number that their tokens give,
 * and one optimiser step is taken on all of them.
 */
export async function benchGrpo(backend: Backend, config: ModelConfig, { prompts, group, prompt_tokens, new_tokens, steps, now }: GrpoBenchOptions): Promise<GrpoBenchResult> {
  const specs = parameterSpecs(config);
  const state = new TrainState(backend, specs, initParameters(specs, config.initializer_range, random("bench grpo")));
  const runner = new ModelRunner(backend, config, { max_num_seqs: prompts * group, max_model_len: prompt_tokens + new_tokens });
  const trainer = new PolicyTrainer(backend, config, state, config.pad_token_id ?? 0, { minibatch: prompts * group, loss: { ...policyLossDefaults, max_completion_length: new_tokens }, optimizer: adamwDefaults, max_grad_norm: 1 });
  const step = async (index: number): Promise<{ total: number; rolled: number }> => {
    const start = now();
    const asked = Array.from({ length: prompts }, (_, p) => Array.from({ length: prompt_tokens }, (_, t) => (7 * (index * prompts + p) + t + 20) % config.vocab_size));
    const requests = asked.flatMap((prompt_ids, p) => Array.from({ length: group }, (_, g) => ({ prompt_ids, sampling: { max_tokens: new_tokens, seed: (index * prompts + p) * group + g } })));
    const completions = await new Generator(runner, state.parameters, { blocking: true }).generate(requests);
    const rolled = now() - start;
    const rewards = completions.map(({ token_ids }) => [token_ids.reduce((a, b) => a + b, 0) % 7]);
    const { advantages } = groupAdvantages(rewards, { num_generations: group, scale_rewards: "group", reward_weights: [1] });
    const samples = completions.map(({ token_ids, logprobs }, i) => ({ prompt_ids: requests[i]!.prompt_ids, completion_ids: token_ids, old_logprobs: logprobs, advantage: advantages[i]!, masked: false }));
    await trainer.train(samples, 1e-4, random("bench grpo", index));
    return { total: now() - start, rolled };
  };
  await step(0);
  const times = [];
  for (let index = 1; index <= steps; index++) times.push(await step(index));
  trainer.dispose();
  await runner.dispose();
  const total = times.reduce((sum, t) => sum + t.total, 0);
  return {
    engine: "longjing",
    parameters: parameterCount(specs),
    completions_per_second: (prompts * group * steps) / total,
    tokens_per_second: (prompts * group * new_tokens * steps) / total,
    step_seconds: times.map((t) => t.total),
    rollout_share: times.reduce((sum, t) => sum + t.rolled, 0) / total,
  };
}

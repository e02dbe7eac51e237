import { Generator } from "../engine/generator.ts";
import { ModelRunner } from "../engine/model-runner.ts";
import { rollout, type Group } from "../eval/rollout.ts";
import { adamwDefaults, type AdamWOptions } from "../optim/adamw.ts";
import type { Schedule } from "../optim/schedules.ts";
import { random } from "../random/index.ts";
import type { Problem, Task } from "../tasks/index.ts";
import { documentEncoder, type DocumentEncoder } from "../text/index.ts";
import { groupAdvantages, groupsWithSignal, softOverlongPunishment, type AdvantageOptions } from "./advantages.ts";
import type { DeviceTensor } from "../runtime/index.ts";
import type { HostTensor, JsonValue } from "./checkpoint.ts";
import { runnerOptions } from "./frozen-base.ts";
import { generationFlops, trainingFlops } from "./ledger.ts";
import { rolloutMetrics } from "./metrics.ts";
import type { PolicyLossOptions } from "./objectives.ts";
import { policyLossDefaults } from "./objectives.ts";
import { PolicyTrainer, type TrainSample } from "./policy-trainer.ts";
import type { Stage, StageContext, StageProgress } from "./stage.ts";

/** Names are TRL's GRPOConfig's where it has them. */
export interface GrpoOptions<G> {
  readonly name?: string;
  readonly task: Task<G>;
  /** Problem `index` of the run, a function of the seed and the index alone. */
  readonly problem: (seed: number, index: number) => Problem<G>;
  readonly steps: number;
  /** Problems a step, and completions of each. */
  readonly prompts: number;
  readonly num_generations: number;
  readonly max_completion_length: number;
  /** Completions an optimiser step; a rollout is divided into as many. */
  readonly minibatch: number;
  readonly schedule: Schedule;
  readonly temperature?: number;
  readonly loss?: Partial<PolicyLossOptions>;
  readonly optimizer?: Partial<AdamWOptions>;
  readonly max_grad_norm?: number;
  readonly scale_rewards?: NonNullable<AdvantageOptions["scale_rewards"]>;
  /** Weights of the rewards `accuracy` and `format`. */
  readonly reward_weights?: { readonly accuracy: number; readonly format: number };
  /** DAPO's dynamic sampling: at most this many rollouts a step, to fill it with groups that carry signal. Default 1. */
  readonly max_rollouts?: number;
  /** DAPO's soft overlong punishment: completions longer than the limit minus this many tokens lose up to 1. */
  readonly soft_punish_cache?: number;
  /** Completions cut at the limit take no part in the loss. */
  readonly mask_truncated_completions?: boolean;
  /** With beta > 0: the reference is replaced by the policy every so many steps. Default: never. */
  readonly ref_model_sync_steps?: number;
  /** Deals the rewards of a step out at random: the negative control, in which nothing can be learnt. */
  readonly shuffle_rewards?: boolean;
  /** Completions shown in the log every so many steps. Default 5. */
  readonly log_completions_steps?: number;
}

const shownCompletions = 8;

/**
 * Group relative policy optimisation (DeepSeekMath, arXiv 2402.03300; DeepSeek-R1): sample groups, judge them, and move the policy
 * towards what did better than its group. The engine samples from the very buffers that the last step wrote.
 */
export function grpo<G>(options: GrpoOptions<G>): Stage {
  return { name: options.name ?? "grpo", steps: options.steps, run: (context) => runGrpo(options, context) };
}

async function runGrpo<G>(options: GrpoOptions<G>, context: StageContext): Promise<StageProgress> {
  const { name = "grpo", steps, prompts, num_generations, max_completion_length } = options;
  const { backend, config, state } = context;
  const encoder = documentEncoder(context.tokenizer);
  const loss = { ...policyLossDefaults, max_completion_length, ...options.loss };
  const trainer = new PolicyTrainer(backend, config, state, context.tokenizer.padId ?? 0, { minibatch: options.minibatch, loss, optimizer: { ...adamwDefaults, weight_decay: 0, ...options.optimizer }, max_grad_norm: options.max_grad_norm ?? 1, blocking: context.blocking });
  // Problems are functions of their index, so the longest prompt that this run can meet is known before it starts.
  const longest = Array.from({ length: prompts * steps * (options.max_rollouts ?? 1) }, (_, i) => encoder.prompt(options.problem(context.seed, i).prompt).length).reduce((a, b) => Math.max(a, b), 0);
  const runner = new ModelRunner(backend, config, { max_num_seqs: prompts * num_generations, max_model_len: longest + max_completion_length, ...runnerOptions(state.base) });
  const total = Math.min(steps, context.maxSteps);
  const saved = context.resumed?.cursor as { readonly next: number } | undefined;
  let next = saved?.next ?? 0;
  let done = context.resumed?.step ?? 0;
  if (context.resumed?.tensors) trainer.replaceReference(unprefixed(context.resumed.tensors));
  while (done < total && !context.signal.aborted) {
    if (loss.beta > 0 && done % (options.ref_model_sync_steps ?? Number.POSITIVE_INFINITY) === 0) trainer.replaceReference();
    const start = context.now();
    const collected = await collect(options, context, encoder, runner, name, done, next);
    next = collected.next;
    const rolled = context.now();
    const report = score(options, collected.groups, random("grpo", context.seed, name, done));
    const metrics = await trainer.train(report.samples, options.schedule(done), random("minibatches", context.seed, name, done));
    done++;
    const ended = context.now();
    const completionTokens = collected.groups.reduce((n, g) => n + g.samples.reduce((m, s) => m + s.token_ids.length, 0), 0);
    const { parameterCount: parameters } = state;
    context.account({ seconds: ended - start, tokens: completionTokens, flops: generationFlops(parameters, completionTokens) + trainingFlops(parameters, metrics.trained_tokens, state.base.size) });
    const { trained_tokens: _, ...logged } = metrics;
    context.log(
      done,
      "metrics",
      { ...logged, ...report.metrics, learning_rate: options.schedule(done - 1), rollouts: collected.rollouts },
      { step_time: ended - start, rollout_time: rolled - start, train_time: ended - rolled, tokens_per_second: completionTokens / (rolled - start), completions_per_second: (collected.groups.length * num_generations) / (ended - start) },
    );
    if (done % (options.log_completions_steps ?? 5) === 1 || done === total) context.log(done, "completions", { completions: shown(collected.groups, report.advantages) });
    await context.checkpoint({ step: done, cursor: { next }, ...(trainer.reference && { tensors: prefixed(trainer.reference) }) });
  }
  trainer.dispose();
  await runner.dispose();
  return { step: done, cursor: { next } };
}

const referencePrefix = "reference.";

function prefixed(tensors: Readonly<Record<string, DeviceTensor>>): Record<string, HostTensor> {
  return Object.fromEntries(Object.entries(tensors).map(([name, { shape, data }]) => [referencePrefix + name, { shape, data: data as Float32Array }]));
}

function unprefixed(tensors: Readonly<Record<string, HostTensor>>): Record<string, HostTensor> {
  return Object.fromEntries(Object.entries(tensors).map(([name, tensor]) => [name.slice(referencePrefix.length), tensor]));
}

/** Rolls out until `prompts` groups carry signal, or `max_rollouts` is reached; keeps those with signal, or all of the last. */
async function collect<G>(options: GrpoOptions<G>, context: StageContext, encoder: DocumentEncoder, runner: ModelRunner, name: string, step: number, first: number): Promise<{ groups: Group<G>[]; next: number; rollouts: number }> {
  const { prompts, num_generations, max_completion_length, temperature = 1, max_rollouts = 1, task } = options;
  let next = first;
  const kept: Group<G>[] = [];
  for (let round = 0; ; round++) {
    const problems = Array.from({ length: prompts }, () => options.problem(context.seed, next++));
    const generator = new Generator(runner, context.state.policy, { blocking: context.blocking });
    const groups = await rollout(generator, encoder, task, problems, { num_generations, max_tokens: max_completion_length, temperature, stream: [context.seed, name, step, round] });
    if (max_rollouts === 1) return { groups, next, rollouts: 1 };
    const signal = groupsWithSignal(groups.flatMap((g) => g.samples.map((s) => s.score.parts.correct)), num_generations);
    kept.push(...signal.map((i) => groups[i]!));
    if (kept.length >= prompts || round + 1 >= max_rollouts) return { groups: kept.length > 0 ? kept.slice(0, prompts) : groups, next, rollouts: round + 1 };
  }
}

interface Scored {
  readonly samples: readonly TrainSample[];
  readonly advantages: readonly number[];
  readonly metrics: Record<string, number>;
}

function score<G>(options: GrpoOptions<G>, groups: readonly Group<G>[], stream: ReturnType<typeof random>): Scored {
  const { num_generations, max_completion_length, scale_rewards = "group", soft_punish_cache, reward_weights = { accuracy: 1, format: 0.02 } } = options;
  const flat = groups.flatMap((g) => g.samples.map((sample) => ({ prompt_ids: g.prompt_ids, sample })));
  const overlong = (length: number): number[] => (soft_punish_cache === undefined ? [] : [softOverlongPunishment(length, { max_completion_len: max_completion_length, soft_punish_cache })]);
  const honest = flat.map(({ sample }) => [sample.score.parts.correct, sample.score.parts.format, ...overlong(sample.token_ids.length)]);
  const rewards = options.shuffle_rewards ? stream.shuffle(honest) : honest;
  const weights = [reward_weights.accuracy, reward_weights.format, ...(soft_punish_cache === undefined ? [] : [1])];
  const result = groupAdvantages(rewards, { num_generations, scale_rewards, reward_weights: weights });
  const terminated = flat.map(({ sample }) => sample.finish_reason === "stop");
  const metrics = rolloutMetrics({
    completion_lengths: flat.map(({ sample }) => sample.token_ids.length),
    terminated,
    reward_names: ["accuracy", "format", ...(soft_punish_cache === undefined ? [] : ["overlong"])],
    rewards_per_func: honest,
    advantages: result,
  });
  const samples = flat.map(({ prompt_ids, sample }, i) => ({
    prompt_ids,
    completion_ids: sample.token_ids,
    old_logprobs: sample.logprobs,
    advantage: result.advantages[i]!,
    masked: options.mask_truncated_completions === true && !terminated[i],
  }));
  return { samples, advantages: result.advantages, metrics };
}

function shown<G>(groups: readonly Group<G>[], advantages: readonly number[]): JsonValue {
  const flat = groups.flatMap((g) => g.samples.map((sample) => ({ prompt: g.problem.prompt, sample })));
  const stride = Math.max(1, Math.floor(flat.length / shownCompletions));
  return flat.flatMap(({ prompt, sample }, i) =>
    i % stride === 0 && i / stride < shownCompletions
      ? [{ prompt, completion: sample.text, rewards: { accuracy: sample.score.parts.correct, format: sample.score.parts.format }, reward: sample.score.reward, advantage: advantages[i] ?? 0, length: sample.token_ids.length, finish_reason: sample.finish_reason }]
      : [],
  );
}

import { Generator } from "../engine/generator.ts";
import { ModelRunner } from "../engine/model-runner.ts";
import { promptIds, rollout, saidTokens, type Group } from "../eval/rollout.ts";
import { adamwDefaults, type AdamWOptions } from "../optim/adamw.ts";
import type { Schedule } from "../optim/schedules.ts";
import { random } from "../random/index.ts";
import { LongjingError } from "../errors/index.ts";
import type { DeviceTensor } from "../runtime/index.ts";
import type { Problem, Task } from "../tasks/index.ts";
import { documentEncoder, type DocumentEncoder } from "../text/index.ts";
import { groupsWithSignal, mean } from "./advantages.ts";
import { noAlarms, watchMetrics, type AlarmOptions, type AlarmState } from "./alarms.ts";
import { noBest, watchReward, type BestState } from "./best-window.ts";
import type { HostTensor } from "./checkpoint.ts";
import { curriculumMetrics, type Curriculum, type CurriculumState } from "./curriculum.ts";
import { runnerOptions } from "./frozen-base.ts";
import { generationFlops, trainingFlops } from "./ledger.ts";
import { policyLossDefaults, type PolicyLossOptions } from "./objectives.ts";
import { PolicyTrainer } from "./policy-trainer.ts";
import { rewardFunctions, rewardWeights, scoreRollout, shownOf, solvedOf, type RewardOptions } from "./scored-rollout.ts";
import { requireCounts } from "./stage-options.ts";
import type { Stage, StageContext, StageProgress } from "./stage.ts";

/** Names are TRL's GRPOConfig's where it has them. */
export interface GrpoOptions<G> extends RewardOptions<G> {
  readonly name?: string;
  readonly task: Task<G>;
  /** Problem `index` of the run, a function of the seed, the index and the curriculum's level alone. */
  readonly problem: (seed: number, index: number, level?: number) => Problem<G>;
  readonly steps: number;
  /** Problems a step, and completions of each. */
  readonly prompts: number;
  readonly num_generations: number;
  /** Tokens, those that answer the model's turns included. */
  readonly max_completion_length: number;
  /** Of a task of several turns: most tokens of one. Default: what is left of the completion. */
  readonly max_turn_length?: number;
  /** Of a task of several turns: how many are answered at most. Default: any number. */
  readonly max_tool_calling_iterations?: number;
  /** Completions an optimiser step; a rollout is divided into as many. */
  readonly minibatch: number;
  /**
   * Completions that are computed at once, a divisor of `minibatch`; gradients are added up before the optimiser moves. Default: what is
   * of 8,192 tokens at most; the minibatch for losses that are a mean over what is computed at once.
   */
  readonly micro_batch?: number;
  readonly schedule: Schedule;
  readonly temperature?: number;
  readonly loss?: Partial<Omit<PolicyLossOptions, "gradient_accumulation_steps">>;
  readonly optimizer?: Partial<AdamWOptions>;
  readonly max_grad_norm?: number;
  /** Chooses the level of each problem. Default: `problem` does. */
  readonly curriculum?: Curriculum;
  /** DAPO's dynamic sampling: at most this many rollouts a step, to fill it with groups that carry signal. Default 1. */
  readonly max_rollouts?: number;
  /** With beta > 0: the reference is replaced by the policy every so many steps. Default: never. */
  readonly ref_model_sync_steps?: number;
  /** Completions shown in the log every so many steps. Default 5. */
  readonly log_completions_steps?: number;
  /** When to warn in the log; false: never. */
  readonly alarms?: AlarmOptions | false;
  /** The best checkpoint is that at the end of the best so many steps, by their mean reward. Default 10. */
  readonly best_window_steps?: number;
}

/**
 * Group relative policy optimisation (DeepSeekMath, arXiv 2402.03300; DeepSeek-R1): sample groups, judge them, and move the policy
 * towards what did better than its group. The engine samples from the very buffers that the last step wrote.
 * @throws LongjingError "bad_argument" for options with which nothing can be learnt
 */
export function grpo<G>(options: GrpoOptions<G>): Stage {
  const { name = "grpo", temperature = 1 } = options;
  requireGrpoOptions(name, options);
  if (!(temperature > 0 && temperature < Number.POSITIVE_INFINITY)) throw new LongjingError("bad_argument", "A group is sampled by chance", { where: `${name}: temperature`, got: String(temperature), expected: "a number above 0" });
  return { name, steps: options.steps, run: (context) => runGrpo(options, context) };
}

/** @throws LongjingError "bad_argument" */
function requireGrpoOptions<G>(name: string, options: GrpoOptions<G>): void {
  const { prompts, num_generations, max_completion_length, max_turn_length, max_tool_calling_iterations, minibatch, max_rollouts, best_window_steps, log_completions_steps } = options;
  requireCounts(name, { prompts, max_completion_length, max_turn_length, minibatch, max_rollouts, best_window_steps, log_completions_steps });
  requireCounts(name, { max_tool_calling_iterations }, 0);
  // One alone is never better than its group.
  requireCounts(name, { num_generations }, 2);
  if (options.ref_model_sync_steps !== Number.POSITIVE_INFINITY) requireCounts(name, { ref_model_sync_steps: options.ref_model_sync_steps });
  rewardWeights(options);
}

/** All that the next step depends on, beside tensors. */
type Cursor = {
  /** Index of the next problem. */
  readonly next: number;
  readonly curriculum: CurriculumState | null;
  readonly alarms: AlarmState;
  readonly best: BestState;
};

interface Machinery {
  readonly encoder: DocumentEncoder;
  readonly runner: ModelRunner;
  readonly trainer: PolicyTrainer;
}

async function runGrpo<G>(options: GrpoOptions<G>, context: StageContext): Promise<StageProgress> {
  const machinery = openMachinery(options, context);
  const { runner, trainer } = machinery;
  const total = Math.min(options.steps, context.maxSteps);
  const start: Cursor = { next: 0, curriculum: options.curriculum?.initial ?? null, alarms: noAlarms, best: noBest };
  const begun = context.resumed?.step ?? 0;
  let progress: StageProgress & { readonly cursor: Cursor } = { step: begun, cursor: { ...start, ...(context.resumed?.cursor as Cursor | undefined) } };
  if (context.resumed?.tensors) trainer.replaceReference(unprefixed(context.resumed.tensors));
  let learnt = context.state.step;
  try {
    while (progress.step < total && !context.signal.aborted) {
      progress = await takeStep(options, context, machinery, progress.step, progress.cursor);
      learnt = context.state.step;
      await context.checkpoint(progress);
    }
  } catch (error) {
    // A reward, an environment or a step has failed, and the policy is as the last step left it: nobody has to lose the steps before.
    if (progress.step > begun && context.state.step === learnt) await context.checkpoint(progress, true);
    throw error;
  } finally {
    trainer.dispose();
    await runner.dispose();
  }
  return progress;
}

function openMachinery<G>(options: GrpoOptions<G>, context: StageContext): Machinery {
  const { prompts, num_generations, max_completion_length, curriculum } = options;
  const { backend, config, state, tokenizer } = context;
  const encoder = documentEncoder(tokenizer);
  const loss = { ...policyLossDefaults, max_completion_length, ...options.loss };
  const trainer = new PolicyTrainer(backend, config, state, tokenizer.padId ?? 0, { minibatch: options.minibatch, micro_batch: options.micro_batch, loss, optimizer: { ...adamwDefaults, weight_decay: 0, ...options.optimizer }, max_grad_norm: options.max_grad_norm ?? 1, blocking: context.blocking, memory: context.memory });
  // Problems are functions of their index and level, so the longest prompt that this run can meet is known before it starts.
  let longest = 0;
  for (let i = 0; i < prompts * options.steps * (options.max_rollouts ?? 1); i++) {
    for (const level of curriculum?.levels ?? [undefined]) longest = Math.max(longest, promptIds(encoder, options.task, problemAt(options, context.seed, i, level)).length);
  }
  return { encoder, trainer, runner: new ModelRunner(backend, config, { max_num_seqs: prompts * num_generations, max_model_len: longest + max_completion_length, ...runnerOptions(state.base) }) };
}

const problemAt = <G>({ problem }: GrpoOptions<G>, seed: number, index: number, level: number | undefined): Problem<G> => (level === undefined ? problem(seed, index) : problem(seed, index, level));

/** Rolls out, learns, and says in the log what it has seen. */
async function takeStep<G>(options: GrpoOptions<G>, context: StageContext, machinery: Machinery, step: number, cursor: Cursor): Promise<StageProgress & { readonly cursor: Cursor }> {
  const { name = "grpo", num_generations, curriculum, loss: { beta = policyLossDefaults.beta } = {}, ref_model_sync_steps = Number.POSITIVE_INFINITY } = options;
  const { trainer } = machinery;
  const { state, seed } = context;
  const start = context.now();
  const { groups, next, rollouts, outcomes } = await collect(options, context, machinery, step, cursor);
  const rolled = context.now();
  if (beta > 0 && step % ref_model_sync_steps === 0) trainer.replaceReference();
  const scored = scoreRollout(options, groups, random("grpo", seed, name, step));
  const { trained_tokens, ...learnt } = await trainer.train(scored.samples, options.schedule(step), random("minibatches", seed, name, step));
  const done = step + 1;
  const ended = context.now();
  const tokens = groups.reduce((n, g) => n + g.samples.reduce((m, sample) => m + saidTokens(sample), 0), 0);
  context.account({ seconds: ended - start, tokens, flops: generationFlops(state.parameterCount, tokens) + trainingFlops(state.parameterCount, trained_tokens, state.base.size) });
  const metrics = { ...learnt, ...scored.metrics, ...(cursor.curriculum && curriculumMetrics(cursor.curriculum)), learning_rate: options.schedule(step), rollouts };
  context.log(done, "metrics", metrics, { step_time: ended - start, rollout_time: rolled - start, train_time: ended - rolled, tokens_per_second: tokens / (rolled - start), completions_per_second: (groups.length * num_generations) / (ended - start) });
  if (done % (options.log_completions_steps ?? 5) === 1 || done === options.steps || done === context.maxSteps) context.log(done, "completions", { completions: shownOf(groups, scored) });
  const watched = options.alarms === false ? { state: cursor.alarms, alarms: [] } : watchMetrics(cursor.alarms, metrics, options.alarms);
  for (const { alarm, message } of watched.alarms) context.log(done, "notice", { alarm, message });
  const best = watchReward(cursor.best, done, scored.metrics["reward"] ?? Number.NaN, cursor.curriculum?.level ?? 0, options.best_window_steps ?? 10);
  return {
    step: done,
    cursor: { next, curriculum: curriculum && cursor.curriculum ? curriculum.update(cursor.curriculum, outcomes, done) : null, alarms: watched.state, best: best.state },
    ...(trainer.reference && { tensors: prefixed(trainer.reference) }),
    best: best.best,
  };
}

const referencePrefix = "reference.";

function prefixed(tensors: Readonly<Record<string, DeviceTensor>>): Record<string, HostTensor> {
  return Object.fromEntries(Object.entries(tensors).map(([name, { shape, data }]) => [referencePrefix + name, { shape, data: data as Float32Array }]));
}

function unprefixed(tensors: Readonly<Record<string, HostTensor>>): Record<string, HostTensor> {
  return Object.fromEntries(Object.entries(tensors).map(([name, tensor]) => [name.slice(referencePrefix.length), tensor]));
}

interface Collected<G> {
  readonly groups: readonly Group<G>[];
  readonly next: number;
  readonly rollouts: number;
  /** Of all problems that were asked. */
  readonly outcomes: readonly { readonly level: number; readonly solved: number }[];
}

/** Rolls out until `prompts` groups carry signal, or `max_rollouts` is reached; keeps those with signal, or all of the last. */
async function collect<G>(options: GrpoOptions<G>, context: StageContext, { encoder, runner }: Machinery, step: number, cursor: Cursor): Promise<Collected<G>> {
  const { name = "grpo", prompts, num_generations, max_completion_length, temperature = 1, max_rollouts = 1, task, curriculum, reward_failure = "raise" } = options;
  const { seed, state, blocking } = context;
  const level = (index: number): number | undefined => (curriculum && cursor.curriculum ? curriculum.draw(cursor.curriculum, random("curriculum", seed, name, index)) : undefined);
  let { next } = cursor;
  const kept: Group<G>[] = [];
  const outcomes: { level: number; solved: number }[] = [];
  for (let round = 0; ; round++) {
    const problems = Array.from({ length: prompts }, () => problemAt(options, seed, next, level(next++)));
    const generator = new Generator(runner, state.policy, { blocking });
    const groups = await rollout(generator, encoder, task, problems, {
      num_generations,
      max_tokens: max_completion_length,
      max_turn_tokens: options.max_turn_length,
      max_tool_calling_iterations: options.max_tool_calling_iterations,
      temperature,
      stream: [seed, name, step, round],
      rewards: rewardFunctions(options),
      reward_failure,
    });
    const solved = groups.map((g) => g.samples.map(solvedOf));
    outcomes.push(...groups.flatMap((g, i) => (solved[i]!.some((value) => value !== null) ? [{ level: g.problem.level, solved: mean(solved[i]!) }] : [])));
    if (max_rollouts === 1) return { groups, next, rollouts: 1, outcomes };
    kept.push(...groupsWithSignal(solved.flat(), num_generations).map((i) => groups[i]!));
    if (kept.length >= prompts || round + 1 >= max_rollouts) return { groups: kept.length > 0 ? kept.slice(0, prompts) : groups, next, rollouts: round + 1, outcomes };
  }
}

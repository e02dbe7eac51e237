import { Generator } from "../engine/generator.ts";
import { ModelRunner } from "../engine/model-runner.ts";
import { evaluate, evaluationProblems, type Evaluation, type EvaluationOptions } from "../eval/evaluate.ts";
import { preflight } from "../eval/preflight.ts";
import { promptIds, rollout } from "../eval/rollout.ts";
import { generationFlops } from "./ledger.ts";
import type { Problem, Task } from "../tasks/index.ts";
import { documentEncoder, type DocumentEncoder } from "../text/index.ts";
import type { JsonValue } from "./checkpoint.ts";
import { runnerOptions } from "./frozen-base.ts";
import { requireCounts } from "./stage-options.ts";
import type { Stage, StageContext, StageProgress } from "./stage.ts";

// Rows that an evaluation runs at once.
const lanes = 256;
// Problems that count as one step of a measuring stage.
const problemsPerStep = 50;

/** An engine over the policy as it is, for problems and completions of known lengths. */
export async function withGenerator<G, T>(context: StageContext, task: Task<G>, problems: readonly Problem<G>[], max_tokens: number, f: (generator: Generator, encoder: DocumentEncoder) => Promise<T>): Promise<T> {
  const encoder = documentEncoder(context.tokenizer);
  const longest = Math.max(...problems.map((problem) => promptIds(encoder, task, problem).length));
  const runner = new ModelRunner(context.backend, context.config, { max_num_seqs: lanes, max_model_len: longest + max_tokens, ...runnerOptions(context.state.base) });
  try {
    return await f(new Generator(runner, context.state.policy, { blocking: context.blocking }), encoder);
  } finally {
    await runner.dispose();
  }
}

/** A measurement that was stopped is made again as a whole. */
const nothing: StageProgress = { step: 0, cursor: null };

function account(context: StageContext, start: number, result: Pick<Evaluation, "problems" | "samples" | "mean_length">): void {
  const tokens = Math.round(result.problems * (result.samples + 1) * result.mean_length);
  context.account({ seconds: context.now() - start, tokens, flops: generationFlops(context.state.parameterCount, tokens) });
}

/** A stage that measures: held-out accuracy, sampled and greedy, pass@k, length. It changes no parameter. */
export function evaluation<G>(name: string, task: Task<G>, options: Omit<EvaluationOptions, "split" | "seed" | "signal" | "onProgress">): Stage {
  const { count, samples, max_tokens } = options;
  requireCounts(name, { count, samples, max_tokens });
  const run = async (context: StageContext): Promise<StageProgress> => {
    const start = context.now();
    const count = Math.min(options.count, context.maxSteps * problemsPerStep);
    const onProgress = (done: number, all: number): void => context.progress(Math.floor((done / all) * Math.ceil(count / problemsPerStep)));
    const asked: EvaluationOptions = { ...options, count, split: "test", seed: context.seed, signal: context.signal, onProgress };
    const result = await withGenerator(context, task, evaluationProblems(task, asked), options.max_tokens, (generator, encoder) => evaluate(generator, encoder, task, asked));
    if (context.signal.aborted) return nothing;
    account(context, start, result);
    const step = Math.ceil(count / problemsPerStep);
    context.log(step, "evaluation", { task: task.name, ...(result as unknown as Record<string, JsonValue>) }, { step_time: context.now() - start });
    return { step, cursor: null };
  };
  return { name, steps: Math.ceil(options.count / problemsPerStep), run };
}

export interface PreflightOptions<G> {
  readonly name?: string;
  readonly task: Task<G>;
  readonly problem: (seed: number, index: number) => Problem<G>;
  readonly problems: number;
  readonly num_generations: number;
  readonly max_tokens: number;
  /** Warns when a smaller share of groups than this would carry signal. Default 0.1. */
  readonly min_share_with_signal?: number;
}

/** Says before RL whether it can work here: pass@1, pass@G, and the share of groups that would carry signal. */
export function preflightStage<G>({ name = "preflight", task, problem, problems, num_generations, max_tokens, min_share_with_signal = 0.1 }: PreflightOptions<G>): Stage {
  requireCounts(name, { problems, num_generations, max_tokens });
  const run = async (context: StageContext): Promise<StageProgress> => {
    const start = context.now();
    const count = Math.min(problems, context.maxSteps * problemsPerStep);
    const drawn = Array.from({ length: count }, (_, i) => problem(context.seed, i));
    const { signal } = context;
    const groups = await withGenerator(context, task, drawn, max_tokens, (generator, encoder) => rollout(generator, encoder, task, drawn, { num_generations, max_tokens, temperature: 1, stream: ["preflight", context.seed], signal }));
    if (signal.aborted) return nothing;
    const result = preflight(groups.map((g) => ({ samples: num_generations, correct: g.samples.reduce((n, s) => n + s.score.parts.correct, 0) })), num_generations);
    const lengths = groups.flatMap((g) => g.samples.map((s) => s.token_ids.length));
    account(context, start, { problems: count, samples: num_generations - 1, mean_length: lengths.reduce((a, b) => a + b, 0) / lengths.length });
    const step = Math.ceil(count / problemsPerStep);
    context.log(step, "preflight", { ...result, num_generations, problems: count, verdict: verdict(result.share_with_signal, min_share_with_signal) }, { step_time: context.now() - start });
    return { step, cursor: null };
  };
  return { name, steps: Math.ceil(problems / problemsPerStep), run };
}

function verdict(share: number, needed: number): string {
  const percent = `${Math.round(share * 100)} % of groups would carry signal`;
  return share >= needed ? `RL can work here: ${percent}` : `RL has little to learn from here: ${percent}, ${Math.round(needed * 100)} % are wanted. Pretrain longer, choose easier problems, or sample larger groups`;
}

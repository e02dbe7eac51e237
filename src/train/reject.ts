import { LongjingError } from "../errors/index.ts";
import { rollout, type Sample } from "../eval/rollout.ts";
import { random } from "../random/index.ts";
import type { Problem, Task } from "../tasks/index.ts";
import type { JsonValue } from "./checkpoint.ts";
import { withGenerator } from "./evaluation.ts";
import { generationFlops } from "./ledger.ts";
import type { TextPair } from "./pretrain.ts";
import { sft, type SftOptions } from "./sft.ts";
import { requireBuckets, requireCounts } from "./stage-options.ts";
import type { Stage, StageContext, StageProgress } from "./stage.ts";

export interface RejectionSamplingOptions<G> extends Omit<SftOptions, "document"> {
  readonly task: Task<G>;
  /** Problem `index` of the run, a function of the seed and the index alone. */
  readonly problem: (seed: number, index: number) => Problem<G>;
  readonly problems: number;
  /** Completions of each problem. */
  readonly num_generations: number;
  readonly max_completion_length: number;
  /** Default 1. */
  readonly temperature?: number;
  /**
   * The stage that the fine-tuning starts from anew, as DeepSeek-R1's starts from V3-Base each time. Default: the policy that was sampled.
   */
  readonly from?: string;
  /** What is readable among the right ones: one language, no repetition. Default: everything. */
  readonly readable?: (sample: Sample, problem: Problem<G>) => boolean;
  /** Most samples that are kept of a problem, so that easy ones do not crowd out hard ones. Default 1. */
  readonly samples_per_problem?: number;
  /** General data to mix in, and the share of documents that it makes. */
  readonly general?: { readonly share: number; readonly document: (seed: number, index: number) => TextPair };
}

/**
 * Rejection sampling and fine-tuning on what is left (DeepSeek-R1, section 2.3.3): the policy answers many problems, what is
 * right and readable is kept, and the model is trained on it beside general data. With `from` it is also R1's cold start: what R1-Zero
 * said, as far as it is right and readable, is what the base model is fine-tuned on. The kept samples are part of the stage's
 * checkpoints, so that a resumed stage goes on with the very same ones.
 */
export function rejectionSampling<G>(options: RejectionSamplingOptions<G>): Stage {
  const { name = "rejection-sampling", steps, general, from, problems, num_generations, max_completion_length, samples_per_problem } = options;
  requireCounts(name, { problems, num_generations, max_completion_length, samples_per_problem });
  requireBuckets(name, options.buckets);
  const run = async (context: StageContext): Promise<StageProgress> => {
    const saved = context.resumed?.cursor as { readonly kept: readonly TextPair[]; readonly training: JsonValue } | null | undefined;
    const kept = saved?.kept ?? (await sampled(options, name, context));
    if (kept === null) return { step: 0, cursor: null };
    if (from !== undefined && !saved) context.state.load(await context.parametersAfter(from));
    const document = (seed: number, index: number): TextPair => {
      const stream = random("rejection sampling", name, seed, index);
      return general && stream.next() < general.share ? general.document(seed, index) : stream.pick(kept);
    };
    const withKept = (progress: StageProgress): StageProgress => ({ ...progress, cursor: { kept: kept.map(({ prompt, completion }) => ({ prompt, completion })), training: progress.cursor } });
    const progress = await sft({ ...options, name, steps, document }).run({
      ...context,
      resumed: context.resumed && saved ? { ...context.resumed, cursor: saved.training } : null,
      checkpoint: (at) => context.checkpoint(withKept(at)),
    });
    return withKept(progress);
  };
  return { name, steps, ...(from !== undefined && { after: [from] }), run };
}

// Problems that are answered together.
const problemsAtOnce = 32;

/** null where the run was stopped meanwhile: the sampling begins again. */
async function sampled<G>(options: RejectionSamplingOptions<G>, name: string, context: StageContext): Promise<TextPair[] | null> {
  const { task, problem, num_generations, max_completion_length: max_tokens, temperature = 1, readable = () => true, samples_per_problem = 1 } = options;
  if (task.environment) throw new LongjingError("unsupported", "Rejection sampling keeps completions of one turn", { where: name, got: `${task.name}, which has an environment` });
  const start = context.now();
  const problems = Array.from({ length: options.problems }, (_, index) => problem(context.seed, index));
  const kept: TextPair[] = [];
  const counts = { samples: 0, correct: 0, readable: 0, kept: 0, tokens: 0 };
  await withGenerator(context, task, problems, max_tokens, async (generator, encoder) => {
    for (let at = 0; at < problems.length && !context.signal.aborted; at += problemsAtOnce) {
      const groups = await rollout(generator, encoder, task, problems.slice(at, at + problemsAtOnce), { num_generations, max_tokens, temperature, stream: [context.seed, name, at], signal: context.signal });
      for (const group of groups) {
        const right = group.samples.filter(({ score }) => score.parts.correct === 1 && score.parts.format === 1);
        const good = right.filter((sample) => readable(sample, group.problem));
        const chosen = good.slice(0, samples_per_problem);
        kept.push(...chosen.map(({ text }) => ({ prompt: group.problem.prompt, completion: text })));
        counts.samples += group.samples.length;
        counts.correct += right.length;
        counts.readable += good.length;
        counts.kept += chosen.length;
        counts.tokens += group.samples.reduce((n, { token_ids }) => n + token_ids.length, 0);
      }
    }
  });
  if (context.signal.aborted) return null;
  if (kept.length === 0) throw new LongjingError("bad_argument", "No sample was right and readable, so there is nothing to learn from", { where: name, got: counts, hint: "Train the policy further, take easier problems, or more samples of each" });
  const { tokens, ...values } = counts;
  context.account({ seconds: context.now() - start, tokens, flops: generationFlops(context.state.parameterCount, tokens) });
  context.log(0, "notice", { message: `kept ${counts.kept} of ${counts.samples} samples`, ...values }, { step_time: context.now() - start });
  return kept;
}

import type { Generator } from "../engine/generator.ts";
import { thoughtConsistency, type Language, type Problem, type Split, type Task } from "../tasks/index.ts";
import type { DocumentEncoder } from "../text/index.ts";
import type { Interval } from "./intervals.ts";
import { estimate } from "./measure.ts";
import { passAtK } from "./pass-at-k.ts";
import { contentOf } from "./questions.ts";
import { rollout, saidTokens, type Group } from "./rollout.ts";

export interface EvaluationOptions {
  readonly split: Split;
  readonly seed: number;
  /** Problems. */
  readonly count: number;
  /** Samples of each at temperature 1, for pass@1 and pass@k. */
  readonly samples: number;
  readonly max_tokens: number;
  readonly level?: number;
  readonly languages?: readonly Language[];
  /** Ends the evaluation early; its result is then not to be used. */
  readonly signal?: AbortSignal;
  /** Called with the number of completions that have ended, and of all. */
  readonly onProgress?: (done: number, total: number) => void;
}

export interface Accuracy {
  readonly accuracy: number;
  /** 95 %, over the problems that differ. */
  readonly interval: Interval;
}

/** How a model does on held-out problems of one task. */
export interface Evaluation {
  readonly problems: number;
  readonly samples: number;
  /** Mean over samples at temperature 1. */
  readonly sampled: Accuracy;
  readonly greedy: Accuracy;
  /** k → pass@k at temperature 1, unbiased. */
  readonly pass_at: Readonly<Record<string, number>>;
  /** Share of samples in the right form. */
  readonly format: number;
  /** Mean share of the samples' thinking that is in the language of the question; null where nothing is thought in words. */
  readonly language_consistency: number | null;
  /** Tokens that the model said, the ending one included. */
  readonly mean_length: number;
  /** Share cut at max_tokens. */
  readonly clipped_ratio: number;
}

/** The problems that an evaluation asks, languages in turn. */
export function evaluationProblems<G>(task: Task<G>, { split, seed, count, level, languages = ["en"] }: EvaluationOptions): Problem<G>[] {
  return Array.from({ length: count }, (_, index) => task.problem({ split, seed, index, language: languages[index % languages.length]!, ...(level !== undefined && { level }) }));
}

/** Samples and greedily answers `count` problems of a split. */
export async function evaluate<G>(generator: Generator, encoder: DocumentEncoder, task: Task<G>, options: EvaluationOptions): Promise<Evaluation> {
  const { split, seed, count, samples, max_tokens, signal, onProgress } = options;
  const problems = evaluationProblems(task, options);
  let done = 0;
  const onFinish = (): void => onProgress?.(++done, count * (samples + 1));
  const common = { max_tokens, stream: ["evaluation", task.name, split, seed], onFinish, ...(signal && { signal }) };
  const sampled = await rollout(generator, encoder, task, problems, { ...common, num_generations: samples, temperature: 1 });
  const greedy = await rollout(generator, encoder, task, problems, { ...common, num_generations: 1, temperature: 0 });
  return summarize(task, sampled, greedy, samples);
}

function summarize<G>(task: Task<G>, sampled: readonly Group<G>[], greedy: readonly Group<G>[], samples: number): Evaluation {
  const all = sampled.flatMap((g) => g.samples);
  const correctOf = (g: Group<G>): number => g.samples.reduce((n, s) => n + s.score.parts.correct, 0);
  const mean = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / values.length;
  const accuracyOf = (groups: readonly Group<G>[], each: number): Accuracy => {
    const { value, ...interval } = estimate(groups.map((g) => correctOf(g) / each), groups.map((g) => contentOf(task, g.problem)));
    return { accuracy: value, interval };
  };
  const consistencies = sampled.flatMap((g) => g.samples.map(({ turns }) => thoughtConsistency(turns, g.problem))).filter((share) => share !== null);
  const ks = [1, 2, 4, 8, 16].filter((k) => k <= samples);
  return {
    problems: sampled.length,
    samples,
    sampled: accuracyOf(sampled, samples),
    greedy: accuracyOf(greedy, 1),
    pass_at: Object.fromEntries(ks.map((k) => [String(k), mean(sampled.map((g) => passAtK(samples, correctOf(g), k)))])),
    format: mean(all.map((s) => s.score.parts.format)),
    language_consistency: consistencies.length === 0 ? null : mean(consistencies),
    mean_length: mean(all.map(saidTokens)),
    clipped_ratio: mean(all.map((s) => Number(s.finish_reason === "length"))),
  };
}

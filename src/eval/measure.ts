import { LongjingError } from "../errors/index.ts";
import { answerClasses, consAtK, mostVotes, type Vote } from "./consensus.ts";
import { meanInterval, type Interval } from "./intervals.ts";
import { bestOfK } from "./pass-at-k.ts";

/** One answer to a problem, judged. */
export interface GradedSample extends Vote {
  /** Of the completion, thinking included; null when the endpoint did not say. */
  readonly tokens: number | null;
  /** Cut at the limit of tokens. */
  readonly truncated: boolean;
  /** Null when it is not known. */
  readonly usd: number | null;
}

/** A mean over problems with its 95 % interval (`meanInterval`). */
export interface Estimate extends Interval {
  readonly value: number;
}

export interface Length {
  readonly mean: number;
  readonly p50: number;
  readonly p95: number;
}

/** How a model does on one set of problems. */
export interface Measurement {
  readonly problems: number;
  /** How many of them differ: intervals are over these. */
  readonly distinct: number;
  /** Answers to each. */
  readonly samples: number;
  /** k → expected best score of k answers; pass@k where scores are 0 or 1. */
  readonly pass_at: Readonly<Record<string, Estimate>>;
  /** k → expected score of the majority's answer among k. */
  readonly cons_at: Readonly<Record<string, Estimate>>;
  /** Share of answers in which one could be read. */
  readonly answered: number;
  /** Tokens of a completion. */
  readonly length: Length | null;
  /** Share cut at the limit of tokens. */
  readonly truncated: number;
  /** Of all answers. */
  readonly usd: number | null;
  /** `usd` over the sum of the scores: what is paid until a problem is solved. Null when none was. */
  readonly usd_per_solved: number | null;
}

export interface MeasureOptions {
  /** Whether two answers say the same, for the majority. */
  readonly same: (a: string, b: string) => boolean;
  /** What each problem asks: those of one question are no independent evidence. Default: all differ. */
  readonly questions?: readonly string[] | undefined;
}

/**
 * Statistics of equally many answers to each problem. Problems, not answers, are what an interval is over.
 * @throws LongjingError "bad_argument" without problems, or when they have not equally many answers
 */
export function measureSamples(problems: readonly (readonly GradedSample[])[], { same, questions = problems.map((_, i) => `${i}`) }: MeasureOptions): Measurement {
  const samples = problems[0]?.length ?? 0;
  if (samples === 0 || problems.some((one) => one.length !== samples)) throw new LongjingError("bad_argument", "There are no statistics of this", { got: problems.map((one) => one.length), expected: "problems with equally many answers, at least one" });
  const all = problems.flat();
  const classes = problems.map((one) => answerClasses(one, same));
  const ks = [...new Set([...[1, 2, 4, 8, 16, 32, 64, 128, 256, 512].filter((k) => k < samples), samples])];
  const over = (values: readonly number[]): Estimate => estimate(values, questions);
  const each = (of: readonly number[], value: (problem: number, k: number) => number): Record<string, Estimate> =>
    Object.fromEntries(of.map((k) => [`${k}`, over(problems.map((_, i) => value(i, k)))]));
  const usd = total(all.map((sample) => sample.usd));
  const solved = all.reduce((sum, { score }) => sum + score, 0);
  return {
    problems: problems.length,
    distinct: new Set(questions).size,
    samples,
    pass_at: each(ks, (i, k) => bestOfK(problems[i]!.map(({ score }) => score), k)),
    cons_at: each(ks.filter((k) => k <= mostVotes), (i, k) => consAtK(samples, classes[i]!, k)),
    answered: mean(all.map(({ answer }) => Number(answer !== null))),
    length: lengthOf(all.map(({ tokens }) => tokens)),
    truncated: mean(all.map(({ truncated }) => Number(truncated))),
    usd,
    usd_per_solved: usd === null || solved === 0 ? null : usd / solved,
  };
}

/** The mean of one value a problem, each in [0, 1]; problems of equal `questions` are one of many values. */
export function estimate(perProblem: readonly number[], questions: readonly string[] = perProblem.map((_, i) => `${i}`)): Estimate {
  const groups = new Map<string, number[]>();
  for (const [i, question] of questions.entries()) groups.set(question, [...(groups.get(question) ?? []), perProblem[i]!]);
  const values = [...groups.values()];
  return { value: mean(perProblem), ...meanInterval(values.map(mean), values.map((group) => group.length)) };
}

/** Percentiles by nearest rank. */
function lengthOf(tokens: readonly (number | null)[]): Length | null {
  const known = tokens.filter((one) => one !== null).toSorted((a, b) => a - b);
  if (known.length < tokens.length) return null;
  const at = (share: number): number => known[Math.ceil(share * known.length) - 1]!;
  return { mean: mean(known), p50: at(0.5), p95: at(0.95) };
}

function total(values: readonly (number | null)[]): number | null {
  return values.reduce((sum, value) => (sum === null || value === null ? null : sum + value), 0);
}

const mean = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / values.length;

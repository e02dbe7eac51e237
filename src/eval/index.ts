export { bootstrapInterval, pairedDifference, wilsonInterval } from "./intervals.ts";
export type { Interval, PairedDifference } from "./intervals.ts";
export { majorityVote, passAtK } from "./pass-at-k.ts";
export { preflight, signalProbability } from "./preflight.ts";
export type { Preflight, ProblemResult } from "./preflight.ts";
export { evaluate, evaluationProblems } from "./evaluate.ts";
export type { Accuracy, Evaluation, EvaluationOptions } from "./evaluate.ts";
export { rollout } from "./rollout.ts";
export type { Group, RolloutOptions, Sample } from "./rollout.ts";

export { arithmetic, type ArithmeticGold } from "./arithmetic.ts";
export { bases, type BasesGold } from "./bases.ts";
export { brackets, type BracketsGold } from "./brackets.ts";
export { compare, type CompareGold } from "./compare.ts";
export { transcripts, type CorpusOptions, type TranscriptPair } from "./corpus.ts";
export { countdown, createCountdown, type CountdownGold, type CountdownOptions } from "./countdown.ts";
export { evaluate, type Evaluation, type ExpressionFault } from "./expression.ts";
export { playDemonstration, toolEnvironment, type Tool, type ToolEnvironmentOptions } from "./environment.ts";
export { type Entry, type Trace, type TraceWriter } from "./reasoning-gym/entry.ts";
export { gymTask } from "./reasoning-gym/task.ts";
export { traceWriters } from "./reasoning-gym/traces.ts";
export { readEntries } from "./read-entries.ts";
export { divisor, type DivisorGold } from "./divisor.ts";
export { guess, type GuessGold } from "./guess.ts";
export { languageConsistency, languageConsistencyReward, thoughtConsistency } from "./language.ts";
export { letters, type LettersGold } from "./letters.ts";
export { mixedTask, type MixedGold, type MixedPart } from "./mixed.ts";
export { multiplication, type MultiplicationGold } from "./multiplication.ts";
export { parity, type ParityGold } from "./parity.ts";
export { reversal, type ReversalGold } from "./reversal.ts";
export { accuracyReward, formatReward, isReward, type Reward, type RewardFunction, type RewardSample } from "./reward.ts";
export { rewriting, type RewritingGold } from "./rewriting.ts";
export { sorting, type SortingGold } from "./sorting.ts";
export {
  formatWeight,
  splitOf,
  type Address,
  type DemonstrationKind,
  type Environment,
  type Episode,
  sameAnswer,
  type Language,
  type Problem,
  type Score,
  type Split,
  type StepResult,
  type Task,
} from "./task.ts";
export { formatRational, isInteger, type Rational } from "./rational.ts";
export { taskNames, type TaskName } from "./names.ts";
export { allTasks, tasks, type AnyTaskName } from "./table.ts";
export { weekday, type WeekdayGold } from "./weekday.ts";
export {
  extractMath,
  verifyExact,
  verifyJson,
  verifyMath,
  verifyPattern,
  verifyQuantity,
  type ExactOptions,
  type QuantityOptions,
  type Verdict,
  type Verifier,
} from "./verifiers/index.ts";
export {
  codeReward,
  openPythonSandbox,
  openSandbox,
  parseExactJson,
  verifyCode,
  type CodeTest,
  type CodeVerdict,
  type Limits,
  type Outcome,
  type Program,
  type PythonSandboxOptions,
  type Sandbox,
  type SandboxOptions,
} from "./sandbox/index.ts";

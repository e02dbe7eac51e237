export { arithmetic, type ArithmeticGold } from "./arithmetic.ts";
export { transcripts, type CorpusOptions, type TranscriptPair } from "./corpus.ts";
export { countdown, createCountdown, type CountdownGold, type CountdownOptions } from "./countdown.ts";
export { evaluate, formatRational, isInteger, type Evaluation, type ExpressionFault, type Rational } from "./expression.ts";
export { type Entry, type Trace, type TraceWriter } from "./reasoning-gym/entry.ts";
export { traceWriters } from "./reasoning-gym/traces.ts";
export { parity, type ParityGold } from "./parity.ts";
export {
  formatWeight,
  splitOf,
  type Address,
  type DemonstrationKind,
  type Language,
  type Problem,
  type Score,
  type Split,
  type Task,
} from "./task.ts";
export { tasks, type TaskName } from "./table.ts";

/** One finished step of a stage: what was measured, under the names of the log; those of the clock have `clock/` before them. */
export interface Point {
  readonly step: number;
  readonly values: Readonly<Record<string, number>>;
}

export interface StageLog {
  readonly name: string;
  /** Steps in all, 0 where the log has not said. */
  readonly steps: number;
  readonly step: number;
  readonly points: readonly Point[];
  /** Unix time in seconds of the first and the last line of this sitting. */
  readonly since: number;
  readonly until: number;
  /** Steps that were done at `since`. */
  readonly before: number;
}

export interface Sample {
  readonly prompt: string;
  readonly completion: string;
  readonly reward: number | null;
  readonly rewards: Readonly<Record<string, number>>;
  readonly advantage: number | null;
}

/** The completions that were shown at one step. */
export interface SampleSet {
  readonly stage: string;
  readonly step: number;
  readonly samples: readonly Sample[];
}

export interface Accuracy {
  readonly accuracy: number;
  readonly interval: readonly [number, number] | null;
}

/** How the model did on held-out problems. */
export interface EvaluationResult {
  readonly stage: string;
  readonly sampled: Accuracy | null;
  readonly greedy: Accuracy | null;
  readonly passAt: Readonly<Record<string, number>>;
  readonly meanLength: number | null;
}

/** What a page can show of a run's `log.jsonl`. */
export interface RunLog {
  readonly stages: readonly StageLog[];
  readonly samples: readonly SampleSet[];
  readonly evaluations: readonly EvaluationResult[];
  /** What the pre-flight measured and concluded, if there was one. */
  readonly preflight: { readonly values: Readonly<Record<string, number>>; readonly verdict: string } | null;
  readonly notices: readonly string[];
}

export const emptyLog: RunLog = { stages: [], samples: [], evaluations: [], preflight: null, notices: [] };

type Json = Readonly<Record<string, unknown>>;

/** A gap this long between lines, in seconds, is a stop and not work. */
const longestStep = 120;

/** The log with some more lines. Lines and fields that are not known are passed over: logs outlive pages. */
export function addLines(log: RunLog, lines: readonly string[]): RunLog {
  const stages = new Map(log.stages.map((stage) => [stage.name, { ...stage, points: [...stage.points] }]));
  const samples = [...log.samples];
  const evaluations = [...log.evaluations];
  const notices = [...log.notices];
  let { preflight } = log;
  for (const line of lines.map(parse)) {
    const { type = "metrics", stage: name, step } = line;
    if (typeof name !== "string" || typeof step !== "number") continue;
    const stage = advance(stages.get(name), name, step, line);
    stages.set(name, stage);
    const values = numbersOf(line);
    if (type === "metrics") stage.points.push({ step, values });
    if (type === "completions") samples.push({ stage: name, step, samples: list(line.completions).map(sampleOf) });
    if (type === "evaluation") evaluations.push(evaluationOf(name, line));
    if (type === "preflight") preflight = { values, verdict: text(line.verdict) };
    if (type === "notice" && typeof line.message === "string") notices.push(line.message);
  }
  return { stages: [...stages.values()], samples, evaluations, preflight, notices };
}

function parse(line: string): Json {
  try {
    return record(JSON.parse(line));
  } catch {
    return {}; // a damaged line is no reason to show nothing
  }
}

type Growing = Omit<StageLog, "points"> & { readonly points: Point[] };

function advance(stage: Growing | undefined, name: string, step: number, line: Json): Growing {
  const time = number(record(line.clock).time) ?? 0;
  const steps = number(line.steps) ?? stage?.steps ?? 0;
  const took = number(record(line.clock).step_time) ?? 0;
  if (stage === undefined) return { name, step, steps, points: [], since: time - took, until: time, before: step - 1 };
  const stopped = time - stage.until > longestStep + took;
  return { ...stage, step, steps, until: time, ...(stopped ? { since: time - took, before: step - 1 } : {}) };
}

function numbersOf({ stage: _stage, step: _step, steps: _steps, type: _type, clock, ...line }: Json): Record<string, number> {
  const measured = Object.entries(record(clock)).map(([name, value]) => [`clock/${name}`, value] as const);
  return Object.fromEntries([...Object.entries(line), ...measured].flatMap(([name, value]) => (typeof value === "number" ? [[name, value]] : [])));
}

function sampleOf(value: unknown): Sample {
  const { prompt, completion, reward, rewards, advantage } = record(value);
  return { prompt: text(prompt), completion: text(completion), reward: number(reward), rewards: numbersOf(record(rewards)), advantage: number(advantage) };
}

function evaluationOf(stage: string, line: Json): EvaluationResult {
  return { stage, sampled: accuracyOf(line.sampled), greedy: accuracyOf(line.greedy), passAt: numbersOf(record(line.pass_at)), meanLength: number(line.mean_length) };
}

function accuracyOf(value: unknown): Accuracy | null {
  const { accuracy, interval } = record(value);
  const [low, high] = Array.isArray(interval) ? interval : [record(interval).low, record(interval).high];
  if (typeof accuracy !== "number") return null;
  return { accuracy, interval: typeof low === "number" && typeof high === "number" ? [low, high] : null };
}

const record = (value: unknown): Json => (typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Json) : {});
const list = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : []);
const number = (value: unknown): number | null => (typeof value === "number" ? value : null);
const text = (value: unknown): string => (typeof value === "string" ? value : "");

/** Seconds until a stage is done at the pace of this sitting; null where that cannot be told. */
export function remaining({ step, steps, since, until, before }: StageLog): number | null {
  const done = step - before;
  if (done < 1 || until <= since || steps === 0) return null;
  return Math.max(0, steps - step) * ((until - since) / done);
}

/** Each value as the mean of those within `radius` places of it: what is drawn neither jumps nor lags behind. */
export function smooth(values: readonly (number | null)[], radius: number): (number | null)[] {
  return values.map((value, at) => {
    if (value === null) return null;
    const near = values.slice(Math.max(0, at - radius), at + radius + 1).filter((neighbour) => neighbour !== null);
    return near.reduce((sum, neighbour) => sum + neighbour / near.length, 0);
  });
}

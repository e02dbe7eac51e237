/** What a run has used, what that is worth, and what the assumptions are. Kept in `ledger.json`. */
export interface Ledger {
  /** Every stage is done. */
  readonly finished: boolean;
  readonly hardware: Hardware;
  readonly assumptions: Assumptions;
  /** One for each start of the trainer. */
  readonly sessions: readonly Session[];
  /** Steps that were done again after a kill count twice: they were paid for twice. */
  readonly stages: Readonly<Record<string, Work>>;
  readonly total: Work & Cost;
  /** What DeepSeek reports for its own runs, to compare with. */
  readonly published: readonly PublishedCost[];
}

export interface Hardware {
  readonly cpu: string;
  readonly cores: number;
  readonly memory_bytes: number;
  readonly platform: string;
  readonly runtime: string;
}

/** Prices and powers that nobody measured; replace them by yours. */
export interface Assumptions {
  /** Of the whole machine, for each busy core. */
  readonly watts_per_core: number;
  readonly usd_per_kwh: number;
  /** Of a rented core. */
  readonly usd_per_core_hour: number;
  /** How FLOPs are counted when a stage does not say otherwise. */
  readonly flops_rule: string;
}

export const defaultAssumptions: Assumptions = {
  watts_per_core: 10,
  usd_per_kwh: 0.15,
  usd_per_core_hour: 0.04,
  flops_rule: "6 FLOPs for each parameter and trained token, 2 for each parameter and generated token",
};

export interface Session {
  /** Unix time in seconds. */
  readonly started: number;
  /** The last time the ledger was written in it. */
  readonly ended: number;
  /** Name of the checkpoint that it went on from, or null. */
  readonly resumed_from: string | null;
}

export interface Work {
  readonly seconds: number;
  readonly core_hours: number;
  /** Trained and generated. */
  readonly tokens: number;
  readonly flops: number;
}

export interface Cost {
  readonly energy_kwh: number;
  readonly energy_usd: number;
  readonly rental_usd: number;
}

export interface PublishedCost {
  readonly name: string;
  readonly h800_hours: number;
  /** At 2 USD an hour. */
  readonly usd: number;
  readonly source: string;
}

const v3 = "DeepSeek-V3 technical report (2412.19437), table 1";
const r1 = "DeepSeek-R1 (2501.12948, supplement of the Nature version), table 7";

export const publishedCosts: readonly PublishedCost[] = [
  { name: "DeepSeek-V3 pre-training", h800_hours: 2_664_000, usd: 5_328_000, source: v3 },
  { name: "DeepSeek-V3 context extension", h800_hours: 119_000, usd: 238_000, source: v3 },
  { name: "DeepSeek-V3 post-training", h800_hours: 5_000, usd: 10_000, source: v3 },
  { name: "DeepSeek-R1-Zero", h800_hours: 101_000, usd: 202_000, source: r1 },
  { name: "DeepSeek-R1 SFT data", h800_hours: 5_000, usd: 10_000, source: r1 },
  { name: "DeepSeek-R1", h800_hours: 41_000, usd: 82_000, source: r1 },
];

/** Work of a stage since it was last accounted for. */
export interface Spent {
  readonly seconds: number;
  /** Cores that were busy. */
  readonly cores: number;
  readonly tokens: number;
  readonly flops: number;
}

const nothing: Work = { seconds: 0, core_hours: 0, tokens: 0, flops: 0 };

export function newLedger(hardware: Hardware, assumptions = defaultAssumptions): Ledger {
  const total = { ...nothing, ...costOf(nothing, assumptions) };
  return { finished: false, hardware, assumptions, sessions: [], stages: {}, total, published: publishedCosts };
}

export function startSession(ledger: Ledger, started: number, resumed_from: string | null): Ledger {
  return { ...ledger, finished: false, sessions: [...ledger.sessions, { started, ended: started, resumed_from }] };
}

/** The ledger as it is written at time `now`. */
export function closeSession(ledger: Ledger, now: number, finished: boolean): Ledger {
  const sessions = ledger.sessions.map((session, i) => (i === ledger.sessions.length - 1 ? { ...session, ended: now } : session));
  return { ...ledger, finished, sessions };
}

export function addWork(ledger: Ledger, stage: string, { seconds, cores, tokens, flops }: Spent): Ledger {
  const spent: Work = { seconds, core_hours: (seconds * cores) / 3600, tokens, flops };
  const total = sum(ledger.total, spent);
  return {
    ...ledger,
    stages: { ...ledger.stages, [stage]: sum(ledger.stages[stage] ?? nothing, spent) },
    total: { ...total, ...costOf(total, ledger.assumptions) },
  };
}

/**
 * 6 N D (Kaplan et al. 2001.08361): 2 for the forward and 4 for the backward pass, 2 of them for the gradient of the parameters,
 * which those that are frozen have none of.
 * @param parameters those active for a token
 * @param frozen how many of them
 */
export function trainingFlops(parameters: number, tokens: number, frozen = 0): number {
  return (6 * parameters - 2 * frozen) * tokens;
}

/** 2 N D: the forward pass alone. */
export function generationFlops(parameters: number, tokens: number): number {
  return 2 * parameters * tokens;
}

function sum(a: Work, b: Work): Work {
  return {
    seconds: a.seconds + b.seconds,
    core_hours: a.core_hours + b.core_hours,
    tokens: a.tokens + b.tokens,
    flops: a.flops + b.flops,
  };
}

function costOf({ core_hours }: Work, { watts_per_core, usd_per_kwh, usd_per_core_hour }: Assumptions): Cost {
  const energy_kwh = (core_hours * watts_per_core) / 1000;
  return { energy_kwh, energy_usd: energy_kwh * usd_per_kwh, rental_usd: core_hours * usd_per_core_hour };
}

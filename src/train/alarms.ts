import { mean } from "./advantages.ts";

/** When a run of reinforcement learning is likely to go wrong. Each looks at means over `window` steps, against those of the first steps. */
export interface AlarmOptions {
  /** Steps. Default 5. */
  readonly window?: number;
  /** Entropy has fallen below this share of what it was: the policy no longer explores. Default 0.1. */
  readonly entropy_floor?: number;
  /** Completions are this many times as long as they were, and the reward is no higher. Default 2. */
  readonly length_growth?: number;
  /** A larger share of completions than this is cut at the limit. Default 0.1. */
  readonly clipped_ratio?: number;
  /** A larger share of groups than this has equal rewards, which teach nothing. Default 0.9. */
  readonly no_signal?: number;
  /** KL to the reference beyond this, in nats a token. Default 1. */
  readonly kl?: number;
}

const watched = ["entropy", "reward", "kl", "frac_reward_zero_std", "completions/mean_length", "completions/clipped_ratio"] as const;
type Row = Readonly<Partial<Record<(typeof watched)[number], number>>>;

/** Part of the checkpoint. */
export type AlarmState = {
  /** Of the first steps. */
  readonly start: readonly Row[];
  /** Of the last ones. */
  readonly recent: readonly Row[];
  /** Alarms that are on: each is raised once, until its reason is gone. */
  readonly on: readonly AlarmName[];
};

export type AlarmName = "entropy_collapse" | "length_growth" | "truncation" | "no_signal" | "kl";

export interface Alarm {
  readonly alarm: AlarmName;
  readonly message: string;
}

export const noAlarms: AlarmState = { start: [], recent: [], on: [] };

/** Takes in a step's metrics, and says which alarms it has raised. Pure: equal metrics raise equal alarms, resumed or not. */
export function watchMetrics(state: AlarmState, metrics: Readonly<Record<string, number>>, options: AlarmOptions = {}): { readonly state: AlarmState; readonly alarms: readonly Alarm[] } {
  const { window = 5 } = options;
  const row: Row = Object.fromEntries(watched.flatMap((name) => (Number.isFinite(metrics[name]) ? [[name, metrics[name]]] : [])));
  const start = state.start.length < window ? [...state.start, row] : state.start;
  const recent = [...state.recent, row].slice(-window);
  const reasons = recent.length < window ? [] : reasonsOf(averages(start), averages(recent), options);
  return { state: { start, recent, on: reasons.map(({ alarm }) => alarm) }, alarms: reasons.filter(({ alarm }) => !state.on.includes(alarm)) };
}

type Averages = Readonly<Record<(typeof watched)[number], number>>;

/** NaN, which is neither above nor below anything, for what was not measured. */
const averages = (rows: readonly Row[]): Averages => Object.fromEntries(watched.map((name) => [name, mean(rows.map((row) => row[name] ?? null))])) as Averages;

function reasonsOf(start: Averages, now: Averages, { entropy_floor = 0.1, length_growth = 2, clipped_ratio = 0.1, no_signal = 0.9, kl = 1 }: AlarmOptions): Alarm[] {
  const [before, length] = [start["completions/mean_length"], now["completions/mean_length"]];
  const percent = (share: number): string => `${Math.round(share * 100)} %`;
  const checks: readonly (readonly [boolean, AlarmName, string])[] = [
    [now.entropy < entropy_floor * start.entropy, "entropy_collapse", `Entropy has fallen from ${start.entropy.toFixed(3)} to ${now.entropy.toFixed(3)}: the policy no longer explores. Raise epsilon_high, lower the learning rate, or add a KL term`],
    [length > length_growth * before && now.reward <= start.reward, "length_growth", `Completions have grown from ${before.toFixed(0)} to ${length.toFixed(0)} tokens, and the reward has not. Set soft_punish_cache, or loss_type dr_grpo`],
    [now["completions/clipped_ratio"] > clipped_ratio, "truncation", `${percent(now["completions/clipped_ratio"])} of completions are cut at the limit, and count as wrong. Raise max_completion_length, or set mask_truncated_completions`],
    [now.frac_reward_zero_std > no_signal, "no_signal", `${percent(now.frac_reward_zero_std)} of groups have equal rewards and teach nothing. Set max_rollouts, sample larger groups, or ask other problems`],
    [now.kl > kl, "kl", `The policy is ${now.kl.toFixed(2)} nats a token from its reference. Raise beta, lower the learning rate, or set ref_model_sync_steps`],
  ];
  return checks.flatMap(([raised, alarm, message]) => (raised ? [{ alarm, message }] : []));
}

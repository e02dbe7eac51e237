import type { ChartSpec } from "./chart.tsx";

const percent = (value: number): string => `${Math.round(value * 100)}%`;
const decimal = (value: number): string => (Math.abs(value) >= 100 ? value.toFixed(0) : Number(value.toPrecision(3)).toString());
const count = (value: number): string => (Math.abs(value) >= 10_000 ? `${Number((value / 1000).toPrecision(3))}k` : Number(value.toFixed(value < 10 ? 1 : 0)).toString());

/** What is drawn of a run, in this order, where the run has it. Names are TRL's. */
export const charts: readonly ChartSpec[] = [
  { title: "Reward", unit: "mean of the completions", format: decimal, range: [0, 1], lines: [{ names: ["reward"] }] },
  { title: "Accuracy", unit: "right answers", format: percent, range: [0, 1], lines: [{ names: ["rewards/accuracy/mean", "rewards/correct/mean"] }, { names: ["rewards/format/mean"], label: "format" }] },
  { title: "Length", unit: "tokens, mean", format: count, range: [0, null], lines: [{ names: ["completions/mean_length"] }] },
  { title: "Entropy", unit: "nats a token", format: decimal, range: [0, null], lines: [{ names: ["entropy"] }] },
  { title: "Throughput", unit: "tokens a second", format: count, range: [0, null], lines: [{ names: ["clock/tokens_per_second"] }] },
  { title: "Groups with signal", unit: "right and wrong answers", format: percent, range: [0, 1], inverted: true, lines: [{ names: ["frac_reward_zero_std"] }] },
  { title: "Cut off", unit: "completions at the limit", format: percent, range: [0, null], lines: [{ names: ["completions/clipped_ratio"] }] },
  { title: "KL", unit: "nats from the reference", format: decimal, range: [0, null], lines: [{ names: ["kl"] }] },
  { title: "Loss", unit: "nats a token", format: decimal, lines: [{ names: ["loss"] }] },
  { title: "Gradient norm", unit: "before clipping", format: decimal, range: [0, null], lines: [{ names: ["grad_norm"] }] },
  { title: "Learning rate", unit: "of AdamW", format: (value) => value.toExponential(1), range: [0, null], lines: [{ names: ["learning_rate"] }] },
];

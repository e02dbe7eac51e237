import { join } from "node:path";
import type picocolors from "picocolors";
import type { Evaluation } from "../eval/index.ts";
import { readLedger, readLog, type Ledger } from "../train/index.ts";
import { duration } from "./progress.ts";
import { table } from "./table.ts";

/** What a finished run has come to. */
export interface RunSummary {
  /** In the order in which they were made: base, …, final. */
  readonly evaluations: readonly (Evaluation & { readonly stage: string })[];
  readonly cost: Ledger["total"] | null;
}

/** Read from the run's folder, which also knows what earlier processes did. */
export function summaryOf(dir: string): RunSummary {
  const lines = readLog(join(dir, "log.jsonl")).filter(({ type }) => type === "evaluation");
  return { evaluations: lines as unknown as RunSummary["evaluations"], cost: readLedger(dir)?.total ?? null };
}

export function summaryText({ evaluations, cost }: RunSummary, { bold, dim }: ReturnType<typeof picocolors.createColors>): string {
  const header = ["", ...evaluations.map(({ stage }) => stage), ...(evaluations.length > 1 ? ["change"] : [])];
  const figures = evaluations.length === 0 ? "" : `\n${table([header, ...rows(evaluations)], bold)}`;
  return cost === null ? figures : `${figures}\n${costText(cost)}\n${dim("Prices and powers are the ledger's assumptions: ledger.json")}\n`;
}

const percent = (share: number): string => `${(share * 100).toFixed(1)} %`;
const signed = (value: number, text: string): string => (value >= 0 ? `+${text}` : text);

function rows(evaluations: RunSummary["evaluations"]): string[][] {
  const row = (name: string, value: (evaluation: Evaluation) => number, show: (evaluation: Evaluation) => string, scale: number): string[] => {
    const change = (value(evaluations.at(-1)!) - value(evaluations[0]!)) * scale;
    return [name, ...evaluations.map(show), ...(evaluations.length > 1 ? [signed(change, change.toFixed(1))] : [])];
  };
  const share = (name: string, value: (evaluation: Evaluation) => number): string[] => row(name, value, (evaluation) => percent(value(evaluation)), 100);
  const between = ({ low, high }: { readonly low: number; readonly high: number }): string => `${(low * 100).toFixed(1)}–${(high * 100).toFixed(1)}`;
  const k = Math.min(...evaluations.map(({ pass_at }) => Math.max(...Object.keys(pass_at).map(Number))));
  return [
    row("accuracy", ({ sampled }) => sampled.accuracy, ({ sampled }) => `${percent(sampled.accuracy)} (${between(sampled.interval)})`, 100),
    row("greedy", ({ greedy }) => greedy.accuracy, ({ greedy }) => `${percent(greedy.accuracy)} (${between(greedy.interval)})`, 100),
    share(`pass@${k}`, ({ pass_at }) => pass_at[String(k)]!),
    row("length", ({ mean_length }) => mean_length, ({ mean_length }) => `${mean_length.toFixed(1)} tokens`, 1),
  ];
}

function costText({ seconds, core_hours, tokens, flops, energy_kwh, energy_usd, rental_usd }: Ledger["total"]): string {
  const usd = (value: number): string => `${value.toPrecision(2)} USD`;
  return [`${duration(seconds)}, ${core_hours.toPrecision(3)} core-hours`, `${tokens.toLocaleString("en")} tokens`, `${flops.toPrecision(3)} FLOPs`, `${energy_kwh.toPrecision(2)} kWh: ${usd(energy_usd)}`, `rented: ${usd(rental_usd)}`].join(" · ");
}

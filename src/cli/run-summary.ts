import { join } from "node:path";
import type picocolors from "picocolors";
import type { Evaluation } from "../eval/index.ts";
import { readLedger, readLog, type Ledger } from "../train/index.ts";
import { duration } from "./progress.ts";
import { table } from "./table.ts";

/** What a finished run has come to. */
export interface RunSummary {
  /** In the order in which they were made: base, …, final. `task` is missing where an older version has written the log. */
  readonly evaluations: readonly (Evaluation & { readonly stage: string; readonly task?: string })[];
  readonly cost: Ledger["total"] | null;
}

/** Read from the run's folder, which also knows what earlier processes did. */
export function summaryOf(dir: string): RunSummary {
  const lines = readLog(join(dir, "log.jsonl")).filter(({ type }) => type === "evaluation");
  return { evaluations: lines as unknown as RunSummary["evaluations"], cost: readLedger(dir)?.total ?? null };
}

export function summaryText({ evaluations, cost }: RunSummary, { bold, dim }: ReturnType<typeof picocolors.createColors>): string {
  const figures = evaluations.length === 0 ? "" : `\n${figuresOf(evaluations, bold)}`;
  return cost === null ? figures : `${figures}\n${costText(cost)}\n${dim("Prices and powers are the ledger's assumptions: ledger.json")}\n`;
}

function figuresOf(evaluations: RunSummary["evaluations"], bold: (text: string) => string): string {
  const several = new Set(evaluations.map(({ task }) => task)).size > 1;
  if (several) return `${table(stageTable(evaluations), bold)}Accuracy of samples · of the greedy answer, in %\n`;
  return table([["", ...evaluations.map(({ stage }) => stage), ...(evaluations.length > 1 ? ["change"] : [])], ...rows(evaluations)], bold);
}

/** A row a task and a column a stage: the evaluation NAME-TASK is what the stages up to NAME have come to. */
function stageTable(evaluations: RunSummary["evaluations"]): string[][] {
  const columnOf = ({ stage, task = "" }: RunSummary["evaluations"][number]): string => (stage.endsWith(`-${task}`) ? stage.slice(0, -task.length - 1) : stage);
  const columns = [...new Set(evaluations.map(columnOf))];
  const row = (task: string, name: string, show: (evaluation: Evaluation) => string): string[] => [
    name,
    ...columns.map((column) => {
      const found = evaluations.find((one) => columnOf(one) === column && (one.task ?? "") === task);
      return found ? show(found) : "–";
    }),
  ];
  const hundredths = (share: number): string => (share * 100).toFixed(1);
  const tasks = [...new Set(evaluations.map(({ task = "" }) => task))];
  const mixed = (task: string): boolean => evaluations.some((one) => (one.task ?? "") === task && (one.language_consistency ?? 1) < 1);
  return [
    ["", ...columns],
    ...tasks.map((task) => row(task, task, ({ sampled, greedy }) => `${hundredths(sampled.accuracy)} · ${hundredths(greedy.accuracy)}`)),
    ...tasks.filter(mixed).map((task) => row(task, `${task}, language kept`, ({ language_consistency: kept = null }) => (kept === null ? "–" : hundredths(kept)))),
  ];
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

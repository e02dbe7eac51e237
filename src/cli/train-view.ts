import type { Interval } from "../eval/index.ts";
import type { RecipeEvent } from "../train/index.ts";
import { progress, type Progress } from "./progress.ts";
import type { Terminal } from "./terminal.ts";

/** Shows a run to a person as it goes. */
export interface TrainView {
  report(event: RecipeEvent): void;
  /** A line of its own, above what follows. */
  say(text: string): void;
}

export function trainView(terminal: Terminal): TrainView {
  const { bold, dim, yellow, green } = terminal.noteColors;
  let bar: Progress | undefined;
  const say = (text: string): void => {
    bar?.end();
    terminal.note(`${text}\n`);
  };
  const report = (event: RecipeEvent): void => {
    switch (event.type) {
      case "start":
        say(`${bold(event.recipe)} ${dim(`· ${event.parameters.toLocaleString("en")} parameters${event.trainable < event.parameters ? `, ${event.trainable.toLocaleString("en")} of them trained` : ""} · ${event.stages.map(({ name, steps }) => `${name} ${steps}`).join(", ")}`)}`);
        for (const warning of event.warnings) say(yellow(warning));
        break;
      case "stage":
        bar?.end();
        bar = progress(terminal, { label: event.stage.padEnd(9), total: event.steps, done: event.step, unit: "steps" });
        bar.update(event.step);
        break;
      case "progress":
        // What the last step has measured follows at once.
        if (event.step < event.steps) bar?.update(event.step);
        break;
      case "metrics":
        bar?.update(event.step, metricsText(event.values));
        break;
      case "evaluation":
        bar?.update(event.steps, evaluationText(event.values));
        break;
      case "preflight":
        bar?.update(event.steps, String(event.values.verdict));
        break;
      case "stopped":
        say(yellow(`Stopped in ${event.stage} after ${event.step} of ${event.steps} steps`));
        break;
      case "end":
        say(green(`Done: ${event.dir}`));
        break;
      case "notice":
        say(yellow(String(event.values["message"])));
        break;
      case "completions":
      case "checkpoint":
        break;
    }
  };
  return { report, say };
}

type Values = Readonly<Record<string, unknown>>;

const percent = (share: number): string => `${(share * 100).toFixed(1)} %`;
const digits = (count: number) => (value: number): string => value.toFixed(count);

/** What to say of a step, by the metrics that it has: [metric, name, form]. */
const policyFigures = [
  ["reward", "reward", digits(3)],
  ["rewards/accuracy/mean", "accuracy", percent],
  ["completions/mean_length", "length", digits(1)],
  ["entropy", "entropy", digits(3)],
  ["frac_reward_zero_std", "no signal", percent],
] as const;
const languageFigures = [
  ["loss", "loss", digits(4)],
  ["grad_norm", "grad norm", digits(2)],
  ["learning_rate", "lr", (value: number) => value.toExponential(1)],
] as const;

/** `reward 0.412  accuracy 40.6 %  length 61.3 …`, or the loss where nothing is rewarded. */
export function metricsText(values: Values): string {
  const figures = "reward" in values ? policyFigures : languageFigures;
  return figures.flatMap(([key, name, form]) => (typeof values[key] === "number" ? [`${name} ${form(values[key])}`] : [])).join("  ");
}

function evaluationText(values: Values): string {
  const { sampled, greedy, mean_length } = values as { readonly sampled: { accuracy: number; interval: Interval }; readonly greedy: { accuracy: number }; readonly mean_length: number };
  return `accuracy ${percent(sampled.accuracy)} (${percent(sampled.interval.low)} to ${percent(sampled.interval.high)})  greedy ${percent(greedy.accuracy)}  length ${mean_length.toFixed(1)}`;
}

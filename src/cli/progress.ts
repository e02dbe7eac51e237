import type { Terminal } from "./terminal.ts";

export interface ProgressOptions {
  readonly label: string;
  /** Units of work in all. */
  readonly total: number;
  /** `"steps"`, `"tokens"`, … */
  readonly unit: string;
  /** Done before this process, by a run that is resumed. */
  readonly done?: number;
  /** Seconds; only differences count. */
  readonly now?: () => number;
}

export interface Progress {
  /** `done` units are finished, `note` is what to say about the last one. */
  update(done: number, note?: string): void;
  end(): void;
}

const plainEverySeconds = 2;
const rateOverSeconds = 30;
const barWidth = 24;
/** From the end of the note to the start of the line above it, and clears what follows. */
const back = "\r\u001b[A\u001b[J";

/** A line, and one for the note, that are redrawn where a person watches; elsewhere a whole line now and then, without control codes. */
export function progress(terminal: Terminal, { label, total, unit, done: before = 0, now = () => performance.now() / 1000 }: ProgressOptions): Progress {
  const rate = rateMeter(before, now());
  let lastLine = Number.NEGATIVE_INFINITY;
  let drawn = false;
  let unsaid = "";
  return {
    update(done, note = "") {
      const time = now();
      const perSecond = rate(done, time);
      const eta = done < total && perSecond > 0 ? `  ETA ${duration((total - done) / perSecond)}` : "";
      const pace = `${done}/${total} ${unit}${perSecond > 0 ? `  ${perSecond.toPrecision(3)} ${unit}/s` : ""}${eta}`;
      if (terminal.interactive) {
        terminal.note(`${drawn ? back : ""}${label} ${bar(terminal, total > 0 ? done / total : 1)} ${pace}\n  ${note}`);
        drawn = true;
        return;
      }
      const figures = note === "" ? pace : `${pace}  ${note}`;
      unsaid = `${label}  ${figures}\n`;
      if (time - lastLine < plainEverySeconds && done < total) return;
      lastLine = time;
      terminal.note(unsaid);
      unsaid = "";
    },
    end() {
      terminal.note(drawn ? "\n" : unsaid);
      drawn = false;
      unsaid = "";
    },
  };
}

function bar({ noteColors }: Terminal, share: number): string {
  const filled = Math.round(Math.min(1, Math.max(0, share)) * barWidth);
  return noteColors.green("━".repeat(filled)) + noteColors.dim("─".repeat(barWidth - filled));
}

/** Units a second over the last while, so that an estimate follows a change of pace. */
function rateMeter(done: number, time: number): (done: number, time: number) => number {
  const marks = [{ done, time }];
  return (nowDone, nowTime) => {
    marks.push({ done: nowDone, time: nowTime });
    while (marks.length > 2 && nowTime - (marks[1]?.time ?? nowTime) >= rateOverSeconds) marks.shift();
    const [first] = marks;
    const elapsed = nowTime - (first?.time ?? nowTime);
    return elapsed > 0 ? (nowDone - (first?.done ?? nowDone)) / elapsed : 0;
  };
}

/** `45s`, `3m05s`, `2h07m`. */
export function duration(seconds: number): string {
  const whole = Math.round(seconds);
  const two = (value: number): string => String(value).padStart(2, "0");
  if (whole < 60) return `${whole}s`;
  if (whole < 3600) return `${Math.floor(whole / 60)}m${two(whole % 60)}s`;
  return `${Math.floor(whole / 3600)}h${two(Math.floor((whole % 3600) / 60))}m`;
}

import { closeSync, existsSync, fsyncSync, openSync, readFileSync, truncateSync } from "node:fs";
import { LongjingError } from "../errors/index.ts";
import type { JsonValue } from "./checkpoint.ts";
import { onDisk, writeAll } from "./durable.ts";

/**
 * One line of `log.jsonl`: what happened at a step of a stage, a function of the run's configuration and seed alone. What the
 * clock says stands in `clock` and nowhere else, so two runs are equal when their lines are equal without it.
 */
export interface LogLine {
  readonly stage: string;
  readonly step: number;
  readonly [metric: string]: JsonValue;
}

/** Measured, so different in every run. */
export interface Clock {
  /** Unix time in seconds. */
  readonly time: number;
  /** `step_time` in seconds, tokens a second, … */
  readonly [measure: string]: number;
}

export type TimedLogLine = LogLine & { readonly clock: Clock };

export interface RunLog {
  /** How many lines there are: a checkpoint stores it. */
  readonly lines: number;
  /** Appends a line. Values that JSON cannot hold (NaN, infinities) become null. @throws LongjingError "disk" */
  append(line: LogLine, measures?: Readonly<Record<string, number>>): void;
  /** Has every line on the disk. @throws LongjingError "disk" */
  sync(): void;
  close(): void;
}

/**
 * Opens a run's log for appending behind its first `keepLines` lines; whatever a lost future has written after them is cut
 * off. `now` gives Unix time in seconds.
 * @throws LongjingError "bad_file" when the log has fewer lines; "disk"
 */
export function openLog(path: string, keepLines: number, now: () => number = () => Date.now() / 1000): RunLog {
  return onDisk(path, () => {
    const bytes = existsSync(path) ? readFileSync(path) : Buffer.alloc(0);
    const end = endOfLine(bytes, keepLines, path);
    if (bytes.length > end) truncateSync(path, end);
    const file = openSync(path, "a");
    let lines = keepLines;
    return {
      get lines() {
        return lines;
      },
      append: (line, measures = {}) =>
        onDisk(path, () => {
          writeAll(file, Buffer.from(`${JSON.stringify({ ...line, clock: { time: now(), ...measures } })}\n`));
          lines++;
        }),
      sync: () => onDisk(path, () => fsyncSync(file)),
      close: () => closeSync(file),
    };
  });
}

/** The whole lines of a log; a last line that a kill has torn is not one. Empty where there is no log. @throws LongjingError "bad_file" */
export function readLog(path: string): TimedLogLine[] {
  const text = onDisk(path, () => (existsSync(path) ? readFileSync(path, "utf8") : ""));
  return text.split("\n").slice(0, -1).map((line, i) => parseLine(line, `${path}:${i + 1}`));
}

/** What of a log must be equal in two runs of one configuration. */
export function withoutClock(lines: readonly TimedLogLine[]): LogLine[] {
  return lines.map((timed) => {
    const { clock: _, ...line } = timed;
    return line as LogLine;
  });
}

function parseLine(line: string, where: string): TimedLogLine {
  try {
    return JSON.parse(line) as TimedLogLine;
  } catch (error) {
    throw new LongjingError("bad_file", "A line of the log is not JSON", { where, got: line }, { cause: error });
  }
}

/** Byte offset behind the first `count` lines. */
function endOfLine(bytes: Buffer, count: number, where: string): number {
  let end = 0;
  for (let line = 0; line < count; line++) {
    const newline = bytes.indexOf(0x0a, end);
    if (newline < 0) {
      throw new LongjingError("bad_file", "The log has lost lines that the checkpoint counts on", {
        where,
        got: `${line} lines`,
        expected: `${count} lines or more`,
        hint: "Restore the file, or start again in another folder",
      });
    }
    end = newline + 1;
  }
  return end;
}

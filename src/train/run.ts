import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { cpus, totalmem } from "node:os";
import { basename, join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { LongjingError } from "../errors/index.ts";
import { latestCheckpoint, pruneCheckpoints, removeLeftovers, saveCheckpoint } from "./checkpoint.ts";
import type { Checkpoint, CheckpointContents, JsonValue } from "./checkpoint.ts";
import { onDisk, replaceDurably } from "./durable.ts";
import { addWork, closeSession, newLedger, startSession } from "./ledger.ts";
import type { Assumptions, Hardware, Ledger, Spent } from "./ledger.ts";
import { isLocked, lockRun } from "./lock.ts";
import { openLog } from "./log.ts";
import type { LogLine } from "./log.ts";

export interface RunOptions {
  /** What the run is made from; kept in `config.json`. */
  readonly config: { readonly [key: string]: JsonValue };
  /** Go on from the newest whole checkpoint, if there is one. Without it a folder that holds a run is refused. */
  readonly resume?: boolean;
  /** Asked about what is gone on from before anything is written: throws where it must not be. */
  readonly accept?: (checkpoint: Checkpoint | null) => void;
  /** Checkpoints to keep, beside the marked ones. Default 2. */
  readonly keepLast?: number;
  readonly assumptions?: Assumptions;
  /** Unix time in seconds. */
  readonly now?: () => number;
}

/** An open run folder: this process holds its lock until `close`. */
export interface Run {
  readonly dir: string;
  /** Where to go on from; null at the beginning. */
  readonly checkpoint: Checkpoint | null;
  /** What the person should know about the resumption. */
  readonly warnings: readonly string[];
  /** Fields of `config.json` that are not as the run that goes on had them; those that it did not have are no change. */
  readonly changed: readonly string[];
  /** Appends a line to `log.jsonl`; `measures` (seconds, rates) go under its `clock`. @throws LongjingError "disk" */
  log(line: LogLine, measures?: Readonly<Record<string, number>>): void;
  /** Saves a checkpoint that belongs to the log as it stands, and the ledger. @throws as `saveCheckpoint` */
  save(contents: Omit<CheckpointContents, "log_lines">): string;
  /** Adds to the ledger, which is written with the next checkpoint. */
  account(stage: string, spent: Spent): void;
  readonly ledger: Ledger;
  /** Says that every stage is done. @throws LongjingError "disk" */
  finish(): void;
  /** Writes the ledger and gives the folder back. */
  close(): void;
}

/**
 * Opens a run folder: `config.json`, `log.jsonl`, `ledger.json`, `checkpoints/`, and `lock` while it is open. Where a run goes on,
 * another configuration takes the place of its own with the next line of its log, checkpoint, or end. Resuming cuts the
 * log back to the checkpoint, so that a resumed run's log, parameters and state equal those of a run that was never stopped.
 * @throws LongjingError "conflict" when the folder holds a run and `resume` is not set, or another process trains in it; "disk";
 *   "bad_file" when the log or ledger is damaged
 */
export function openRun(dir: string, options: RunOptions): Run {
  onDisk(dir, () => mkdirSync(dir, { recursive: true }));
  const unlock = lockRun(dir);
  try {
    return openLocked(dir, options, unlock);
  } catch (error) {
    unlock();
    throw error;
  }
}

/** What a run folder says about itself, without opening it. */
export function runState(dir: string): "running" | "finished" | "stopped" {
  if (isLocked(dir)) return "running";
  return readLedger(dir)?.finished === true ? "finished" : "stopped";
}

/** The ledger of a run, or null before its first checkpoint. @throws LongjingError "bad_file"; "disk" */
export function readLedger(dir: string): Ledger | null {
  return readJson(join(dir, "ledger.json")) as Ledger | null;
}

/** What a run was made from, or null where there is none. @throws LongjingError "bad_file"; "disk" */
export function readRunConfig(dir: string): JsonValue | null {
  return readJson(join(dir, "config.json"));
}

function openLocked(dir: string, options: RunOptions, unlock: () => void): Run {
  const { config, resume = false, accept, keepLast = 2, assumptions, now = () => Date.now() / 1000 } = options;
  const oldConfig = readRunConfig(dir);
  if (oldConfig !== null && !resume) {
    throw new LongjingError("conflict", "The folder holds a run already", { where: dir, hint: "Go on with it with --resume, or choose another folder" });
  }
  removeLeftovers(dir);
  const { checkpoint, warnings } = latestCheckpoint(dir);
  accept?.(checkpoint);
  // Where one is damaged, those before it may be wanted.
  if (warnings.length === 0) pruneCheckpoints(dir, keepLast);
  const changed = oldConfig === null ? [] : changedFields(oldConfig, config);
  const writeConfig = configWriter(dir, oldConfig, config);
  // Who goes on with a run may yet find that it cannot: what it was made from is replaced when something comes of it.
  if (oldConfig === null) writeConfig();
  const resumedFrom = checkpoint === null ? null : basename(checkpoint.path);
  let ledger = startSession(readLedger(dir) ?? newLedger(thisHardware(), assumptions), now(), resumedFrom);
  let finished = false;
  const log = openLog(join(dir, "log.jsonl"), checkpoint?.log_lines ?? 0, now);
  const writeLedger = (): void => {
    ledger = closeSession(ledger, now(), finished);
    const path = join(dir, "ledger.json");
    onDisk(path, () => replaceDurably(path, pretty(ledger)));
  };
  return {
    dir,
    checkpoint,
    warnings,
    changed,
    log(line, measures) {
      writeConfig();
      log.append(line, measures);
    },
    save(contents) {
      // The checkpoint counts on these lines: they must outlive a power cut that it outlives. So must what it has cost: work that a
      // kill then loses was done all the same.
      log.sync();
      writeConfig();
      writeLedger();
      return saveCheckpoint(dir, { ...contents, log_lines: log.lines }, keepLast);
    },
    account(stage, spent) {
      ledger = addWork(ledger, stage, spent);
    },
    get ledger() {
      return ledger;
    },
    finish() {
      writeConfig();
      finished = true;
    },
    close() {
      try {
        log.sync();
        writeLedger();
      } finally {
        log.close();
        unlock();
      }
    },
  };
}

/** Writes `config.json` once, where it is another than the one that is there. */
function configWriter(dir: string, there: JsonValue | null, config: RunOptions["config"]): () => void {
  const path = join(dir, "config.json");
  let stands = isDeepStrictEqual(there, plain(config));
  return () => {
    if (!stands) onDisk(path, () => replaceDurably(path, pretty(config)));
    stands = true;
  };
}

function changedFields(before: JsonValue, after: { readonly [key: string]: JsonValue }): string[] {
  const [old, fresh] = [before as { readonly [key: string]: JsonValue }, plain(after)];
  return Object.keys(old).filter((key) => !isDeepStrictEqual(old[key], fresh[key]));
}

/** Through JSON, which is what one from a file has been through. */
const plain = (config: RunOptions["config"]): RunOptions["config"] => JSON.parse(JSON.stringify(config)) as RunOptions["config"];

function thisHardware(): Hardware {
  const cores = cpus();
  return {
    cpu: cores[0]?.model.trim() ?? "unknown",
    cores: cores.length,
    memory_bytes: totalmem(),
    platform: `${process.platform}-${process.arch}`,
    runtime: `Node ${process.versions.node}`,
  };
}

function readJson(path: string): JsonValue | null {
  return onDisk(path, () => {
    if (!existsSync(path)) return null;
    const text = readFileSync(path, "utf8");
    try {
      return JSON.parse(text) as JsonValue;
    } catch (error) {
      throw new LongjingError("bad_file", "The file is not JSON", { where: path, got: text }, { cause: error });
    }
  });
}

function pretty(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}

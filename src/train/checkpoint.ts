import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { LongjingError } from "../errors/index.ts";
import { openFileSource } from "../weights/files.ts";
import { openSafetensors, safetensorsPieces } from "../weights/safetensors.ts";
import { isSystemError, onDisk, sha256OfFile, syncFolder, writeDurably } from "./durable.ts";

export type JsonValue = null | boolean | number | string | readonly JsonValue[] | { readonly [key: string]: JsonValue };

export interface HostTensor {
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

export interface CheckpointContents {
  /** Becomes part of the folder's name: letters, digits, `-` and `_`. */
  readonly stage: string;
  /** Optimiser steps of this stage that are done. */
  readonly step: number;
  /** Lines of the run's log that belong to the work done so far: a resumed run cuts its log back to them. */
  readonly log_lines: number;
  /** Parameters by their names in the checkpoint; written as F32. */
  readonly tensors: Readonly<Record<string, HostTensor>>;
  /** The file that they are in. Default: `modelFile`. */
  readonly weightsFile?: WeightsFile;
  /** Optimiser state by name. */
  readonly optimizer: Readonly<Record<string, HostTensor>>;
  /** Random state, data cursor, whatever else the next step depends on. */
  readonly state: JsonValue;
  /** Files that make the folder loadable by others: `config.json`, `tokenizer.json`, … */
  readonly extraFiles?: Readonly<Record<string, string | Uint8Array>>;
  /** The newest checkpoint of each mark and stage is never pruned ("best", "last"). Default: none. */
  readonly marks?: readonly string[];
  /** Greater for a later checkpoint of the run. Default: 1 more than the greatest that is there. */
  readonly order?: number;
}

/** A checkpoint on the disk: `<stage>-step-N/` with its files and their `SHA256SUMS`. */
export interface Checkpoint {
  readonly path: string;
  readonly stage: string;
  readonly step: number;
  /** Grows with the run, over all its stages. */
  readonly order: number;
  readonly log_lines: number;
  readonly marks: readonly string[];
  readonly state: JsonValue;
}

export interface LatestCheckpoint {
  /** null: there is none to go on from. */
  readonly checkpoint: Checkpoint | null;
  /** One for each newer checkpoint that is damaged and was passed over. */
  readonly warnings: readonly string[];
}

export const modelFile = "model.safetensors";
/** Of a run that trains an adapter, as PEFT names it. */
export const adapterFile = "adapter_model.safetensors";
export type WeightsFile = typeof modelFile | typeof adapterFile;
export const optimizerFile = "optimizer.safetensors";
const stateFile = "state.json";
const sumsFile = "SHA256SUMS";
const ownFiles = [modelFile, adapterFile, optimizerFile, stateFile, sumsFile];
/** Of names that are not checkpoints yet, or no longer. */
const temporaryPrefix = ".tmp-";
const namePattern = /^[A-Za-z0-9][A-Za-z0-9._-]*$/;

/**
 * Saves a checkpoint under `runDir` and prunes old ones: the last `keepLast` stay, and those that a mark protects. It is
 * written under a temporary name, every file and the folder flushed to the disk, then renamed: a kill at any moment leaves
 * either all of it or none. Equal contents give equal bytes; saving them again changes nothing.
 * @returns the checkpoint's path
 * @throws LongjingError "disk" when full or not writable, with the earlier checkpoints untouched; "conflict" when a whole
 *   checkpoint of this name with other tensors exists; "bad_argument" for a name that is no file name
 */
export function saveCheckpoint(runDir: string, contents: CheckpointContents, keepLast = 2): string {
  const parent = join(runDir, "checkpoints");
  const name = `${contents.stage}-step-${contents.step}`;
  if (!(keepLast >= 1)) throw new LongjingError("bad_argument", "A run keeps a checkpoint", { got: keepLast, expected: "at least 1", where: "keepLast" });
  for (const part of [name, ...Object.keys(contents.extraFiles ?? {})]) checkName(part);
  const path = join(parent, name);
  return onDisk(path, () => {
    mkdirSync(parent, { recursive: true });
    const earlier = list(parent).checkpoints.filter((one) => one.path !== path);
    const order = contents.order ?? 1 + Math.max(0, ...earlier.map((one) => one.order));
    const temporary = join(parent, temporaryPrefix + name);
    rmSync(temporary, { recursive: true, force: true });
    try {
      writeFiles(temporary, contents, order);
      if (existsSync(path)) makeWay(path, temporary);
      if (!existsSync(path)) renameSync(temporary, path);
      syncFolder(parent);
    } finally {
      // Gone after a rename; after a failure its space is wanted back.
      rmSync(temporary, { recursive: true, force: true });
    }
    prune(parent, keepLast);
    return path;
  });
}

/** The newest whole checkpoint of a run: every file of it is read and its SHA-256 compared. Changes nothing on the disk. */
export function latestCheckpoint(runDir: string): LatestCheckpoint {
  const parent = join(runDir, "checkpoints");
  return onDisk(parent, () => {
    const { checkpoints, warnings } = list(parent);
    for (const checkpoint of checkpoints.toReversed()) {
      const damage = damageOf(checkpoint.path);
      if (damage === null) return { checkpoint, warnings };
      warnings.push(`${checkpoint.path} is damaged (${damage}) and was passed over`);
    }
    return { checkpoint: null, warnings };
  });
}

/** Where a stage has ended. @throws LongjingError "not_found" where it has not, or its checkpoint is damaged */
export function stageEnd(runDir: string, stage: string): Checkpoint {
  const parent = join(runDir, "checkpoints");
  const found = onDisk(parent, () => list(parent).checkpoints.findLast((one) => one.stage === stage && one.marks.includes("last")));
  const damage = found && damageOf(found.path);
  if (found && damage === null) return found;
  throw new LongjingError("not_found", "The run has no checkpoint of this stage's end", { where: parent, got: damage ?? "none", expected: stage });
}

/** Where stages have ended, by the checkpoints' own account: no tensor is read. Oldest first. */
export function stageEnds(runDir: string): readonly Checkpoint[] {
  const parent = join(runDir, "checkpoints");
  return onDisk(parent, () => list(parent).checkpoints.filter(({ marks }) => marks.includes("last")));
}

/** The tensors of one of a checkpoint's files (`modelFile` or `adapterFile`, `optimizerFile`). @throws LongjingError "not_found"; "bad_file" */
export async function loadTensors(checkpoint: Checkpoint, file: string): Promise<Record<string, HostTensor>> {
  const source = await openFileSource(join(checkpoint.path, file));
  try {
    const opened = await openSafetensors(source);
    const tensors: Record<string, HostTensor> = {};
    for (const [name, { shape }] of opened.tensors) tensors[name] = { shape, data: await opened.readFloat32(name) };
    return tensors;
  } finally {
    await source.close();
  }
}

/** Removes what a killed `saveCheckpoint` has left. Only the trainer that holds the run's lock may call it. */
export function removeLeftovers(runDir: string): void {
  const parent = join(runDir, "checkpoints");
  onDisk(parent, () => {
    for (const name of namesIn(parent)) if (name.startsWith(temporaryPrefix)) rmSync(join(parent, name), { recursive: true, force: true });
  });
}

/** The pruning of a `saveCheckpoint` that was killed before it came to that. Only the trainer that holds the run's lock may call it. */
export function pruneCheckpoints(runDir: string, keepLast: number): void {
  const parent = join(runDir, "checkpoints");
  onDisk(parent, () => prune(parent, keepLast));
}

/** What is wrong with a checkpoint's files, or null if every file is there and has its SHA-256. */
export function damageOf(path: string): string | null {
  const sums = unlessMissing(() => readFileSync(join(path, sumsFile), "utf8"));
  if (sums === null) return `${sumsFile} is missing`;
  const expected = new Map<string, string>();
  const lines = sums.split("\n");
  if (lines.pop() !== "") return `${sumsFile} is malformed`;
  for (const line of lines) {
    const [, hash, name] = /^([0-9a-f]{64}) {2}([^/\\]+)$/.exec(line) ?? [];
    if (hash === undefined || name === undefined) return `${sumsFile} is malformed`;
    expected.set(name, hash);
  }
  const weightsFile = expected.has(adapterFile) ? adapterFile : modelFile;
  for (const name of [weightsFile, optimizerFile, stateFile]) if (!expected.has(name)) return `${sumsFile} does not list ${name}`;
  for (const [name, hash] of expected) {
    const actual = unlessMissing(() => sha256OfFile(join(path, name)));
    if (actual === null) return `${name} is missing`;
    if (actual !== hash) return `${name} does not have its SHA-256`;
  }
  return null;
}

function writeFiles(folder: string, contents: CheckpointContents, order: number): void {
  const { stage, step, log_lines, state, marks = [] } = contents;
  const text = (value: string): Uint8Array[] => [Buffer.from(value)];
  mkdirSync(folder);
  const sums = new Map<string, string>();
  const write = (name: string, pieces: Iterable<Uint8Array>): void => {
    sums.set(name, writeDurably(join(folder, name), pieces));
  };
  for (const [name, content] of Object.entries(contents.extraFiles ?? {})) write(name, typeof content === "string" ? text(content) : [content]);
  write(contents.weightsFile ?? modelFile, safetensorsPieces(toWrite(contents.tensors)));
  write(optimizerFile, safetensorsPieces(toWrite(contents.optimizer)));
  write(stateFile, text(`${JSON.stringify({ stage, step, order, log_lines, marks, state }, null, 2)}\n`));
  writeDurably(join(folder, sumsFile), text([...sums].map(([name, hash]) => `${hash}  ${name}\n`).join("")));
  syncFolder(folder);
}

function toWrite(tensors: Readonly<Record<string, HostTensor>>) {
  return Object.entries(tensors).map(([name, { shape, data }]) => ({ name, dtype: "F32" as const, shape, data }));
}

/**
 * Decides about a checkpoint that has the new one's name: an equal one stays; a damaged one goes, and so does one with the same
 * tensors and another account, as when a stage has been cut to the step that it was stopped at; any other is a conflict.
 */
function makeWay(path: string, temporary: string): void {
  if (damageOf(path) !== null) return discard(path);
  const [old, fresh] = [path, temporary].map((folder) => readFileSync(join(folder, sumsFile), "utf8").split("\n"));
  if (old!.join() === fresh!.join()) return;
  const tensors = (sums: readonly string[]): string => sums.filter((line) => line.endsWith(".safetensors")).join();
  if (tensors(old!) === tensors(fresh!)) return discard(path);
  throw new LongjingError("conflict", "A checkpoint of this name with other tensors exists", {
    where: path,
    hint: "Resume the run from it, or train into another folder",
  });
}

function prune(parent: string, keepLast: number): void {
  const newestFirst = list(parent).checkpoints.toReversed();
  const seen = new Set<string>();
  newestFirst.forEach(({ path, stage, marks }, age) => {
    const fresh = marks.map((mark) => `${stage}/${mark}`).filter((mark) => !seen.has(mark));
    for (const mark of fresh) seen.add(mark);
    if (age >= keepLast && fresh.length === 0) discard(path);
  });
}

/** Renamed first, so that a kill cannot leave half a checkpoint under a checkpoint's name. */
function discard(path: string): void {
  const temporary = join(dirname(path), `${temporaryPrefix}discarded-${basename(path)}`);
  rmSync(temporary, { recursive: true, force: true });
  renameSync(path, temporary);
  rmSync(temporary, { recursive: true, force: true });
}

/** The checkpoints of a folder by their own account, oldest first, and a warning for each whose account cannot be read. */
function list(parent: string): { checkpoints: Checkpoint[]; warnings: string[] } {
  const checkpoints: Checkpoint[] = [];
  const warnings: string[] = [];
  for (const name of namesIn(parent)) {
    if (name.startsWith(temporaryPrefix)) continue;
    const path = join(parent, name);
    const facts = parseState(unlessMissing(() => readFileSync(join(path, stateFile), "utf8")) ?? "");
    if (facts === null) warnings.push(`${path} is damaged (${stateFile} cannot be read) and was passed over`);
    else checkpoints.push({ path, ...facts });
  }
  return { checkpoints: checkpoints.sort((a, b) => a.order - b.order), warnings };
}

function parseState(text: string): Omit<Checkpoint, "path"> | null {
  let facts: (Partial<Omit<Checkpoint, "path">> & { readonly mark?: string | null }) | null;
  try {
    facts = JSON.parse(text) as typeof facts;
  } catch {
    return null; // a damaged checkpoint is a value here: the caller falls back to the one before
  }
  if (typeof facts !== "object" || facts === null) return null;
  const { stage, step, order, log_lines, mark, state } = facts;
  // Before there could be several there was one, or null.
  const marks = facts.marks ?? (mark === undefined ? undefined : [mark].flatMap((one) => one ?? []));
  const whole = typeof stage === "string" && [step, order, log_lines].every(Number.isSafeInteger) && Array.isArray(marks) && state !== undefined;
  return whole ? ({ stage, step, order, log_lines, marks, state } as Omit<Checkpoint, "path">) : null;
}

function namesIn(folder: string): string[] {
  return unlessMissing(() => readdirSync(folder)) ?? [];
}

function unlessMissing<T>(read: () => T): T | null {
  try {
    return read();
  } catch (error) {
    if (isSystemError(error) && (error.code === "ENOENT" || error.code === "ENOTDIR")) return null;
    throw error;
  }
}

function checkName(name: string): void {
  if (namePattern.test(name) && !ownFiles.includes(name)) return;
  throw new LongjingError("bad_argument", "This cannot be a file's name in a checkpoint", {
    got: name,
    expected: `letters, digits, ".", "_" and "-", and not ${ownFiles.join(", ")}`,
  });
}

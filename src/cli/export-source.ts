import { existsSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { z } from "zod";
import type { Evaluation } from "../eval/index.ts";
import { LongjingError } from "../errors/index.ts";
import { parameterSpecs } from "../model/index.ts";
import { chatTemplateOf, tokenizerFromGguf, type TokenizerFiles } from "../text/index.ts";
import { readLog, type TimedLogLine } from "../train/index.ts";
import { exists, isFile, listFolder, mergeAdapter, openCheckpoint, openFileSource, openGguf, parseJson, readAdapter, readJson, readText, type CardResult, type Checkpoint, type GgufField, type License, type LoraAdapter, type ModelCard } from "../weights/index.ts";
import { adapterConfig, baseOfAdapter, findAdapter, isAdapter } from "./find-adapter.ts";
import { findModel, isRun, newestCheckpoint } from "./find-model.ts";
import { provenanceOf, type Provenance } from "./provenance.ts";
import { templateFiles } from "./template-files.ts";

/** What is exported: a model, and what is known about how it was made. */
export interface ExportSource extends Provenance {
  readonly name: string;
  /** Model folder or GGUF file. */
  readonly path: string;
  /** Folder of an adapter that belongs to the model. */
  readonly adapter?: string;
  /** Sentence about where the weights come from, for the card. */
  readonly origin: string;
  readonly results: readonly CardResult[];
}

const checkpointState = z.object({ stage: z.string(), step: z.number(), log_lines: z.number() });
const runConfig = z.looseObject({ recipe: z.string(), base: z.string().optional() });
const mostStateBytes = 2 ** 24;

/**
 * The model that a name stands for: a run's newest whole checkpoint, a checkpoint of a run, or whatever `findModel` finds.
 * @throws LongjingError "not_found"; "bad_file"
 */
export async function findExportSource(model: string): Promise<ExportSource> {
  const folder = (await exists(model)) && !(await isFile(model));
  if (folder && isRun(model)) return checkpointSource(newestCheckpoint(model), resolve(model));
  const run = folder ? await runOfCheckpoint(model) : null;
  if (run !== null) return checkpointSource(model, run);
  const path = await findModel(model);
  const { license, base } = await provenanceOf(path);
  const known = { results: [], license, base };
  if (folder && (await isAdapter(path))) return { name: basename(resolve(model)), path: await baseOfAdapter(path), adapter: path, origin: `From the adapter \`${basename(resolve(model))}\`.`, ...known, base: (await adapterConfig(path)).base_model_name_or_path ?? base };
  return { name: basename(resolve(model), ".gguf"), path, origin: `Converted by Longjing from \`${basename(model)}\`.`, ...known };
}

/** The run that a folder is a checkpoint of, or null. */
async function runOfCheckpoint(folder: string): Promise<string | null> {
  const run = dirname(dirname(resolve(folder)));
  return (await exists(join(folder, "state.json"))) && (await exists(join(run, "log.jsonl"))) ? run : null;
}

async function readRunConfig(run: string): Promise<z.infer<typeof runConfig>> {
  const where = join(run, "config.json");
  const config = runConfig.safeParse(await readJson(where, mostStateBytes));
  if (config.success) return config.data;
  throw new LongjingError("bad_file", "The folder is no run", { where });
}

/** Weights that were trained from nothing are ours to give; others are under the terms of those that they began as. */
const ours: License = { license: "apache-2.0" };
/** Runs that begin where another ended. */
const longestChain = 16;

async function licenseOfRun(base: string | undefined, left = longestChain): Promise<License | null> {
  if (base === undefined) return ours;
  if (left === 0 || !(await exists(base))) return null;
  const run = isRun(base) ? base : await runOfCheckpoint(base);
  return run === null ? (await provenanceOf(base)).license : licenseOfRun((await readRunConfig(run)).base, left - 1);
}

async function checkpointSource(path: string, run: string): Promise<ExportSource> {
  const state = checkpointState.safeParse(await readJson(join(path, "state.json"), mostStateBytes));
  const { recipe, base } = await readRunConfig(run);
  if (!state.success) throw new LongjingError("bad_file", "The folder is no checkpoint of a run", { where: path });
  const { stage, step, log_lines } = state.data;
  const from = base === undefined ? "nothing" : `\`${(await exists(base)) ? basename(base) : base}\``;
  const weights = (await isAdapter(path)) ? { path: await baseOfAdapter(path), adapter: path } : { path };
  const results = measured(readLog(join(run, "log.jsonl")).slice(0, log_lines), recipe);
  return { name: basename(run), ...weights, origin: `Trained from ${from} by Longjing's recipe \`${recipe}\`: checkpoint after step ${step} of the stage \`${stage}\`.`, results, license: await licenseOfRun(base), base: base ?? null };
}

/** Evaluations of the very weights of a checkpoint: those behind the last step that changed them. */
function measured(lines: readonly TimedLogLine[], recipe: string): CardResult[] {
  const since = lines.findLastIndex(({ type }) => type === "metrics") + 1;
  return lines.slice(since).flatMap((line) => {
    if (line.type !== "evaluation") return [];
    const { greedy, pass_at } = line as unknown as Evaluation;
    const passes = Object.entries(pass_at).map(([k, share]) => [`pass@${k}`, share] as const);
    return [{ dataset: `${recipe}, held-out problems (${line.stage})`, metrics: { accuracy: greedy.accuracy, ...Object.fromEntries(passes) } }];
  });
}

/** What a GGUF file says of itself beside its tensors (github.com/ggml-org/ggml, `docs/gguf.md`). */
export function generalMetadata({ name, license, base }: ExportSource): Record<string, GgufField> {
  const [, organization, model] = base === null || existsSync(base) ? [] : (/^([\w.-]+)\/([\w.-]+)$/.exec(base) ?? []);
  return {
    "general.name": name,
    ...(license && { "general.license": license.license }),
    ...(license?.license_name !== undefined && { "general.license.name": license.license_name }),
    ...(license?.license_link !== undefined && { "general.license.link": license.license_link }),
    ...(organization !== undefined && model !== undefined && { "general.base_model.count": 1, "general.base_model.0.name": model, "general.base_model.0.organization": organization, "general.base_model.0.repo_url": `https://huggingface.co/${base}` }),
  };
}

/** A base is named on the card where its name leads anywhere: on the hub, but no path of this machine. */
export function cardOf({ name, license, base, results }: ExportSource, rest: Pick<ModelCard, "library_name" | "tags" | "body">): ModelCard {
  return { name, license, ...(base !== null && !existsSync(base) && { base_model: base }), results, ...rest };
}

/** A source as the command line corrects it. */
export function described(source: ExportSource, { license, base }: { readonly license?: string | undefined; readonly base?: string | undefined }): ExportSource {
  return { ...source, ...(license !== undefined && { license: { license } }), ...(base !== undefined && { base }) };
}

/**
 * A model's weights, those that adapters change as they change them: its own adapter, and `adapter`.
 * @throws LongjingError "not_found"; "bad_file"; "bad_config"; "unsupported"; "shape_mismatch"
 */
export async function openMerged({ path, adapter: own }: Pick<ExportSource, "path" | "adapter">, adapter?: string): Promise<Checkpoint> {
  let checkpoint = await openCheckpoint(path);
  try {
    for (const folder of [own, adapter]) if (folder !== undefined) checkpoint = merged(checkpoint, await readAdapter(await findAdapter(folder), parameterSpecs(checkpoint.config)));
    return checkpoint;
  } catch (error) {
    await checkpoint.close();
    throw error;
  }
}

function merged(checkpoint: Checkpoint, { modules, ...rest }: LoraAdapter): Checkpoint {
  const changesOf = (name: string): LoraAdapter["modules"] => modules.filter(({ module }) => name === `${module}.weight`);
  return {
    ...checkpoint,
    read: async (name, shape, into) => {
      const tensor = await checkpoint.read(name, shape, into);
      const changed = changesOf(name);
      if (changed.length === 0) return tensor;
      const data = mergeAdapter({ [name]: tensor.data }, { ...rest, modules: changed })[name]!;
      into?.set(data);
      return { ...tensor, data: into ?? data };
    },
    blockLayout: (name) => (changesOf(name).length > 0 ? null : checkpoint.blockLayout(name)),
    readBlocks: async (name, ...rest) => (changesOf(name).length > 0 ? null : checkpoint.readBlocks(name, ...rest)),
  };
}

/** The tokenizer of a model's folder or GGUF file. @throws LongjingError "not_found" when it has none */
export async function tokenizerOf(path: string): Promise<TokenizerFiles> {
  const files = await companionFiles(path);
  const text = files["tokenizer.json"];
  if (text === undefined) throw new LongjingError("not_found", "The model has no tokenizer, which the file is to hold", { expected: "tokenizer.json", where: path });
  const chat_template = files["chat_template.jinja"];
  return { tokenizerJson: jsonObject(text, join(path, "tokenizer.json")), tokenizerConfig: { ...tokenizerConfigOf(files, path), ...(chat_template !== undefined && { chat_template }) } };
}

const copied = ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt", "chat_template.jinja", "longjing.json"];

/** The files that make a folder's weights a model: its tokenizer, and its chat template as a file of its own. */
export async function companionFiles(path: string): Promise<Record<string, string>> {
  const gguf = await isFile(path);
  const files = gguf ? await ggufTokenizerFiles(path) : await folderFiles(path);
  const { chat_template } = tokenizerConfigOf(files, path);
  const template = (gguf ? undefined : await templateFiles(path)) ?? chatTemplateOf(chat_template);
  return template === null ? files : { ...files, "chat_template.jinja": template };
}

const tokenizerConfigOf = (files: Readonly<Record<string, string>>, path: string): Record<string, unknown> => jsonObject(files["tokenizer_config.json"] ?? "{}", join(path, "tokenizer_config.json"));

function jsonObject(text: string, where: string): Record<string, unknown> {
  const value = parseJson(text, where);
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  throw new LongjingError("bad_file", "The file holds no JSON object", { where });
}

/** The largest tokenizers have some 30 MB. */
const mostTextBytes = 2 ** 26;

async function folderFiles(path: string): Promise<Record<string, string>> {
  const present = (await listFolder(path)).filter((name) => copied.includes(name));
  return Object.fromEntries(await Promise.all(present.map(async (name) => [name, await readText(join(path, name), mostTextBytes)] as const)));
}

async function ggufTokenizerFiles(path: string): Promise<Record<string, string>> {
  const source = await openFileSource(path);
  try {
    const { tokenizerJson, tokenizerConfig } = tokenizerFromGguf((await openGguf(source)).metadata, path);
    return { "tokenizer.json": JSON.stringify(tokenizerJson), "tokenizer_config.json": JSON.stringify(tokenizerConfig, null, 2) };
  } finally {
    await source.close();
  }
}

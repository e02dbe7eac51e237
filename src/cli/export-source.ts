import { readFile } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { z } from "zod";
import type { Evaluation } from "../eval/index.ts";
import { LongjingError } from "../errors/index.ts";
import { parameterSpecs } from "../model/index.ts";
import { chatTemplateOf, tokenizerFromGguf, type TokenizerFiles } from "../text/index.ts";
import { readLog, type TimedLogLine } from "../train/index.ts";
import { exists, isFile, listFolder, mergeAdapter, openCheckpoint, openFileSource, openGguf, readAdapter, readJson, type CardResult, type Checkpoint, type LoraAdapter } from "../weights/index.ts";
import { baseOfAdapter, findAdapter, isAdapter } from "./find-adapter.ts";
import { findModel, isRun, newestCheckpoint } from "./find-model.ts";
import { templateFiles } from "./template-files.ts";

/** What is exported: a model, and what is known about how it was made. */
export interface ExportSource {
  readonly name: string;
  /** Model folder or GGUF file. */
  readonly path: string;
  /** Folder of an adapter that belongs to the model. */
  readonly adapter?: string;
  /** Sentence about where the weights come from, for the card. */
  readonly origin: string;
  readonly results: readonly CardResult[];
  /** Of the source's own card, if it has one. */
  readonly license: string | null;
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
  const run = dirname(dirname(resolve(model)));
  if (folder && (await exists(join(model, "state.json"))) && (await exists(join(run, "log.jsonl")))) return checkpointSource(model, run);
  const path = await findModel(model);
  if (folder && (await isAdapter(path))) return { name: basename(resolve(model)), path: await baseOfAdapter(path), adapter: path, origin: `From the adapter \`${basename(resolve(model))}\`.`, results: [], license: await licenseOf(path) };
  return { name: basename(resolve(model), ".gguf"), path, origin: `Converted by Longjing from \`${basename(model)}\`.`, results: [], license: await licenseOf(path) };
}

async function checkpointSource(path: string, run: string): Promise<ExportSource> {
  const state = checkpointState.safeParse(await readJson(join(path, "state.json"), mostStateBytes));
  const config = runConfig.safeParse(await readJson(join(run, "config.json"), mostStateBytes));
  if (!state.success || !config.success) throw new LongjingError("bad_file", "The folder is no checkpoint of a run", { where: path });
  const { stage, step, log_lines } = state.data;
  const { recipe, base } = config.data;
  const from = base === undefined ? "nothing" : `\`${(await exists(base)) ? basename(base) : base}\``;
  const weights = (await isAdapter(path)) ? { path: await baseOfAdapter(path), adapter: path } : { path };
  const results = measured(readLog(join(run, "log.jsonl")).slice(0, log_lines), recipe);
  return { name: basename(run), ...weights, origin: `Trained from ${from} by Longjing's recipe \`${recipe}\`: checkpoint after step ${step} of the stage \`${stage}\`.`, results, license: null };
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

async function licenseOf(path: string): Promise<string | null> {
  const card = join(path, "README.md");
  if ((await isFile(path)) || !(await exists(card))) return null;
  const [, front = ""] = /^---\n([\s\S]*?)\n---/.exec(await readFile(card, "utf8")) ?? [];
  return /^license: *["']?([\w.-]+)["']?\s*$/m.exec(front)?.[1] ?? null;
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
    readBlocks: async (name, shape, into) => (changesOf(name).length > 0 ? null : checkpoint.readBlocks(name, shape, into)),
  };
}

/** The tokenizer of a model's folder or GGUF file. @throws LongjingError "not_found" when it has none */
export async function tokenizerOf(path: string): Promise<TokenizerFiles> {
  const files = await companionFiles(path);
  const text = files["tokenizer.json"];
  if (text === undefined) throw new LongjingError("not_found", "The model has no tokenizer, which the file is to hold", { expected: "tokenizer.json", where: path });
  const tokenizerConfig = JSON.parse(files["tokenizer_config.json"] ?? "{}") as Record<string, unknown>;
  const chat_template = files["chat_template.jinja"];
  return { tokenizerJson: JSON.parse(text) as Record<string, unknown>, tokenizerConfig: { ...tokenizerConfig, ...(chat_template !== undefined && { chat_template }) } };
}

const copied = ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt", "chat_template.jinja", "longjing.json"];

/** The files that make a folder's weights a model: its tokenizer, and its chat template as a file of its own. */
export async function companionFiles(path: string): Promise<Record<string, string>> {
  const gguf = await isFile(path);
  const files = gguf ? await ggufTokenizerFiles(path) : await folderFiles(path);
  const { chat_template } = JSON.parse(files["tokenizer_config.json"] ?? "{}") as { chat_template?: unknown };
  const template = (gguf ? undefined : await templateFiles(path)) ?? chatTemplateOf(chat_template);
  return template === null ? files : { ...files, "chat_template.jinja": template };
}

async function folderFiles(path: string): Promise<Record<string, string>> {
  const present = (await listFolder(path)).filter((name) => copied.includes(name));
  return Object.fromEntries(await Promise.all(present.map(async (name) => [name, await readFile(join(path, name), "utf8")] as const)));
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

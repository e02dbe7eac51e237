import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { z } from "zod";
import { disposeParameters, Embedder, Generator, loadFrozenModel, ModelRunner, throughAdapter, type Engine, type FrozenModel, type ModelDtype, type SpeculativeConfig } from "../engine/index.ts";
import { LongjingError } from "../errors/index.ts";
import { cacheShape, type ModelConfig } from "../model/index.ts";
import { openBackend, type Backend } from "../runtime/index.ts";
import { eventLoopTurn } from "../runtime/event-loop.ts";
import { openConstraintCompiler, textInterface, type ServedModel } from "../serve/index.ts";
import { createTokenizer, ggufTokenizer, ggufTokenizerSteps, type Tokenizer } from "../text/index.ts";
import { exists, isFile, openFileSource, openGguf, readAdapter, readJson } from "../weights/index.ts";
import { findAdapter } from "./find-adapter.ts";
import { findModel, nameOf } from "./find-model.ts";
import { processMemory } from "./process-memory.ts";
import { templateFiles } from "./template-files.ts";
import { weightFiles } from "./weight-files.ts";

export interface LoadOptions {
  /** Longest prompt plus completion, in tokens. Default: the model's own, at most 4096, or more where a cache of 1 GiB holds eight of it. */
  readonly maxModelLen?: number | undefined;
  /** The same where no longer one will be asked for: as far as the model has positions. */
  readonly neededModelLen?: number | undefined;
  /** Sequences that run at once. Default: as many as a cache of a quarter of the machine's memory holds, at most 64. */
  readonly maxNumSeqs?: number | undefined;
  /** Memory for prefixes of earlier requests, in bytes. Default 512 MiB. */
  readonly prefixCacheBytes?: number | undefined;
  /** What runs the graphs. Default: the processor. */
  readonly backend?: Backend | undefined;
  /** The model's, where it has been read already. */
  readonly tokenizer?: Tokenizer | undefined;
  /** Default "auto". */
  readonly dtype?: ModelDtype | undefined;
  /** How tokens are guessed while a sequence runs alone. Default: not. */
  readonly speculative?: SpeculativeConfig | undefined;
  /** Folder of a LoRA adapter, or of a run that trains one, that every request goes through. */
  readonly adapter?: string | undefined;
  /** Adapters that requests may ask for, by name. */
  readonly adapters?: readonly { readonly id: string; readonly path: string }[] | undefined;
}

/** Longest prompt plus completion, in tokens. */
export function contextLength(config: ModelConfig, { maxModelLen, neededModelLen }: LoadOptions): number {
  if (neededModelLen !== undefined) return Math.min(config.max_position_embeddings, neededModelLen);
  return maxModelLen ?? Math.min(config.max_position_embeddings, Math.max(4096, Math.floor(tokensInCache(config) / 8)));
}

/** What a cache holds of `bytes`, by default 1 GiB. */
function tokensInCache(config: ModelConfig, bytes: number = 2 ** 30): number {
  return Math.floor(bytes / (cacheShape(config).floatsPerToken * Float32Array.BYTES_PER_ELEMENT));
}

/** A quarter of the memory that this process may have, at least 1 GiB. The system hands it out as sequences fill it. */
function cacheBytes(): number {
  return Math.max(2 ** 30, processMemory() / 4);
}

function sequencesInCache(config: ModelConfig, max_model_len: number): number {
  return Math.min(64, Math.max(1, Math.floor(tokensInCache(config, cacheBytes()) / max_model_len)));
}

const mostTokenizerBytes = 2 ** 26;

/**
 * Loads a model for serving: a Hugging Face folder, a GGUF file, or ORG/NAME from the cache of pulled models.
 * @throws LongjingError that names the file: "not_found", "bad_file", "bad_config", "unsupported", "shape_mismatch"
 */
export async function loadServedModel(model: string, options: LoadOptions = {}): Promise<ServedModel> {
  const path = await findModel(model);
  const opening = Promise.resolve(options.backend ?? openBackend());
  opening.catch(() => {}); // a file that cannot be read is told of first
  const mtp = options.speculative?.method === "mtp";
  const opened = await loadFrozenModel(opening, path, { dtype: options.dtype, mtp, vocabulary: options.tokenizer ? "tokens" : "whole" });
  const { config, parameters } = opened;
  const backend = await opening;
  const max_model_len = contextLength(config, options);
  const runner = new ModelRunner(backend, config, { max_num_seqs: options.maxNumSeqs ?? sequencesInCache(config, max_model_len), max_model_len, frozen: parameters, mtp });
  const running = runner.extend({}, 0, 0, [0], 1, false);
  try {
    return await assemble({ model, path, backend, opened, runner, running }, options);
  } catch (error) {
    // Nobody has been given what it has taken, and V8 does not look for it.
    await Promise.allSettled([running]);
    await runner.dispose();
    disposeParameters(parameters);
    throw error;
  }
}

interface Loading {
  readonly model: string;
  readonly path: string;
  readonly backend: Backend;
  readonly opened: FrozenModel;
  readonly runner: ModelRunner;
  /** The first step, which makes the program that the first request needs. */
  readonly running: Promise<unknown>;
}

async function assemble({ model, path, backend, opened, runner, running }: Loading, options: LoadOptions): Promise<ServedModel> {
  const { config, specs, generationConfig, metadata, parameters } = opened;
  const [tokenizer] = await Promise.all([options.tokenizer ?? (metadata ? makeTokenizer(backend, metadata, path) : loadTokenizer(path)), running]);
  const { adapter, adapters = [], speculative } = options;
  const generator = new Generator(runner, {}, { kv_cache_memory_bytes: options.prefixCacheBytes ?? 2 ** 29, max_loras: adapters.length + 1, ...(speculative && { speculative }) });
  for (const { id, path: dir } of adapters) generator.addAdapter(id, await readAdapter(dir, specs));
  if (adapter !== undefined) generator.addAdapter(adapter, await readAdapter(await findAdapter(adapter), specs));
  const { bos_token_id: _bos, pad_token_id: _pad, do_sample: _sample, eos_token_id, ...sampling } = generationConfig ?? { eos_token_id: [] };
  const weights = await weightFiles(path);
  const engine = owning(generator, new Embedder(backend, config, parameters, runner.options.max_model_len), () => disposeParameters(parameters));
  return {
    id: nameOf(model),
    created: weights.modified,
    system_fingerprint: weights.fingerprint,
    engine: adapter === undefined ? engine : throughAdapter(engine, adapter),
    ...textInterface(tokenizer, eos_token_id, compiler.compile),
    sampling,
    examples: await examplesOf(path),
  };
}

/** Made while the runtime works in threads of its own, and in steps: what the runtime has got ready meanwhile has its turn between them. */
async function makeTokenizer(backend: Backend, metadata: ReadonlyMap<string, unknown>, path: string): Promise<Tokenizer> {
  const steps = ggufTokenizerSteps(metadata, path, backend.ownFunctions()?.textTables);
  for (;;) {
    await eventLoopTurn();
    const step = steps.next();
    if (step.done) return step.value;
  }
}

/** One for all models: it starts no thread before it has something to compile. */
const compiler = openConstraintCompiler();

/** The engine, which embeds too, with what it holds freed when it is disposed. */
function owning(engine: Engine, embedder: Embedder, free: () => void): Engine {
  return {
    max_model_len: engine.max_model_len,
    submit: (request) => engine.submit(request),
    embed: (prompt_ids, signal) => embedder.embed(prompt_ids, signal),
    stats: () => engine.stats(),
    dispose: () => {
      engine.dispose();
      void embedder.dispose();
      free();
    },
  };
}

const modelsFolder = fileURLToPath(new URL("../../models", import.meta.url));

/** The folders of the models that ship, by name. The first is what is opened where no model is named. */
export async function shippedModels(): Promise<readonly string[]> {
  const folders = (await readdir(modelsFolder).catch(() => [])).toSorted().map((name) => join(modelsFolder, name));
  const complete = await Promise.all(folders.map((folder) => exists(join(folder, "config.json"))));
  return folders.filter((_, at) => complete[at]);
}

/** The model that is opened where none is named. @throws LongjingError "not_found" */
export async function shippedModel(): Promise<string> {
  const [first] = await shippedModels();
  if (first !== undefined) return first;
  throw new LongjingError("not_found", "No model is shipped in this copy", { where: modelsFolder, hint: "Name a folder with config.json and model.safetensors" });
}

/** The tokenizer of a model's folder, with the chat template from a file of its own where there is one, or of a GGUF file. */
export async function loadTokenizer(path: string): Promise<Tokenizer> {
  if (await isFile(path)) return loadGgufTokenizer(path);
  const tokenizerConfig = await readJson(join(path, "tokenizer_config.json"), mostTokenizerBytes);
  const tokenizer = createTokenizer(await readJson(join(path, "tokenizer.json"), mostTokenizerBytes), tokenizerConfig);
  const template = await templateFiles(path);
  return template === undefined ? tokenizer : { ...tokenizer, chatTemplate: template };
}

async function loadGgufTokenizer(path: string): Promise<Tokenizer> {
  const source = await openFileSource(path);
  try {
    return ggufTokenizer((await openGguf(source)).metadata, path);
  } finally {
    await source.close();
  }
}

// A gibibyte of float32, from files of 8 bits.
const smallWeights = 2 ** 28;

/** Exact for models that are small as they lie on the disk: rounding can turn an answer that is a near tie. */
export async function exactWhereSmall(model: string): Promise<ModelDtype> {
  return (await weightFiles(await findModel(model))).bytes <= smallWeights ? "float32" : "auto";
}

/** Held-out problems of the tasks that `longjing.json` says the model was trained on. */
export async function examplesOf(model: string): Promise<readonly string[]> {
  const path = join(model, "longjing.json");
  if ((await isFile(model)) || !(await exists(path))) return [];
  const { tasks } = await import("../tasks/index.ts"); // few models need them, and there are many
  const aboutModel = z.looseObject({ tasks: z.array(z.enum(Object.keys(tasks) as (keyof typeof tasks)[])).default([]) });
  const about = aboutModel.safeParse(await readJson(path, 2 ** 20));
  if (!about.success) throw new LongjingError("bad_config", "The file does not say which tasks the model knows", { where: path, expected: `tasks: a list of ${Object.keys(tasks).join(", ")}` });
  return about.data.tasks.flatMap((name) => [0, 1, 2].map((index) => tasks[name].problem({ split: "test", seed: 0, index }).prompt));
}

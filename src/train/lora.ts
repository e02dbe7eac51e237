import { readBaseParameters, type ModelDtype } from "../engine/load.ts";
import { LongjingError } from "../errors/index.ts";
import { lastParts, loraSpecs, parameterCount, targetedModules, type ParameterSpec } from "../model/index.ts";
import type { Backend } from "../runtime/index.ts";
import { loraConfigToText, loraScale, parseLoraConfig, type Checkpoint, type LoraConfig } from "../weights/index.ts";
import { frozenBase, type FrozenBase } from "./frozen-base.ts";

/** What an adapter is like; names are those of PEFT's LoraConfig. */
export interface LoraOptions {
  /** Rank. */
  readonly r?: number;
  /** B · A counts lora_alpha / r times. */
  readonly lora_alpha?: number;
  /** Last parts of the modules' names, "all-linear", or a regular expression for whole names. */
  readonly target_modules?: string | readonly string[];
  /** B · A counts lora_alpha / √r times (arXiv 2312.03732). */
  readonly use_rslora?: boolean;
}

/** Those of TRL's command line, and all linear layers. */
export const loraDefaults = { r: 16, lora_alpha: 32, target_modules: "all-linear", use_rslora: false } as const satisfies Required<LoraOptions>;

/** The adapter's configuration for a model, which is written beside its factors. @throws LongjingError "bad_argument"; "bad_config" */
export function loraConfigFor(specs: readonly ParameterSpec[], base: string, { target_modules, ...options }: Required<LoraOptions>): LoraConfig {
  const modules = targetedModules(specs, target_modules);
  // PEFT lets such a name pass. Who wrote it believes that the layer is trained.
  const strays = typeof target_modules === "string" ? [] : target_modules.filter((name) => !modules.some((module) => module === name || module.endsWith(`.${name}`)));
  if (strays.length > 0) throw new LongjingError("bad_argument", "The model has no linear layer of this name", { where: "target_modules", got: strays.join(" "), expected: `of ${lastParts(modulesOf(specs)).join(", ")}` });
  // What others read is a list: of last parts where they say the same.
  const names = lastParts(modules);
  const listed = targetedModules(specs, names).length === modules.length ? names : modules;
  return parseLoraConfig({ base_model_name_or_path: base, ...options, target_modules: listed }, "lora");
}

const modulesOf = (specs: readonly ParameterSpec[]): readonly string[] => targetedModules(specs, ".*");

export interface AdapterOnBase {
  /** The adapter's parameters: all that is trained. */
  readonly specs: readonly ParameterSpec[];
  readonly base: FrozenBase;
}

/**
 * A base read to be trained through an adapter: matrices that a file stores in blocks of 4 bits stay in them.
 * @param all parameters that the model has
 * @param dtype "float32": in none
 */
export async function readBase(backend: Backend, checkpoint: Pick<Checkpoint, "read" | "blockLayout" | "readBlocks">, all: readonly ParameterSpec[], config: LoraConfig, dtype: ModelDtype = "auto"): Promise<AdapterOnBase> {
  const modules = targetedModules(all, config.target_modules).map((module) => ({ module, rank: config.r, scale: loraScale(config, module, config.r, "lora") }));
  const parameters = await readBaseParameters(backend, checkpoint, all, { dtype });
  return { specs: loraSpecs(all, modules), base: frozenBase(parameters, modules, parameterCount(all)) };
}

/** Files that make a folder of factors an adapter that PEFT reads. */
export const adapterFiles = (config: LoraConfig): Record<string, string> => ({ "adapter_config.json": loraConfigToText(config) });

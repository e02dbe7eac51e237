import { join } from "node:path";
import { LongjingError } from "../errors/index.ts";
import { loraNames, loraSpecs, targetedModules, type LoraModule } from "../model/adapters.ts";
import type { ParameterSpec } from "../model/parameters.ts";
import { listFolder, openFileSource, readJson, writeFolder, writeNewFile } from "./files.ts";
import { loraConfigToText, loraRank, loraScale, parseLoraConfig, type LoraConfig } from "./lora-config.ts";
import { openSafetensors, safetensorsPieces, type Safetensors } from "./safetensors.ts";

/** One factor, row-major. */
export interface LoraTensor {
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

/** A LoRA or rsLoRA adapter in PEFT's format, for one model. */
export interface LoraAdapter {
  readonly config: LoraConfig;
  /** In the order of the model's parameters. */
  readonly modules: readonly LoraModule[];
  /** Under the names of the file: `base_model.model.<module>.lora_A.weight` and `….lora_B.weight`. */
  readonly tensors: Readonly<Record<string, LoraTensor>>;
}

const largestConfig = 2 ** 20;
const configFile = "adapter_config.json";
const weightsFile = "adapter_model.safetensors";

/**
 * Reads an adapter folder for the model whose parameters are `specs`. Which modules it changes is what its tensors say; a list of
 * `target_modules` has to name them all, and a regular expression, which could take for ever, is not run.
 * @throws LongjingError "not_found"; "bad_config"; "unsupported" (pickled weights, what is more than W + s · B · A); "bad_file"
 *   for tensors that do not belong to the configuration; "shape_mismatch" for those that do not fit the model
 */
export async function readAdapter(dir: string, specs: readonly ParameterSpec[]): Promise<LoraAdapter> {
  const files = await listFolder(dir);
  const config = parseLoraConfig(await readJson(join(dir, configFile), largestConfig), join(dir, configFile));
  if (!files.includes(weightsFile)) throw noWeights(dir, files);
  const path = join(dir, weightsFile);
  const source = await openFileSource(path);
  try {
    const file = await openSafetensors(source);
    const modules = modulesOf(file, config, specs, path);
    const tensors: Record<string, LoraTensor> = {};
    for (const { name, shape } of loraSpecs(specs, modules)) {
      checkShape(file, name, shape, path);
      tensors[name] = { shape, data: await file.readFloat32(name) };
    }
    return { config, modules, tensors };
  } finally {
    await source.close();
  }
}

/** The modules that the file has factors for, in the model's order, with the ranks and scales of the configuration. */
function modulesOf(file: Safetensors, config: LoraConfig, specs: readonly ParameterSpec[], path: string): readonly LoraModule[] {
  const inFile = new Set([...file.tensors.keys(), ...file.unknown.keys()].filter((name) => !isCopy(file, specs, name)).map((name) => moduleOf(name, path)));
  const { target_modules } = config;
  const known = targetedModules(specs, typeof target_modules === "string" ? ".*" : target_modules);
  const targeted = new Set(known);
  for (const module of inFile) {
    if (!targeted.has(module)) throw new LongjingError("bad_file", "The adapter changes a module that the model lacks, or target_modules does not name", { got: module, where: path });
  }
  if (inFile.size === 0) throw new LongjingError("bad_file", "The adapter has no tensors", { where: path });
  return known.filter((module) => inFile.has(module)).map((module) => loraModule(config, module, path));
}

/** PEFT saves the head of the base too where an adapter changes it. It is frozen, so it says nothing new. */
function isCopy({ tensors }: Safetensors, specs: readonly ParameterSpec[], name: string): boolean {
  const module = /^base_model\.model\.(.+)\.base_layer\.weight$/.exec(name)?.[1];
  const shape = specs.find((spec) => spec.name === `${module}.weight`)?.shape;
  return module !== undefined && tensors.has(loraNames(module).a) && tensors.get(name)?.shape.join() === shape?.join();
}

const tensorName = /^base_model\.model\.(.+)\.lora_[AB]\.weight$/;

function moduleOf(name: string, path: string): string {
  const module = tensorName.exec(name)?.[1];
  if (module !== undefined) return module;
  throw new LongjingError("unsupported", "The adapter holds more than factors of linear layers", { got: name, expected: "base_model.model.<module>.lora_A.weight or lora_B.weight", where: path });
}

function loraModule(config: LoraConfig, module: string, where: string): LoraModule {
  const rank = loraRank(config, module, where);
  return { module, rank, scale: loraScale(config, module, rank, where) };
}

function checkShape({ tensors }: Safetensors, name: string, shape: readonly number[], path: string): void {
  const got = tensors.get(name)?.shape;
  if (got === undefined) throw new LongjingError("bad_file", "The adapter has one factor of a module without the other", { expected: name, where: path });
  if (got.length === shape.length && got.every((size, axis) => size === shape[axis])) return;
  throw new LongjingError("shape_mismatch", "The factor does not fit the model and the rank", { got, expected: shape, where: `${path}: ${name}` });
}

function noWeights(dir: string, files: readonly string[]): LongjingError {
  if (!files.includes("adapter_model.bin")) return new LongjingError("not_found", "The folder has no adapter", { expected: weightsFile, where: dir });
  const hint = "Save the adapter as safetensors: model.save_pretrained(folder, safe_serialization=True).";
  return new LongjingError("unsupported", "Pickled weights can run code when they are read", { got: "adapter_model.bin", expected: weightsFile, where: dir, hint });
}

export interface AdapterToWrite {
  readonly config: LoraConfig;
  /** Under the names of `loraNames`. */
  readonly tensors: Readonly<Record<string, LoraTensor>>;
  /** name → content of other files of the folder: a model card. */
  readonly extraFiles?: Readonly<Record<string, string>>;
  /** Replaces a folder that is not empty. Default false. */
  readonly overwrite?: boolean;
}

/**
 * Writes an adapter folder that PEFT, vLLM and `readAdapter` read. It appears all at once.
 * @throws LongjingError "conflict" when the folder is not empty; "bad_argument" for a tensor that is no factor; "disk"
 */
export async function writeAdapter(dir: string, { config, tensors, extraFiles = {}, overwrite = false }: AdapterToWrite): Promise<void> {
  const named = Object.entries(tensors).map(([name, { shape, data }]) => {
    if (!tensorName.test(name)) throw new LongjingError("bad_argument", "This is no factor's name", { got: name, expected: loraNames("<module>").a });
    return { name, shape, data, dtype: "F32" as const };
  });
  const encode = (text: string): Uint8Array => new TextEncoder().encode(text);
  await writeFolder(dir, overwrite, async (folder) => {
    await writeNewFile(join(folder, configFile), [encode(loraConfigToText(config))]);
    await writeNewFile(join(folder, weightsFile), safetensorsPieces(named));
    for (const [name, text] of Object.entries(extraFiles)) await writeNewFile(join(folder, name), [encode(text)]);
  });
}

/**
 * W + scale · B · A, rounded once: what a model without adapters computes the same with.
 * @param weight [out, in]
 * @param a [rank, in]
 * @param b [out, rank]
 */
export function mergeLora(weight: Float32Array, a: Float32Array, b: Float32Array, { rank, scale }: Pick<LoraModule, "rank" | "scale">): Float32Array {
  const width = a.length / rank;
  const merged = new Float32Array(weight.length);
  const row = new Float64Array(width);
  for (let at = 0; at < weight.length; at += width) {
    for (let i = 0; i < width; i++) row[i] = weight[at + i]!;
    for (let k = 0; k < rank; k++) {
      const factor = scale * b[(at / width) * rank + k]!;
      for (let i = 0; i < width; i++) row[i]! += factor * a[k * width + i]!;
    }
    merged.set(row, at);
  }
  return merged;
}

/** The parameters of the base, and the adapter's changes in those that it changes. Untouched ones are the base's own arrays. */
export function mergeAdapter(parameters: Readonly<Record<string, Float32Array>>, { modules, tensors }: LoraAdapter): Record<string, Float32Array> {
  const merged: Record<string, Float32Array> = { ...parameters };
  for (const entry of modules) {
    const name = `${entry.module}.weight`;
    const { a, b } = loraNames(entry.module);
    merged[name] = mergeLora(parameters[name]!, tensors[a]!.data, tensors[b]!.data, entry);
  }
  return merged;
}

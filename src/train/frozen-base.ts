import { allValues, tensorsOf, typesOf, type ModelParameters, type ParameterTensors } from "../engine/model-parameters.ts";
import { applyAdapters, type LoraModule } from "../model/index.ts";
import type { Value } from "../tensor/index.ts";

/** What of a policy is not trained, and which of its matrices trained factors change (LoRA, arXiv 2106.09685). */
export interface FrozenBase {
  /** Matrices in blocks: a session keeps them, for kernels to repack. */
  readonly blocks: ModelParameters;
  /** float32, bound at each step: all sessions share one copy. */
  readonly floats: ParameterTensors;
  readonly modules: readonly LoraModule[];
  /** Numbers that the blocks and floats stand for. */
  readonly size: number;
}

/** Of a policy that is trained in all its parameters. */
export const noBase: FrozenBase = { blocks: {}, floats: {}, modules: [], size: 0 };

/** @param size numbers that the parameters stand for */
export function frozenBase(parameters: ModelParameters, modules: readonly LoraModule[], size: number): FrozenBase {
  const entries = Object.entries(parameters);
  return {
    blocks: Object.fromEntries(entries.filter(([, p]) => "blocks" in p)),
    floats: Object.fromEntries(entries.flatMap(([name, p]) => ("blocks" in p ? [] : [[name, p]]))),
    modules,
    size,
  };
}

/** Inputs of a program that runs a policy: what `bound` is a base's floats and trained parameters. */
export const policyTypes = ({ blocks }: FrozenBase, bound: ParameterTensors) => ({ frozen: typesOf(blocks), parameters: typesOf(bound) });

/** The part of those inputs that the program's session keeps. */
export const keptOf = ({ blocks }: FrozenBase) => ({ frozen: tensorsOf(blocks) });

/** What an engine has to know of it. */
export const runnerOptions = ({ blocks, modules }: FrozenBase) => ({ frozen: blocks, modules });

/** What the model function takes, from what stands for `policyTypes` in a trace. */
export function policyValues({ blocks, modules }: FrozenBase, bound: ParameterTensors, traced: { readonly frozen: unknown; readonly parameters: unknown }): Record<string, Value> {
  const given = allValues(blocks, bound, traced);
  return { ...applyAdapters(given, modules, given) };
}

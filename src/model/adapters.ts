import { LongjingError } from "../errors/index.ts";
import { lowRankUpdate } from "../nn/linear.ts";
import type { Parameters } from "./decoder.ts";
import type { ParameterSpec } from "./parameters.ts";

/** A matrix that an adapter changes: W + scale · B · A, with A [rank, in] and B [out, rank]. */
export interface LoraModule {
  /** Name of the matrix without ".weight", as "model.layers.0.self_attn.q_proj". */
  readonly module: string;
  readonly rank: number;
  readonly scale: number;
}

/** Names of a module's factors, as PEFT writes them. */
export const loraNames = (module: string): { readonly a: string; readonly b: string } => ({ a: `base_model.model.${module}.lora_A.weight`, b: `base_model.model.${module}.lora_B.weight` });

/** The matrices that an adapter may change: those that a linear layer multiplies by. */
const linearLayers = (specs: readonly ParameterSpec[]): ReadonlyMap<string, readonly number[]> =>
  new Map(specs.filter(({ name, shape }) => shape.length === 2 && name !== "model.embed_tokens.weight").map(({ name, shape }) => [name.replace(/\.weight$/, ""), shape]));

/**
 * Modules that `target_modules` means, as PEFT reads it: a list of names, whole or the last parts of them; "all-linear", which
 * leaves the head out; or a regular expression for whole names.
 * @throws LongjingError "bad_argument" when it names none, or is no regular expression
 */
export function targetedModules(specs: readonly ParameterSpec[], target_modules: string | readonly string[]): readonly string[] {
  const targets = isTargeted(target_modules);
  const layers = [...linearLayers(specs).keys()];
  const found = layers.filter(targets);
  if (found.length === 0) throw new LongjingError("bad_argument", "No linear layer of the model is targeted", { where: "target_modules", got: target_modules, expected: `"all-linear", or of ${lastParts(layers).join(", ")}` });
  return found;
}

/** The last parts of modules' names, each once. */
export const lastParts = (modules: readonly string[]): string[] => [...new Set(modules.map((module) => module.slice(module.lastIndexOf(".") + 1)))];

function isTargeted(target_modules: string | readonly string[]): (module: string) => boolean {
  if (typeof target_modules !== "string") return (module) => target_modules.some((target) => module === target || module.endsWith(`.${target}`));
  if (target_modules === "all-linear") return (module) => module !== "lm_head";
  try {
    const whole = new RegExp(`^(?:${target_modules})$`, "u");
    return (module) => whole.test(module);
  } catch (cause) {
    throw new LongjingError("bad_argument", "This is no regular expression", { where: "target_modules", got: target_modules }, { cause });
  }
}

/**
 * Parameters of an adapter, in the order of its modules. B is zero at first, so a fresh adapter changes nothing.
 * @throws LongjingError "not_found" for a module that is no linear layer of the model
 */
export function loraSpecs(specs: readonly ParameterSpec[], modules: readonly LoraModule[]): readonly ParameterSpec[] {
  const layers = linearLayers(specs);
  return modules.flatMap(({ module, rank }) => {
    const shape = layers.get(module);
    if (!shape) throw new LongjingError("not_found", "The model has no such linear layer", { where: module });
    const factor = { decay: true, quantizable: false, trainable: true } as const;
    const { a, b } = loraNames(module);
    return [
      { ...factor, name: a, shape: [rank, shape[1]!], init: "kaiming_uniform" },
      { ...factor, name: b, shape: [shape[0]!, rank], init: "zeros" },
    ];
  });
}

/**
 * The parameters as a model with an adapter sees them: `factors` by their names in `loraNames`. The model function takes them
 * in the place of the base's; gradients reach the factors, and the base's too where they are asked for. Adapters add up.
 */
export function applyAdapters(parameters: Parameters, modules: readonly LoraModule[], factors: Parameters): Parameters {
  const changed = modules.map(({ module, scale }) => {
    const name = `${module}.weight`;
    const { a, b } = loraNames(module);
    const [weight, down, up] = [parameters[name], factors[a], factors[b]];
    if (!weight || !down || !up) throw new LongjingError("not_found", "An adapter lacks a factor, or the model its matrix", { where: module });
    return [name, lowRankUpdate(weight, down, up, scale)] as const;
  });
  return { ...parameters, ...Object.fromEntries(changed) };
}

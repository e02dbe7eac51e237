import { LongjingError } from "../errors/index.ts";
import { loraNames, parameterSpecs, projectionGroups, type LoraModule, type ModelConfig, type ParameterSpec } from "../model/index.ts";
import type { Backend, DeviceTensor } from "../runtime/index.ts";
import type { LoraAdapter } from "../weights/index.ts";
import type { ModelParameters } from "./model-parameters.ts";

/** The modules that factors among a step's parameters change. Their scales are in the factors. */
export function adaptedModules(parameters: ModelParameters): LoraModule[] {
  return Object.entries(parameters).flatMap(([name, factor]) => {
    const module = /^base_model\.model\.(.+)\.lora_A\.weight$/.exec(name)?.[1];
    return module === undefined ? [] : [{ module, rank: (factor as DeviceTensor).shape[0]!, scale: 1 }];
  });
}

/**
 * An adapter's factors as tensors, by their names in `loraNames`, for a model that serves the parameters `served`. Where
 * projections were stacked into one matrix, so are their factors: A one below the other, B in blocks along the diagonal.
 */
export function adapterTensors(backend: Backend, config: ModelConfig, served: ReadonlySet<string>, adapter: LoraAdapter): Record<string, DeviceTensor> {
  const changed = new Map(adapter.modules.map((m) => [`${m.module}.weight`, m]));
  const tensors: Record<string, DeviceTensor> = {};
  for (const [name, parts] of projectionGroups(parameterSpecs(config)))
    for (const [target, group] of served.has(name) ? [[name, parts] as const] : parts.map((part) => [part.name, [part]] as const)) {
      if (!group.some((part) => changed.has(part.name))) continue;
      const factors = stacked(group, changed, adapter);
      const { a, b } = loraNames(target.replace(/\.weight$/, ""));
      tensors[a] = backend.tensorOver("float32", [factors.rank, factors.columns], factors.a);
      tensors[b] = backend.tensorOver("float32", [factors.rows, factors.rank], factors.b);
    }
  return tensors;
}

function stacked(parts: readonly ParameterSpec[], changed: ReadonlyMap<string, LoraModule>, { tensors }: LoraAdapter) {
  const rows = parts.reduce((n, { shape }) => n + shape[0]!, 0);
  const columns = parts[0]!.shape[1]!;
  const rank = parts.reduce((n, { name }) => n + (changed.get(name)?.rank ?? 0), 0);
  const [a, b] = [new Float32Array(rank * columns), new Float32Array(rows * rank)];
  let [row, column] = [0, 0];
  for (const { name, shape } of parts) {
    const lora = changed.get(name);
    if (lora) {
      const names = loraNames(lora.module);
      a.set(tensors[names.a]!.data, column * columns);
      const up = tensors[names.b]!.data;
      for (let i = 0; i < up.length; i++) b[(row + Math.floor(i / lora.rank)) * rank + column + (i % lora.rank)] = lora.scale * up[i]!;
      column += lora.rank;
    }
    row += shape[0]!;
  }
  return { rows, columns, rank, a, b };
}

interface Loaded {
  readonly key: string;
  readonly factors: Readonly<Record<string, DeviceTensor>>;
  /** The base's parameters when they were last asked for, and those with the factors. */
  base?: ModelParameters;
  joined?: ModelParameters;
}

/** The adapters that an engine holds, by name. */
export class Adapters {
  readonly #most: number;
  readonly #byName = new Map<string, Loaded>();
  readonly #byKey = new Map<string, Loaded>();
  #count = 0;

  /** @param most adapters at once */
  constructor(most: number) {
    this.#most = most;
  }

  get names(): string[] {
    return [...this.#byName.keys()];
  }

  /** @throws LongjingError "conflict" for a name that is taken, or one too many */
  add(name: string, factors: () => Loaded["factors"]): void {
    if (name === "" || this.#byName.has(name)) throw new LongjingError("conflict", "An adapter needs a name of its own", { got: name });
    if (this.#byName.size >= this.#most) throw new LongjingError("conflict", "No more adapters can be held at once", { got: name, expected: `at most ${this.#most} (max_loras)`, hint: "Remove one first" });
    // Another adapter under the name of one that was removed shares nothing with it: kept prefixes tell them apart by this.
    const loaded: Loaded = { key: `${name} ${this.#count++}`, factors: factors() };
    this.#byName.set(name, loaded);
    this.#byKey.set(loaded.key, loaded);
  }

  /** @returns its factors, for their owner to dispose */
  remove(name: string): Loaded["factors"] {
    const loaded = this.#named(name);
    this.#byName.delete(name);
    this.#byKey.delete(loaded.key);
    return loaded.factors;
  }

  /** What tells the weights of a request from all others: "" for the base. @throws LongjingError "not_found" */
  key(name: string | undefined): string {
    return name === undefined ? "" : this.#named(name).key;
  }

  /** The parameters of a step: the base's, with the factors of the adapter of that key. */
  parameters(base: ModelParameters, key: string): ModelParameters {
    const loaded = this.#byKey.get(key);
    if (!loaded) return base;
    if (loaded.base !== base) {
      loaded.base = base;
      loaded.joined = { ...base, ...loaded.factors };
    }
    return loaded.joined!;
  }

  #named(name: string): Loaded {
    const loaded = this.#byName.get(name);
    if (loaded) return loaded;
    throw new LongjingError("not_found", "The engine holds no such adapter", { got: name, expected: this.names.join(", ") || "none is loaded" });
  }
}

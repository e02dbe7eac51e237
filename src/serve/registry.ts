import { throughAdapter } from "../engine/through-adapter.ts";
import { LongjingError } from "../errors/index.ts";
import type { ServedModel } from "./model.ts";
import { aliases, unknownModel, type ModelCard } from "./models.ts";

/** A model that can be loaded. */
export interface ModelSource extends ModelCard {
  /** What its files take; memory is counted by it. */
  readonly bytes: number;
  /** Names of the LoRA adapters that are loaded with it. They are asked for as models are. */
  readonly adapters?: readonly string[];
  load(): Promise<ServedModel>;
}

export interface RegistryLimits {
  /** Models in memory at once. Default 4. */
  readonly maxModels?: number;
  /** Bytes of their files. A model that alone is larger still loads, into an empty memory. Default: no limit. */
  readonly maxBytes?: number;
  /** A model that nobody has used for so long is unloaded. Default: never. */
  readonly maxIdleMs?: number;
}

/** A model for as long as it is held: it is not unloaded before `release`, which may be called more than once. */
export interface Lease {
  readonly model: ServedModel;
  release(): void;
}

interface Slot {
  readonly source: ModelSource;
  users: number;
  /** Position in the order of use. */
  used: number;
  loading: Promise<ServedModel> | undefined;
  model: ServedModel | undefined;
  idle: NodeJS.Timeout | undefined;
}

/** Models that are in memory already, as sources. */
export function loadedSources(models: readonly ServedModel[]): ModelSource[] {
  return models.map((model) => ({
    id: model.id,
    created: model.created,
    bytes: 0,
    max_model_len: model.engine.max_model_len,
    examples: model.examples ?? [],
    load: () => Promise.resolve(model),
  }));
}

/**
 * Models by name, loaded when they are first asked for. Where a limit is passed the one that was used longest ago is unloaded,
 * never one in use. Models load one after the other, so that the limits hold while they do.
 */
export class ModelRegistry {
  /** By the names of models. */
  readonly #slots: ReadonlyMap<string, Slot>;
  /** Models by the names of their adapters. */
  readonly #bases: ReadonlyMap<string, Slot>;
  readonly #limits: RegistryLimits;
  readonly #listeners: ((model: ServedModel) => void)[] = [];
  #loads: Promise<unknown> = Promise.resolve();
  #clock = 0;

  constructor(sources: readonly ModelSource[], limits: RegistryLimits = {}) {
    const names = sources.flatMap(({ id, adapters = [] }) => [id, ...adapters]);
    const twice = names.find((name, at) => names.indexOf(name) !== at);
    if (twice !== undefined) throw new LongjingError("bad_argument", "Two models have the same name", { got: twice, hint: "Name one of them: NAME=PATH" });
    this.#slots = new Map(sources.map((source) => [source.id, { source, users: 0, used: 0, loading: undefined, model: undefined, idle: undefined }]));
    this.#bases = new Map([...this.#slots.values()].flatMap((slot) => (slot.source.adapters ?? []).map((name) => [name, slot] as const)));
    this.#limits = limits;
  }

  list(): readonly ModelCard[] {
    return [...this.#slots.values()].flatMap(({ source: { id, adapters = [], created, max_model_len, examples } }) =>
      [id, ...adapters].map((name) => ({ id: name, created, max_model_len, examples: name === id ? examples : [] })),
    );
  }

  /** `listener` hears of a model before its engine is disposed. */
  onUnload(listener: (model: ServedModel) => void): void {
    this.#listeners.push(listener);
  }

  /** Those in memory. */
  loaded(): readonly ServedModel[] {
    return [...this.#slots.values()].flatMap(({ model }) => (model === undefined ? [] : [model]));
  }

  /**
   * Holds a model, loading it first where that is needed. Requests for one that loads share the load; a failed load is tried
   * again by the next request.
   * @throws LongjingError "not_found", or "busy" when every place is taken by a model in use
   */
  async acquire(name: string): Promise<Lease> {
    const slot = this.#find(name);
    slot.users++;
    slot.used = ++this.#clock;
    clearTimeout(slot.idle);
    let held = true;
    const release = (): void => {
      if (!held) return;
      held = false;
      if (--slot.users === 0) this.#rest(slot);
    };
    try {
      const model = slot.model ?? (await (slot.loading ??= this.#load(slot)));
      return { model: this.#bases.has(name) ? adapted(model, name) : model, release };
    } catch (error) {
      release();
      throw error;
    }
  }

  /** Unloads everything: nothing may be in use. */
  close(): void {
    for (const slot of this.#slots.values()) this.#unload(slot);
  }

  #find(name: string): Slot {
    const slot = this.#slots.get(name) ?? this.#bases.get(name) ?? (name === "" || aliases.includes(name) ? this.#slots.values().next().value : undefined);
    if (slot === undefined) throw unknownModel(name, [...this.#slots.keys(), ...this.#bases.keys()]);
    return slot;
  }

  #load(slot: Slot): Promise<ServedModel> {
    const loading = this.#loads.then(async () => {
      this.#makeRoom(slot.source);
      slot.model = await slot.source.load();
      return slot.model;
    });
    this.#loads = loading.then(
      () => (slot.loading = undefined),
      () => (slot.loading = undefined),
    );
    return loading;
  }

  #makeRoom({ bytes }: ModelSource): void {
    const { maxModels = 4, maxBytes = Infinity } = this.#limits;
    const resident = [...this.#slots.values()].filter(({ model }) => model !== undefined);
    const idle = resident.filter(({ users }) => users === 0).sort((a, b) => a.used - b.used);
    let count = resident.length;
    let sum = resident.reduce((total, { source }) => total + source.bytes, 0);
    while (count > 0 && (count >= maxModels || sum + bytes > maxBytes)) {
      const oldest = idle.shift();
      if (oldest === undefined) throw new LongjingError("busy", "There is no room for this model while the others answer", { where: "model" });
      this.#unload(oldest);
      count--;
      sum -= oldest.source.bytes;
    }
  }

  #rest(slot: Slot): void {
    const { maxIdleMs } = this.#limits;
    if (maxIdleMs === undefined || slot.model === undefined) return;
    slot.idle = setTimeout(() => this.#unload(slot), maxIdleMs);
    slot.idle.unref();
  }

  #unload(slot: Slot): void {
    clearTimeout(slot.idle);
    if (slot.model === undefined) return;
    for (const listener of this.#listeners) listener(slot.model);
    slot.model.engine.dispose();
    slot.model = undefined;
  }
}

/** The model as one of its adapters changes it. */
const adapted = (model: ServedModel, adapter: string): ServedModel => ({ ...model, id: adapter, engine: throughAdapter(model.engine, adapter) });

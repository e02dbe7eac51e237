import { cacheContext, cacheShape, hiddenStates, logits, rotaryTables, type ModelConfig, type ParameterSpec } from "../model/index.ts";
import { compile, type Backend, type Binding, type DeviceTensor, type Program, type SessionOptions } from "../runtime/index.ts";
import { gather, type Dim, type TensorType } from "../tensor/index.ts";

/** Parameters by their checkpoint names, in memory that the runtime reads in place. */
export type ParameterTensors = Readonly<Record<string, DeviceTensor>>;

export interface RunnerOptions {
  /** Rows of the cache: sequences that run at once. */
  readonly max_num_seqs: number;
  /** Tokens a row can hold. */
  readonly max_model_len: number;
  readonly session?: SessionOptions;
}

// Prompts are padded to a multiple of this, so that a handful of programs serves every length.
const prefillBucket = 16;
// Decoding runs this many rows at a time at least, so that a binding outlives single departures.
const decodeBucket = 8;

interface BoundStep {
  readonly binding: Binding;
  readonly ids: BigInt64Array;
  readonly positions: BigInt64Array;
  readonly last: Int32Array;
  readonly longest: Int32Array;
  /** [rows] row of hidden states whose logits are wanted, for each sequence. */
  readonly pick: BigInt64Array;
  readonly logits: Float32Array;
}

/**
 * Runs a model over a key-value cache of fixed capacity. Rows [0, n) are the running sequences; prefill writes whole prompts
 * into rows, decode appends one token to each. Parameters are bound, never copied: the caller's buffers are read as they are
 * at each step.
 */
export class ModelRunner {
  readonly config: ModelConfig;
  readonly options: RunnerOptions;
  readonly #backend: Backend;
  readonly #specs: readonly ParameterSpec[];
  readonly #programs = new Map<number, Promise<Program>>();
  #bound = new WeakMap<ParameterTensors, Map<string, BoundStep>>();
  readonly #boundSteps = new Set<BoundStep>();
  /** One a layer, [max_num_seqs, kvHeads, max_model_len, dim]. */
  readonly #keys: DeviceTensor[];
  readonly #values: DeviceTensor[];
  readonly #kvHeads: number;
  readonly #dim: number;

  constructor(backend: Backend, config: ModelConfig, specs: readonly ParameterSpec[], options: RunnerOptions) {
    this.#backend = backend;
    this.config = config;
    this.options = options;
    this.#specs = specs;
    const { heads, width } = cacheShape(config);
    this.#kvHeads = heads;
    this.#dim = width;
    const shape = [options.max_num_seqs, this.#kvHeads, options.max_model_len, this.#dim];
    const caches = (): DeviceTensor[] => Array.from({ length: config.num_hidden_layers }, () => backend.tensor("float32", shape));
    this.#keys = caches();
    this.#values = caches();
  }

  /**
   * Writes prompts into rows start, start + 1, … and returns the logits after each prompt's last token, [prompts, vocabulary];
   * they are overwritten by the next call.
   */
  async prefill(parameters: ParameterTensors, start: number, prompts: readonly (readonly number[])[], blocking: boolean): Promise<Float32Array> {
    const longest = Math.max(...prompts.map((p) => p.length));
    const count = Math.min(this.options.max_model_len, Math.ceil(longest / prefillBucket) * prefillBucket);
    const step = await this.#step(parameters, count, start, prompts.length);
    for (const [b, prompt] of prompts.entries()) {
      for (let t = 0; t < count; t++) {
        step.ids[b * count + t] = BigInt(prompt[t] ?? 0);
        step.positions[b * count + t] = BigInt(t);
      }
      step.last[b] = prompt.length - 1;
      step.pick[b] = BigInt(b * count + prompt.length - 1);
    }
    // A right-padded first chunk is recognised by total length = new tokens.
    step.longest[0] = count;
    await run(step.binding, blocking);
    return step.logits;
  }

  /**
   * Appends token_ids[b] to row b, which holds lengths[b] tokens, for every b; returns the logits of the next token, at least
   * [token_ids.length, vocabulary], overwritten by the next call.
   */
  async decode(parameters: ParameterTensors, token_ids: readonly number[], lengths: readonly number[], blocking: boolean): Promise<Float32Array> {
    const rows = Math.min(this.options.max_num_seqs, token_ids.length === 1 ? 1 : Math.ceil(token_ids.length / decodeBucket) * decodeBucket);
    const step = await this.#step(parameters, 1, 0, rows);
    let longest = 1;
    for (let b = 0; b < rows; b++) {
      // Rows without a sequence write into their own first place, which the next prefill overwrites.
      const length = lengths[b] ?? 0;
      step.ids[b] = BigInt(token_ids[b] ?? 0);
      step.positions[b] = BigInt(length);
      step.last[b] = length;
      step.pick[b] = BigInt(b);
      longest = Math.max(longest, length + 1);
    }
    step.longest[0] = longest;
    await run(step.binding, blocking);
    return step.logits;
  }

  /** Copies the first `length` tokens of a row's cache to another row. */
  copyRow(from: number, to: number, length: number): void {
    const lane = this.options.max_model_len * this.#dim;
    for (const cache of [...this.#keys, ...this.#values]) {
      const data = cache.data as Float32Array;
      for (let h = 0; h < this.#kvHeads; h++) {
        const at = (from * this.#kvHeads + h) * lane;
        data.copyWithin((to * this.#kvHeads + h) * lane, at, at + length * this.#dim);
      }
    }
  }

  async dispose(): Promise<void> {
    for (const step of this.#boundSteps) step.binding.dispose();
    this.#boundSteps.clear();
    this.#bound = new WeakMap();
    for (const program of this.#programs.values()) (await program).dispose();
    this.#programs.clear();
    for (const tensor of [...this.#keys, ...this.#values]) tensor.dispose();
  }

  #program(count: number): Promise<Program> {
    let found = this.#programs.get(count);
    if (!found) this.#programs.set(count, (found = this.#compile(count)));
    return found;
  }

  #compile(count: number): Promise<Program> {
    const { config, options } = this;
    const tables = rotaryTables(config, options.max_model_len);
    const float = (shape: readonly Dim[]): TensorType => ({ shape, dtype: "float32" });
    const cache = (): TensorType[] => this.#keys.map(() => float(["batch", this.#kvHeads, options.max_model_len, this.#dim]));
    const types = {
      parameters: Object.fromEntries(this.#specs.map((s) => [s.name, float(s.shape)])),
      keys: cache(),
      values: cache(),
      ids: { shape: [count === 1 ? "batch" : "rows"], dtype: "int64" } as TensorType,
      positions: { shape: ["batch", count], dtype: "int64" } as TensorType,
      last: { shape: ["batch"], dtype: "int32" } as TensorType,
      longest: { shape: [], dtype: "int32" } as TensorType,
      pick: { shape: ["batch"], dtype: "int64" } as TensorType,
    };
    return compile(
      this.#backend,
      (v) => {
        const context = cacheContext({ batch: "batch", count, positions: v.positions, last: v.last, longest: v.longest, cache: { keys: v.keys, values: v.values } }, tables);
        const { hidden } = hiddenStates(config, v.parameters, v.ids, context);
        return { logits: logits(config, v.parameters, count === 1 ? hidden : gather(hidden, v.pick)), presentKeys: context.present.keys, presentValues: context.present.values };
      },
      types,
      options.session,
    );
  }

  async #step(parameters: ParameterTensors, count: number, start: number, rows: number): Promise<BoundStep> {
    let byShape = this.#bound.get(parameters);
    if (!byShape) this.#bound.set(parameters, (byShape = new Map()));
    const key = `${count} ${start} ${rows}`;
    const found = byShape.get(key);
    if (found) return found;
    const step = this.#bind(await this.#program(count), parameters, count, start, rows);
    byShape.set(key, step);
    this.#boundSteps.add(step);
    return step;
  }

  #bind(program: Program, parameters: ParameterTensors, count: number, start: number, rows: number): BoundStep {
    const on = this.#backend;
    const lane = this.#kvHeads * this.options.max_model_len * this.#dim;
    const part = (cache: DeviceTensor): DeviceTensor =>
      on.tensorOver("float32", [rows, this.#kvHeads, this.options.max_model_len, this.#dim], (cache.data as Float32Array).subarray(start * lane, (start + rows) * lane));
    const keys = this.#keys.map(part);
    const values = this.#values.map(part);
    const inputs = {
      ids: on.tensor("int64", [rows * count]),
      positions: on.tensor("int64", [rows, count]),
      last: on.tensor("int32", [rows]),
      longest: on.tensor("int32", []),
      pick: on.tensor("int64", [rows]),
    };
    const out = on.tensor("float32", [rows, this.config.vocab_size]);
    const used = Object.fromEntries(this.#specs.map((s) => [s.name, parameters[s.name]!]));
    const binding = program.bind({ parameters: used, keys, values, ...inputs }, { logits: out, presentKeys: keys, presentValues: values });
    return {
      binding,
      ids: inputs.ids.data as BigInt64Array,
      positions: inputs.positions.data as BigInt64Array,
      last: inputs.last.data as Int32Array,
      longest: inputs.longest.data as Int32Array,
      pick: inputs.pick.data as BigInt64Array,
      logits: out.data as Float32Array,
    };
  }
}

async function run(binding: Binding, blocking: boolean): Promise<void> {
  if (blocking) binding.runSync();
  else await binding.run();
}

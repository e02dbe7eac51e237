import { LongjingError } from "../errors/index.ts";
import { cacheContext, cacheShape, hiddenStates, rotaryTables, type ModelConfig } from "../model/index.ts";
import { compile, type Backend, type DeviceTensor, type Program } from "../runtime/index.ts";
import type { QuantizedMatrix, TensorType, Value } from "../tensor/index.ts";
import { tensorsOf, typesOf, valuesOf, type ModelParameters } from "./model-parameters.ts";

/**
 * Texts as vectors: the mean over a text's tokens of the hidden states that the head would read, at unit length. Computed one
 * text at a time, by a program of its own that is compiled when it is first asked for.
 */
export class Embedder {
  readonly #backend: Backend;
  readonly #config: ModelConfig;
  readonly #parameters: ModelParameters;
  readonly #capacity: number;
  #program: Promise<Program> | undefined;
  #turn: Promise<unknown> = Promise.resolve();

  /** `capacity`: longest text, in tokens. */
  constructor(backend: Backend, config: ModelConfig, parameters: ModelParameters, capacity: number) {
    this.#backend = backend;
    this.#config = config;
    this.#parameters = bodyOf(config, parameters);
    this.#capacity = capacity;
  }

  /** [hidden]. @throws LongjingError "bad_argument" for no tokens, too many, or strange ones; "runtime" when aborted */
  async embed(ids: readonly number[], signal?: AbortSignal): Promise<Float32Array> {
    const { vocab_size } = this.#config;
    const stray = ids.find((id) => !Number.isInteger(id) || id < 0 || id >= vocab_size);
    if (stray !== undefined) throw new LongjingError("bad_argument", "a token is not in the vocabulary", { where: "input", got: stray, expected: `0 to ${vocab_size - 1}` });
    if (ids.length === 0) throw new LongjingError("bad_argument", "There is nothing to embed", { where: "input" });
    if (ids.length > this.#capacity) throw new LongjingError("bad_argument", `This model's maximum context length is ${this.#capacity} tokens. However, you requested ${ids.length} tokens.`, { where: "input" });
    const done = this.#turn.then(() => {
      if (signal?.aborted) throw new LongjingError("runtime", "The embedding was aborted");
      return this.#run(ids);
    });
    this.#turn = done.catch(() => undefined);
    return await done;
  }

  async dispose(): Promise<void> {
    await this.#turn;
    if (this.#program) (await this.#program).dispose();
  }

  async #run(ids: readonly number[]): Promise<Float32Array> {
    const program = await (this.#program ??= this.#compile());
    const { hidden_size } = this.#config;
    const count = ids.length;
    const on = this.#backend;
    const int64 = (shape: readonly number[], values: readonly number[]): DeviceTensor => on.tensorOver("int64", shape, BigInt64Array.from(values, BigInt));
    const { keys, values, all } = this.#cache(count);
    const inputs = {
      ids: int64([count], ids),
      positions: int64([1, count], ids.map((_, at) => at)),
      last: on.tensorOver("int32", [1], Int32Array.of(count - 1)),
      longest: on.tensorOver("int32", [], Int32Array.of(count)),
    };
    const hidden = on.tensor("float32", [count, hidden_size]);
    const binding = program.bind({ keys, values, ...inputs }, { hidden, presentKeys: keys, presentValues: values });
    try {
      await binding.run();
      return unitMean(hidden.data as Float32Array, hidden_size);
    } finally {
      binding.dispose();
      for (const tensor of [...all, ...Object.values(inputs), hidden]) tensor.dispose();
    }
  }

  #cache(count: number): { readonly keys: readonly DeviceTensor[]; readonly values: readonly DeviceTensor[]; readonly all: readonly DeviceTensor[] } {
    const { heads, width, shared } = cacheShape(this.#config);
    const lanes = (): DeviceTensor[] => Array.from({ length: this.#config.num_hidden_layers }, () => this.#backend.tensor("float32", [1, heads, count, width]));
    const keys = lanes();
    const values = shared ? keys : lanes();
    return { keys, values, all: shared ? keys : [...keys, ...values] };
  }

  #compile(): Promise<Program> {
    const config = this.#config;
    const parameters = this.#parameters;
    const { heads, width } = cacheShape(config);
    const tables = rotaryTables(config, this.#capacity);
    const lanes = (): TensorType[] => Array.from({ length: config.num_hidden_layers }, () => ({ shape: [1, heads, "capacity", width], dtype: "float32" }));
    const types = {
      parameters: typesOf(parameters),
      keys: lanes(),
      values: lanes(),
      ids: { shape: ["count"], dtype: "int64" } as TensorType,
      positions: { shape: [1, "count"], dtype: "int64" } as TensorType,
      last: { shape: [1], dtype: "int32" } as TensorType,
      longest: { shape: [], dtype: "int32" } as TensorType,
    };
    return compile(
      this.#backend,
      (v) => {
        const all = valuesOf(parameters, v.parameters as Readonly<Record<string, Value | QuantizedMatrix>>);
        const context = cacheContext({ batch: 1, count: "count", rows: "count", positions: v.positions, last: v.last, longest: v.longest, cache: { keys: v.keys, values: v.values } }, tables);
        const { hidden } = hiddenStates(config, all, v.ids, context);
        return { hidden, presentKeys: context.present.keys, presentValues: context.present.values };
      },
      types,
      { frozen: { parameters: tensorsOf(parameters) } },
    );
  }
}

/** The parameters of the hidden states: a program names what it reads and nothing else. */
function bodyOf({ num_hidden_layers, tie_word_embeddings }: ModelConfig, parameters: ModelParameters): ModelParameters {
  const beyond = `model.layers.${num_hidden_layers}.`;
  return Object.fromEntries(Object.entries(parameters).filter(([name]) => (tie_word_embeddings || name !== "lm_head.weight") && !name.startsWith(beyond)));
}

/** Mean of the rows of x [rows, width], at unit length. */
function unitMean(x: Float32Array, width: number): Float32Array {
  const sum = new Float64Array(width);
  for (let at = 0; at < x.length; at++) sum[at % width]! += x[at]!;
  const length = Math.hypot(...sum) || 1;
  return Float32Array.from(sum, (value) => value / length);
}

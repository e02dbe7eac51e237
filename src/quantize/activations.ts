import { block, isSparse, parameterSpecs, rotaryTables, trainingContext, type ModelConfig, type ModelContext, type ParameterSpec } from "../model/index.ts";
import { allocate, compile, type Backend, type Binding, type DeviceTensor, type Program } from "../runtime/index.ts";
import { matmul, mul, rmsNormalize, type TensorType, type Value } from "../tensor/index.ts";
import type { Gram } from "./calibrated.ts";
import { linearInputs } from "./linear-inputs.ts";

/** A part of the model that is run and quantised at a time. */
export interface Stage {
  readonly specs: readonly ParameterSpec[];
  /** Stages of one kind are one program: only the names of their parameters differ. */
  readonly kind: "dense" | "sparse" | "end";
  /** x [rows, hidden] → what the next stage reads. */
  readonly trace: (parameters: Readonly<Record<string, Value>>, x: Value, context: ModelContext) => Value;
}

/** Everything behind the embeddings: the layers in order, then the last norm and, unless it is the embeddings, the head. */
export function stages(config: ModelConfig): readonly Stage[] {
  const specs = parameterSpecs(config);
  const [norm, head] = ["model.norm.weight", "lm_head.weight"];
  const layers = Array.from({ length: config.num_hidden_layers }, (_, layer): Stage => ({
    specs: specs.filter(({ name }) => name.startsWith(`model.layers.${layer}.`)),
    kind: isSparse(config, layer) ? "sparse" : "dense",
    trace: (parameters, x, context) => block(config, parameters, x, layer, context, []),
  }));
  const end: Stage = {
    specs: specs.filter(({ name }) => name === norm || name === head),
    kind: "end",
    trace: (parameters, x) => {
      const hidden = mul(rmsNormalize(x, config.rms_norm_eps), parameters[norm]!);
      return parameters[head] ? matmul(hidden, parameters[head], { transB: true }) : hidden;
    },
  };
  return [...layers, end];
}

/** Hidden states [time, hidden] of one window of the calibration text. */
type Window = Float32Array;

interface Compiled {
  readonly program: Program;
  /** Weight, by its place among the stage's specs → output that is the Gram matrix of its inputs. */
  readonly grams: ReadonlyMap<number, string>;
  readonly sizes: Readonly<Record<string, number>>;
}

/** Runs stages over the calibration text. */
export class ActivationRunner {
  readonly #backend: Backend;
  readonly #context: ModelContext;
  readonly #time: number;
  readonly #x: TensorType;
  readonly #observing = new Map<string, Promise<Compiled>>();
  readonly #forward = new Map<string, Promise<Program>>();

  /** @param time tokens of each window */
  constructor(backend: Backend, config: ModelConfig, time: number) {
    this.#backend = backend;
    // Folded gains would hide what the weights are multiplied by.
    this.#context = { ...trainingContext({ batch: 1, time }, rotaryTables(config, time)), foldGain: false };
    this.#time = time;
    this.#x = { shape: [time, config.hidden_size], dtype: "float32" };
  }

  /**
   * XᵀX of the inputs X [tokens, columns] of each linear layer of a stage, its rows normalised, over all windows, by the name of
   * its weight; layers of one input share one.
   */
  async grams(stage: Stage, parameters: ReadonlyMap<string, Float32Array>, windows: readonly Window[]): Promise<ReadonlyMap<string, Gram>> {
    const { program, grams, sizes } = await once(this.#observing, stage.kind, () => this.#compileObserving(stage));
    const out = allocate(this.#backend, Object.fromEntries(Object.entries(sizes).map(([name, size]) => [name, { shape: [size, size], dtype: "float32" } as TensorType])));
    const totals = new Map(Object.entries(sizes).map(([name, size]) => [name, { rows: windows.length * this.#time, size, data: new Float64Array(size * size) }]));
    await this.#run(program, stage, parameters, out, windows, () => {
      for (const [name, { data }] of totals) addTo(data, out[name]!.data as Float32Array);
    });
    return new Map([...grams].map(([at, name]) => [stage.specs[at]!.name, totals.get(name)!]));
  }

  /** Hidden states behind a stage, written over those before it. */
  async advance(stage: Stage, parameters: ReadonlyMap<string, Float32Array>, windows: readonly Window[]): Promise<void> {
    const program = await once(this.#forward, stage.kind, () => compile(this.#backend, (v) => ({ y: stage.trace(named(stage, v.parameters), v.x, this.#context) }), this.#types(stage)));
    const { y } = allocate(this.#backend, { y: this.#x });
    await this.#run(program, stage, parameters, { y: y! }, windows, (window) => window.set(y!.data as Float32Array));
  }

  async dispose(): Promise<void> {
    for (const compiled of this.#observing.values()) (await compiled).program.dispose();
    for (const program of this.#forward.values()) (await program).dispose();
  }

  async #compileObserving(stage: Stage): Promise<Compiled> {
    const grams = new Map<number, string>();
    const sizes: Record<string, number> = {};
    const program = await compile(
      this.#backend,
      (v) => {
        const names = new Map<Value, string>();
        const outputs: Record<string, Value> = {};
        for (const [input, x] of linearInputs(stage.trace(named(stage, v.parameters), v.x, this.#context))) {
          const name = names.get(x) ?? `gram${names.size}`;
          names.set(x, name);
          // Every token counts alike: a window's first, the attention sink, would have nearly all of the energy.
          const even = rmsNormalize(x, 1e-12);
          outputs[name] = matmul(even, even, { transA: true });
          sizes[name] = x.shape[1] as number;
          grams.set(Number(input.slice("parameters/".length)), name);
        }
        return outputs;
      },
      this.#types(stage),
    );
    return { program, grams, sizes };
  }

  #types({ specs }: Stage): { readonly parameters: Readonly<Record<string, TensorType>>; readonly x: TensorType } {
    return { parameters: Object.fromEntries(specs.map(({ shape }, at) => [at, { shape, dtype: "float32" } as const])), x: this.#x };
  }

  async #run(program: Program, { specs }: Stage, data: ReadonlyMap<string, Float32Array>, outputs: Readonly<Record<string, DeviceTensor>>, windows: readonly Window[], read: (window: Window) => void): Promise<void> {
    const x = this.#backend.tensor("float32", this.#x.shape as readonly number[]);
    const parameters = specs.map(({ name, shape }) => {
      const tensor = this.#backend.tensor("float32", shape);
      tensor.data.set(data.get(name)!);
      return tensor;
    });
    const binding: Binding = program.bind({ parameters: Object.fromEntries(parameters.entries()), x }, outputs);
    for (const window of windows) {
      x.data.set(window);
      await binding.run();
      read(window);
    }
    binding.dispose();
    for (const tensor of [x, ...parameters, ...Object.values(outputs)]) tensor.dispose();
  }
}

/** Inputs that are numbered as the specs are, under their names. */
const named = (stage: Stage, numbered: Readonly<Record<string, Value>>): Record<string, Value> => Object.fromEntries(stage.specs.map(({ name }, at) => [name, numbered[at]!]));

function once<T>(made: Map<string, Promise<T>>, key: string, make: () => Promise<T>): Promise<T> {
  const found = made.get(key) ?? make();
  made.set(key, found);
  return found;
}

function addTo(total: Float64Array, part: Float32Array): void {
  for (let i = 0; i < total.length; i++) total[i]! += part[i]!;
}

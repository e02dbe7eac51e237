import type { ParameterTensors } from "../engine/model-parameters.ts";
import { parameterCount, type ParameterSpec } from "../model/index.ts";
import { adamwScalars, adamwUpdate, globalNormScale, type AdamWOptions } from "../optim/adamw.ts";
import { allocate, compile, type Backend, type Binding, type DeviceTensor, type Program, type SessionOptions } from "../runtime/index.ts";
import { gradientsOf, type Symbolic, type TensorType, type Value } from "../tensor/index.ts";
import { keptOf, noBase, policyTypes, policyValues, type FrozenBase } from "./frozen-base.ts";
import type { Objective } from "./objectives.ts";

/** Parameters with their AdamW moments: what one step reads and the next writes. */
interface Buffers {
  readonly parameters: ParameterTensors;
  /** The parameters, and those of a frozen base that are bound beside them. */
  readonly policy: ParameterTensors;
  readonly m: Readonly<Record<string, DeviceTensor>>;
  readonly v: Readonly<Record<string, DeviceTensor>>;
}

/**
 * The state of an optimisation, twice: a step reads one set of buffers and writes the other, so nothing is copied and no tensor
 * is read and written at once. Everything that uses the parameters (the engine too) binds these very buffers. Where a base is
 * frozen, the parameters are the factors of its adapter alone.
 */
export class TrainState {
  readonly specs: readonly ParameterSpec[];
  readonly base: FrozenBase;
  readonly #sets: readonly [Buffers, Buffers];
  #current: 0 | 1 = 0;
  /** Optimiser steps taken. */
  step = 0;

  constructor(backend: Backend, specs: readonly ParameterSpec[], initial: Readonly<Record<string, Float32Array>>, base = noBase) {
    this.specs = specs;
    this.base = base;
    const trained = specs.filter((s) => s.trainable);
    const zeros = (): Record<string, DeviceTensor> => allocate(backend, Object.fromEntries(trained.map((s) => [s.name, floatType(s.shape)])));
    // What no gradient moves is one tensor in both sets.
    const fixed = allocate(backend, Object.fromEntries(specs.filter((s) => !s.trainable).map((s) => [s.name, floatType(s.shape)])));
    const buffers = (): Buffers => {
      const parameters = { ...zeros(), ...fixed };
      return { parameters, policy: { ...base.floats, ...parameters }, m: zeros(), v: zeros() };
    };
    this.#sets = [buffers(), buffers()];
    this.load(initial);
  }

  get trainedNames(): readonly string[] {
    return this.specs.filter((s) => s.trainable).map((s) => s.name);
  }

  /** Of the whole policy, the base's too. */
  get parameterCount(): number {
    return this.base.size + parameterCount(this.specs);
  }

  /** The buffers that the next step reads, and that a checkpoint holds. */
  get parameters(): ParameterTensors {
    return this.#sets[this.#current].parameters;
  }

  /** What the policy's programs bind: the parameters, beside a base's. The object is the same each time its turn comes, so bindings can be kept by it. */
  get policy(): ParameterTensors {
    return this.#sets[this.#current].policy;
  }

  get moments(): { readonly m: Readonly<Record<string, DeviceTensor>>; readonly v: Readonly<Record<string, DeviceTensor>> } {
    return this.#sets[this.#current];
  }

  /** [from, to] of the next step and of the one after. */
  get directions(): readonly [Buffers, Buffers][] {
    const [a, b] = this.#sets;
    return [
      [a, b],
      [b, a],
    ];
  }

  get current(): 0 | 1 {
    return this.#current;
  }

  /** Called when a step has written the other set. */
  flip(): void {
    this.#current = this.#current === 0 ? 1 : 0;
    this.step++;
  }

  /** Forgets the moments: a new stage begins. */
  resetOptimizer(): void {
    const { m, v } = this.#sets[this.#current];
    for (const tensor of [...Object.values(m), ...Object.values(v)]) (tensor.data as Float32Array).fill(0);
    this.step = 0;
  }

  /** Overwrites parameters, and moments where given. */
  load(parameters: Readonly<Record<string, Float32Array>>, moments?: { m: Readonly<Record<string, Float32Array>>; v: Readonly<Record<string, Float32Array>> }): void {
    const set = this.#sets[this.#current];
    const copy = (to: Readonly<Record<string, DeviceTensor>>, from: Readonly<Record<string, Float32Array>>): void => {
      for (const [name, tensor] of Object.entries(to)) (tensor.data as Float32Array).set(from[name]!);
    };
    copy(set.parameters, parameters);
    if (!moments) return;
    copy(set.m, moments.m);
    copy(set.v, moments.v);
  }
}

const floatType = (shape: readonly number[]): TensorType => ({ shape, dtype: "float32" });


export interface StepOptions {
  readonly optimizer: AdamWOptions;
  /** Gradients are scaled down to this global L2 norm. */
  readonly max_grad_norm: number;
  readonly session?: SessionOptions;
}

/** What a step reports. */
export interface StepMetrics {
  readonly loss: number;
  /** Before clipping. */
  readonly grad_norm: number;
  readonly [metric: string]: number;
}

/**
 * One compiled train step: forward, backward, clipping and AdamW in one graph. The caller fills `batch` and runs it; several
 * steps (of other batch shapes or other objectives) can share one state.
 */
export class TrainStep<B extends Readonly<Record<string, TensorType>>> {
  readonly batch: { readonly [K in keyof B]: DeviceTensor };
  readonly program: Program;
  readonly #state: TrainState;
  readonly #options: StepOptions;
  readonly #scalars: Readonly<Record<"rate" | "epsilon" | "decay", DeviceTensor>>;
  readonly #metrics: Readonly<Record<string, DeviceTensor>>;
  /** What the objective names beside its metrics, as the last step left it. */
  readonly statistics: Readonly<Record<string, DeviceTensor>>;
  readonly #bindings: readonly Binding[];

  static async create<B extends Readonly<Record<string, TensorType>>>(
    backend: Backend,
    state: TrainState,
    batchTypes: B,
    objective: (parameters: Readonly<Record<string, Value>>, batch: Symbolic<B>) => Objective,
    options: StepOptions,
  ): Promise<TrainStep<B>> {
    const trained = new Set(state.trainedNames);
    const decayed = new Set(state.specs.filter((s) => s.decay).map((s) => s.name));
    const { base, policy } = state;
    const moments = Object.fromEntries(state.specs.filter((s) => s.trainable).map((s) => [s.name, floatType(s.shape)]));
    const scalars = { rate: floatType([]), epsilon: floatType([]), decay: floatType([]) };
    const program = await compile(
      backend,
      (v) => {
        const parameters = v.parameters as Readonly<Record<string, Value>>;
        const { loss, metrics, statistics = {} } = objective(policyValues(base, policy, v), v.batch as Symbolic<B>);
        const gradients = gradientsOf(loss, Object.fromEntries(Object.entries(parameters).filter(([name]) => trained.has(name))));
        const { norm, scale } = globalNormScale(Object.values(gradients), options.max_grad_norm);
        const next = adamwUpdate(gradients, parameters, { m: v.m as Record<string, Value>, v: v.v as Record<string, Value> }, v.scalars, options.optimizer, scale, (name) => decayed.has(name));
        return { next: { parameters: next.parameters, m: next.state.m, v: next.state.v }, metrics: { loss, grad_norm: norm, ...metrics }, statistics };
      },
      { ...policyTypes(base, policy), m: moments, v: moments, batch: batchTypes, scalars },
      { ...options.session, frozen: keptOf(base) },
    );
    return new TrainStep(backend, state, batchTypes, program, options);
  }

  private constructor(backend: Backend, state: TrainState, batchTypes: B, program: Program, options: StepOptions) {
    this.program = program;
    this.#state = state;
    this.#options = options;
    this.batch = allocate(backend, batchTypes) as { readonly [K in keyof B]: DeviceTensor };
    this.#scalars = { rate: backend.tensor("float32", []), epsilon: backend.tensor("float32", []), decay: backend.tensor("float32", []) };
    const outputs = (prefix: string) => allocate(backend, Object.fromEntries(program.graph.outputs.flatMap(([name, v]) => (name.startsWith(prefix) ? [[name.slice(prefix.length), v] as const] : []))));
    this.#metrics = outputs("metrics/");
    this.statistics = outputs("statistics/");
    this.#bindings = state.directions.map(([from, to]) => {
      const written = Object.fromEntries(state.trainedNames.map((name) => [name, to.parameters[name]!]));
      return program.bind(
        { parameters: from.policy, m: from.m, v: from.v, batch: this.batch, scalars: this.#scalars },
        { next: { parameters: written, m: to.m, v: to.v }, metrics: this.#metrics, statistics: this.statistics },
      );
    });
  }

  /** Takes one step on what is in `batch`. */
  async run(learningRate: number, { blocking = false }: { blocking?: boolean } = {}): Promise<StepMetrics> {
    const scalars = adamwScalars(this.#state.step + 1, learningRate, this.#options.optimizer);
    for (const name of ["rate", "epsilon", "decay"] as const) (this.#scalars[name].data as Float32Array)[0] = scalars[name];
    const binding = this.#bindings[this.#state.current]!;
    if (blocking) binding.runSync();
    else await binding.run();
    this.#state.flip();
    return Object.fromEntries(Object.entries(this.#metrics).map(([name, t]) => [name, (t.data as Float32Array)[0]!])) as StepMetrics;
  }

  dispose(): void {
    for (const binding of this.#bindings) binding.dispose();
    this.program.dispose();
  }
}

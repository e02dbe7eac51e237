import { LongjingError } from "../errors/index.ts";
import { adamwScalars, adamwUpdate, globalNormScale, type AdamWOptions } from "../optim/adamw.ts";
import { allocate, compile, runBinding, type Backend, type Binding, type DeviceTensor, type Program, type SessionOptions } from "../runtime/index.ts";
import { gradientsOf, type Symbolic, type TensorType, type Value } from "../tensor/index.ts";
import { keptOf, policyTypes, policyValues } from "./frozen-base.ts";
import type { Objective } from "./objectives.ts";
import type { TrainState } from "./train-state.ts";

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

type Values = Readonly<Record<string, Value>>;
type Tensors = Readonly<Record<string, DeviceTensor>>;
/** Types of a batch's tensors. */
export type BatchTypes = Readonly<Record<string, TensorType>>;
export type BatchTensors<B extends BatchTypes> = { readonly [K in keyof B]: DeviceTensor };
/** What is minimised, from parameters and a batch. */
export type ObjectiveOf<B extends BatchTypes> = (parameters: Values, batch: Symbolic<B>) => Objective;

const scalar: TensorType = { shape: [], dtype: "float32" };
const scalarTypes = { rate: scalar, epsilon: scalar, decay: scalar };

/** What an optimiser's step takes beside parameters and gradients, as inputs of a program. */
const optimizerTypes = ({ trainedTypes }: TrainState) => ({ m: trainedTypes, v: trainedTypes, scalars: scalarTypes });

/** Inputs of a program that computes an objective. */
const objectiveTypes = <B extends BatchTypes>({ base, policy }: TrainState, batch: B) => ({ ...policyTypes(base, policy), batch });

interface Traced {
  readonly frozen: unknown;
  readonly parameters: unknown;
  readonly batch: unknown;
}

/** An objective and its gradients, by the names of the trained parameters. */
function differentiated<B extends BatchTypes>({ base, policy, trainedNames }: TrainState, objective: ObjectiveOf<B>, traced: Traced): Objective & { readonly gradients: Record<string, Value> } {
  const parameters = traced.parameters as Values;
  const found = objective(policyValues(base, policy, traced), traced.batch as Symbolic<B>);
  return { ...found, gradients: gradientsOf(found.loss, Object.fromEntries(trainedNames.map((name) => [name, parameters[name]!]))) };
}

/** Clipping and AdamW: what the next step reads, and the gradients' norm before they are clipped. */
function optimized({ specs }: TrainState, gradients: Values, traced: { readonly parameters: unknown; readonly m: unknown; readonly v: unknown; readonly scalars: Readonly<Record<"rate" | "epsilon" | "decay", Value>> }, { optimizer, max_grad_norm }: StepOptions) {
  const decayed = new Set(specs.filter((s) => s.decay).map((s) => s.name));
  const { norm, scale } = globalNormScale(Object.values(gradients), max_grad_norm);
  const { parameters, state } = adamwUpdate(gradients, traced.parameters as Values, { m: traced.m as Values, v: traced.v as Values }, traced.scalars, optimizer, scale, (name) => decayed.has(name));
  return { next: { parameters, m: state.m, v: state.v }, grad_norm: norm };
}

/**
 * A program that writes a state's other set of buffers, bound in both directions; each run is a step of the state, unless the norm of
 * its gradients says that what it has written is worth nothing.
 */
class BoundUpdate {
  readonly #state: TrainState;
  readonly #options: StepOptions;
  readonly #scalars: Readonly<Record<"rate" | "epsilon" | "decay", DeviceTensor<"float32">>>;
  readonly #bindings: readonly Binding[];
  readonly #norm: DeviceTensor;

  /** @param read what the program reads beside the state, @param written what it writes beside it, @param norm the scalar among that */
  constructor(backend: Backend, state: TrainState, program: Program, options: StepOptions, norm: DeviceTensor, read: Readonly<Record<string, Tensors>>, written: Readonly<Record<string, DeviceTensor | Tensors>>) {
    this.#state = state;
    this.#options = options;
    this.#norm = norm;
    this.#scalars = allocate(backend, scalarTypes) as Readonly<Record<"rate" | "epsilon" | "decay", DeviceTensor<"float32">>>;
    this.#bindings = state.directions.map(([from, to]) => {
      const trained = Object.fromEntries(state.trainedNames.map((name) => [name, to.parameters[name]!]));
      return program.bind({ parameters: from.policy, m: from.m, v: from.v, scalars: this.#scalars, ...read }, { next: { parameters: trained, m: to.m, v: to.v }, ...written });
    });
  }

  /** @throws LongjingError "runtime" for a rate or a norm that is not finite; the state is then as it was */
  async run(learningRate: number, blocking: boolean): Promise<void> {
    this.#requireFinite("learning rate", learningRate);
    const scalars = adamwScalars(this.#state.step + 1, learningRate, this.#options.optimizer);
    for (const name of ["rate", "epsilon", "decay"] as const) this.#scalars[name].data[0] = scalars[name];
    await runBinding(this.#bindings[this.#state.current]!, blocking);
    this.#requireFinite("norm of the gradients", (this.#norm.data as Float32Array)[0]!);
    this.#state.flip();
  }

  #requireFinite(where: string, value: number): void {
    if (Number.isFinite(value)) return;
    throw new LongjingError("runtime", "Training has diverged", { where, got: String(value), expected: "a finite number", hint: "The parameters are as the step before left them. Go on from the newest checkpoint, which is from before, with a lower learning rate." });
  }

  dispose(): void {
    for (const binding of this.#bindings) binding.dispose();
  }
}

/** Tensors for those of a program's outputs that lie under a name. */
const outputsUnder = (backend: Backend, program: Program, name: string): Tensors =>
  allocate(backend, Object.fromEntries(program.graph.outputs.flatMap(([path, v]) => (path.startsWith(`${name}/`) ? [[path.slice(name.length + 1), v] as const] : []))));

const numbersOf = (tensors: Tensors): Record<string, number> => Object.fromEntries(Object.entries(tensors).map(([name, { data }]) => [name, (data as Float32Array)[0]!]));

/**
 * One compiled train step: forward, backward, clipping and AdamW in one graph. The caller fills `batch` and runs it; several
 * steps (of other batch shapes or other objectives) can share one state.
 */
export class TrainStep<B extends BatchTypes> {
  readonly batch: BatchTensors<B>;
  readonly program: Program;
  /** What the objective names beside its metrics, as the last step left it. */
  readonly statistics: Tensors;
  readonly #metrics: Tensors;
  readonly #update: BoundUpdate;

  static async create<B extends BatchTypes>(backend: Backend, state: TrainState, batchTypes: B, objective: ObjectiveOf<B>, options: StepOptions): Promise<TrainStep<B>> {
    const program = await compile(
      backend,
      (v) => {
        const { loss, metrics, statistics = {}, gradients } = differentiated(state, objective, v);
        const { next, grad_norm } = optimized(state, gradients, v, options);
        return { next, metrics: { loss, grad_norm, ...metrics }, statistics };
      },
      { ...objectiveTypes(state, batchTypes), ...optimizerTypes(state) },
      { ...options.session, frozen: keptOf(state.base) },
    );
    return new TrainStep(backend, state, batchTypes, program, options);
  }

  private constructor(backend: Backend, state: TrainState, batchTypes: B, program: Program, options: StepOptions) {
    this.program = program;
    this.batch = allocate(backend, batchTypes) as BatchTensors<B>;
    this.#metrics = outputsUnder(backend, program, "metrics");
    this.statistics = outputsUnder(backend, program, "statistics");
    this.#update = new BoundUpdate(backend, state, program, options, this.#metrics["grad_norm"]!, { batch: this.batch }, { metrics: this.#metrics, statistics: this.statistics });
  }

  /** Takes one step on what is in `batch`. */
  async run(learningRate: number, { blocking = false }: { blocking?: boolean } = {}): Promise<StepMetrics> {
    await this.#update.run(learningRate, blocking);
    return numbersOf(this.#metrics) as StepMetrics;
  }

  dispose(): void {
    this.#update.dispose();
    this.program.dispose();
  }
}

/**
 * The optimiser's half of a step: clipping and AdamW on gradients that `GradientStep`s have added up. One serves micro-batches of
 * all shapes.
 */
export class OptimizerStep {
  /** What the gradients of micro-batches are written to before they are added. */
  readonly gradients: Tensors;
  readonly #sums: Tensors;
  readonly #norm: DeviceTensor;
  readonly #program: Program;
  readonly #update: BoundUpdate;

  static async create(backend: Backend, state: TrainState, options: StepOptions): Promise<OptimizerStep> {
    const program = await compile(backend, (v) => optimized(state, v.gradients as Values, v, options), { parameters: policyTypes(state.base, state.policy).parameters, gradients: state.trainedTypes, ...optimizerTypes(state) }, options.session);
    return new OptimizerStep(backend, state, program, options);
  }

  private constructor(backend: Backend, state: TrainState, program: Program, options: StepOptions) {
    this.#program = program;
    this.gradients = allocate(backend, state.trainedTypes);
    this.#sums = allocate(backend, state.trainedTypes);
    this.#norm = backend.tensor("float32", []);
    this.#update = new BoundUpdate(backend, state, program, options, this.#norm, { gradients: this.#sums }, { grad_norm: this.#norm });
  }

  /** Adds what the last micro-batch has written to `gradients`. */
  add(): void {
    for (const [name, { data }] of Object.entries(this.gradients)) {
      const sum = this.#sums[name]!.data as Float32Array;
      const part = data as Float32Array;
      for (let i = 0; i < sum.length; i++) sum[i] = sum[i]! + part[i]!;
    }
  }

  /** Takes one step on the sum, and forgets it; returns its norm before clipping. */
  async run(learningRate: number, { blocking = false }: { blocking?: boolean } = {}): Promise<number> {
    try {
      await this.#update.run(learningRate, blocking);
    } finally {
      for (const { data } of Object.values(this.#sums)) (data as Float32Array).fill(0);
    }
    return (this.#norm.data as Float32Array)[0]!;
  }

  dispose(): void {
    this.#update.dispose();
    this.#program.dispose();
    for (const tensor of [...Object.values(this.gradients), ...Object.values(this.#sums), this.#norm]) tensor.dispose();
  }
}

/** The gradients of an objective on a micro-batch, written where an `OptimizerStep` adds them. */
export class GradientStep<B extends BatchTypes> {
  readonly batch: BatchTensors<B>;
  readonly #state: TrainState;
  readonly #program: Program;
  readonly #metrics: Tensors;
  readonly #bindings: readonly Binding[];

  static async create<B extends BatchTypes>(backend: Backend, state: TrainState, batchTypes: B, objective: ObjectiveOf<B>, { gradients }: OptimizerStep, session: SessionOptions = {}): Promise<GradientStep<B>> {
    const program = await compile(
      backend,
      (v) => {
        const { loss, metrics, gradients } = differentiated(state, objective, v);
        return { gradients, metrics: { loss, ...metrics } };
      },
      objectiveTypes(state, batchTypes),
      { ...session, frozen: keptOf(state.base) },
    );
    return new GradientStep(backend, state, batchTypes, program, gradients);
  }

  private constructor(backend: Backend, state: TrainState, batchTypes: B, program: Program, gradients: Tensors) {
    this.#state = state;
    this.#program = program;
    this.batch = allocate(backend, batchTypes) as BatchTensors<B>;
    this.#metrics = outputsUnder(backend, program, "metrics");
    this.#bindings = state.directions.map(([from]) => program.bind({ parameters: from.policy, batch: this.batch }, { gradients, metrics: this.#metrics }));
  }

  /** Reads the parameters as they are and moves nothing; returns the objective's metrics with its `loss`. */
  async run({ blocking = false }: { blocking?: boolean } = {}): Promise<Record<string, number>> {
    await runBinding(this.#bindings[this.#state.current]!, blocking);
    return numbersOf(this.#metrics);
  }

  dispose(): void {
    for (const binding of this.#bindings) binding.dispose();
    this.#program.dispose();
  }
}

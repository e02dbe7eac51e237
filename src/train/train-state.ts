import type { ParameterTensors } from "../engine/model-parameters.ts";
import { parameterCount, type ParameterSpec } from "../model/index.ts";
import { allocate, type Backend, type DeviceTensor } from "../runtime/index.ts";
import type { TensorType } from "../tensor/index.ts";
import { noBase, type FrozenBase } from "./frozen-base.ts";

const floatTypes = (specs: readonly ParameterSpec[]): Record<string, TensorType> => Object.fromEntries(specs.map(({ name, shape }) => [name, { shape, dtype: "float32" }]));

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
    const zeros = (): Record<string, DeviceTensor> => allocate(backend, floatTypes(trained));
    // What no gradient moves is one tensor in both sets.
    const fixed = allocate(backend, floatTypes(specs.filter((s) => !s.trainable)));
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

  /** Of the gradients, and of each moment. */
  get trainedTypes(): Readonly<Record<string, TensorType>> {
    return floatTypes(this.specs.filter((s) => s.trainable));
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

import { LongjingError } from "../errors/index.ts";
import type { DType, TypedArray } from "../tensor/value.ts";
import type { Binding, DeviceTensor, LoadValues, Memory, Session } from "./backend.ts";
import { checkMemory, showShape } from "./memory.ts";

/** What is open, by kind. A program that disposes of everything ends at zero. */
export const liveObjects = { sessions: 0, bindings: 0, tensors: 0 };

/** How a runtime library represents a tensor over memory of ours. */
export interface TensorDriver<Handle> {
  wrap(dtype: DType, shape: readonly number[], data: TypedArray): Handle;
  release(handle: Handle): void;
}

/** A tensor over a typed array. The library keeps the address of the memory, so this object keeps the array. */
export class HostTensor<Handle, D extends DType = DType> implements DeviceTensor<D> {
  readonly dtype: D;
  readonly shape: readonly number[];
  readonly data: Memory[D];
  readonly load: LoadValues | undefined;
  readonly driver: TensorDriver<Handle>;
  readonly handle: Handle;
  readonly #released: () => void;
  /** Its owner, until disposed, and the bindings that it is part of. */
  #holders = 1;
  #disposed = false;

  /** @param released is called when nobody uses the memory any more */
  constructor(driver: TensorDriver<Handle>, dtype: D, shape: readonly number[], data: Memory[D], released = (): void => {}, load?: LoadValues) {
    // V8 keeps an array of up to 64 bytes inside its own heap, where it moves, until somebody asks for its buffer.
    void data.buffer;
    this.dtype = dtype;
    this.shape = shape;
    this.data = data;
    this.load = load;
    this.driver = driver;
    this.#released = released;
    this.handle = driver.wrap(dtype, shape, data);
    liveObjects.tensors++;
  }

  get disposed(): boolean {
    return this.#disposed;
  }

  hold(): void {
    this.#holders++;
  }

  letGo(): void {
    if (--this.#holders > 0) return;
    this.driver.release(this.handle);
    liveObjects.tensors--;
    this.#released();
  }

  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.letGo();
  }
}

/** A tensor over memory that another one has, which it keeps. */
export function viewOf<Handle, D extends DType>(driver: TensorDriver<Handle>, dtype: D, shape: readonly number[], data: Memory[D], owner?: DeviceTensor, load?: LoadValues): HostTensor<Handle, D> {
  checkMemory(dtype, shape, data);
  if (!owner) return new HostTensor(driver, dtype, shape, data, undefined, load);
  requireOwn(driver, owner, "owner");
  owner.hold();
  return new HostTensor(driver, dtype, shape, data, () => owner.letGo(), load);
}

/** An input or output as the model declares it. A dimension is null where any size will do. */
export interface Declared {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly (number | null)[];
}

export type Bound<Handle> = readonly (readonly [name: string, tensor: HostTensor<Handle>])[];

/** What a runtime library does for one session. The life cycle around it is the same for all of them. */
export interface SessionDriver<Handle> {
  readonly tensors: TensorDriver<Handle>;
  readonly inputs: readonly Declared[];
  readonly outputs: readonly Declared[];
  bind(inputs: Bound<Handle>, outputs: Bound<Handle>): BindingDriver;
  release(): void;
}

export interface BindingDriver {
  runSync(): void;
  run(): Promise<unknown>;
  release(): void;
}

/** A session over a library's. Disposing it disposes its bindings; what a run is using goes when the run ends. */
export class ManagedSession<Handle> implements Session {
  readonly inputNames: readonly string[];
  readonly outputNames: readonly string[];
  readonly #driver: SessionDriver<Handle>;
  readonly #bindings = new Set<ManagedBinding<Handle>>();
  readonly #initializers: Bound<Handle>;
  #disposed = false;

  /** @param initializers tensors whose memory the session reads for as long as it lives */
  constructor(driver: SessionDriver<Handle>, initializers: Bound<Handle> = []) {
    this.#driver = driver;
    this.#initializers = initializers;
    for (const [, tensor] of initializers) tensor.hold();
    this.inputNames = driver.inputs.map(({ name }) => name);
    this.outputNames = driver.outputs.map(({ name }) => name);
    liveObjects.sessions++;
  }

  bind(inputs: Readonly<Record<string, DeviceTensor>>, outputs: Readonly<Record<string, DeviceTensor>>): Binding {
    if (this.#disposed) throw new LongjingError("conflict", "The session is disposed");
    const { tensors } = this.#driver;
    const ins = match("input", this.#driver.inputs, inputs, tensors);
    const outs = match("output", this.#driver.outputs, outputs, tensors);
    const held = [...ins, ...outs].map(([, tensor]) => tensor);
    const binding = new ManagedBinding(this.#driver.bind(ins, outs), held, () => this.#forget(binding));
    this.#bindings.add(binding);
    return binding;
  }

  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    if (this.#bindings.size === 0) this.#release();
    for (const binding of this.#bindings) binding.dispose();
  }

  #forget(binding: ManagedBinding<Handle>): void {
    this.#bindings.delete(binding);
    if (this.#disposed && this.#bindings.size === 0) this.#release();
  }

  #release(): void {
    this.#driver.release();
    for (const [, tensor] of this.#initializers) tensor.letGo();
    liveObjects.sessions--;
  }
}

class ManagedBinding<Handle> implements Binding {
  readonly #driver: BindingDriver;
  readonly #held: readonly HostTensor<Handle>[];
  readonly #released: () => void;
  #running = false;
  #disposed = false;

  constructor(driver: BindingDriver, held: readonly HostTensor<Handle>[], released: () => void) {
    this.#driver = driver;
    this.#held = held;
    this.#released = released;
    for (const tensor of held) tensor.hold();
    liveObjects.bindings++;
  }

  runSync(): void {
    this.#begin();
    try {
      this.#driver.runSync();
    } finally {
      this.#end();
    }
  }

  async run(): Promise<void> {
    this.#begin();
    try {
      await this.#driver.run();
    } finally {
      this.#end();
    }
  }

  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    if (!this.#running) this.#release();
  }

  #begin(): void {
    if (this.#disposed) throw new LongjingError("conflict", "The binding is disposed");
    if (this.#running) throw new LongjingError("conflict", "The binding is running already, and has one set of outputs", { hint: "Await the run, or bind a second set." });
    this.#running = true;
  }

  #end(): void {
    this.#running = false;
    if (this.#disposed) this.#release();
  }

  #release(): void {
    this.#driver.release();
    for (const tensor of this.#held) tensor.letGo();
    liveObjects.bindings--;
    this.#released();
  }
}

/**
 * The tensors with their names, in the order of `declared`.
 *
 * @throws LongjingError `bad_argument` for a missing or unknown name or a wrong dtype, `shape_mismatch` for a wrong shape.
 */
function match<Handle>(kind: "input" | "output", declared: readonly Declared[], given: Readonly<Record<string, DeviceTensor>>, driver: TensorDriver<Handle>): Bound<Handle> {
  const expected = declared.map(({ name }) => name).join(", ");
  for (const name of Object.keys(given))
    if (!declared.some((each) => each.name === name)) throw new LongjingError("bad_argument", `The session has no ${kind} "${name}"`, { expected });
  return declared.map(({ name, dtype, shape }) => {
    const tensor = given[name];
    const where = `${kind} "${name}"`;
    if (tensor === undefined) throw new LongjingError("bad_argument", `The ${where} is not bound`, { got: Object.keys(given).join(", "), expected });
    requireOwn(driver, tensor, where);
    if (tensor.load) throw new LongjingError("bad_argument", "A tensor whose values come later can be frozen alone", { where });
    if (tensor.dtype !== dtype) throw new LongjingError("bad_argument", "Wrong dtype", { where, got: tensor.dtype, expected: dtype });
    if (tensor.shape.length !== shape.length || shape.some((size, axis) => size !== null && size !== tensor.shape[axis]))
      throw new LongjingError("shape_mismatch", "Wrong shape", { where, got: showShape(tensor.shape), expected: showShape(shape) });
    return [name, tensor];
  });
}

/** @throws LongjingError `bad_argument` unless all are tensors of this library that live */
export function ownTensors<Handle>(driver: TensorDriver<Handle>, tensors: Readonly<Record<string, DeviceTensor>>): Bound<Handle> {
  return Object.entries(tensors).map(([name, tensor]) => {
    requireOwn(driver, tensor, `"${name}"`);
    return [name, tensor];
  });
}

function requireOwn<Handle>(driver: TensorDriver<Handle>, tensor: DeviceTensor, where: string): asserts tensor is HostTensor<Handle> {
  if (!(tensor instanceof HostTensor) || tensor.driver !== driver || tensor.disposed) throw new LongjingError("bad_argument", "The tensor is disposed, or of another backend", { where });
}

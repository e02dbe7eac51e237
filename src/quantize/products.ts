import { allocate, compile, type Backend, type Binding, type Program } from "../runtime/index.ts";
import { matmul } from "../tensor/index.ts";
import { blockLength } from "./grid.ts";

/** out [rows, 32] = left [rows, columns] · right [32, columns]ᵀ; the operands are written in place. */
export interface BlockProduct {
  readonly left: Float32Array;
  readonly right: Float32Array;
  readonly out: Float32Array;
  run(): Promise<void>;
}

/** Products of a matrix with a block's rows of another, by the backend's kernels; those of one shape share their memory. */
export class BlockProducts {
  readonly #backend: Backend;
  readonly #made = new Map<string, Promise<{ readonly product: BlockProduct; readonly program: Program; readonly binding: Binding; readonly tensors: Iterable<{ dispose(): void }> }>>();

  constructor(backend: Backend) {
    this.#backend = backend;
  }

  async of(rows: number, columns: number): Promise<BlockProduct> {
    const key = `${rows} ${columns}`;
    const made = this.#made.get(key) ?? this.#make(rows, columns);
    this.#made.set(key, made);
    return (await made).product;
  }

  async dispose(): Promise<void> {
    for (const making of this.#made.values()) {
      const { program, binding, tensors } = await making;
      binding.dispose();
      program.dispose();
      for (const tensor of tensors) tensor.dispose();
    }
  }

  async #make(rows: number, columns: number) {
    const operands = { left: { shape: [rows, columns], dtype: "float32" }, right: { shape: [blockLength, columns], dtype: "float32" } } as const;
    const program = await compile(this.#backend, ({ left, right }) => ({ out: matmul(left, right, { transB: true }) }), operands);
    const tensors = allocate(this.#backend, { ...operands, out: { shape: [rows, blockLength], dtype: "float32" } });
    const { left, right, out } = tensors;
    const binding = program.bind({ left, right }, { out });
    return { product: { left: left.data, right: right.data, out: out.data, run: () => binding.run() }, program, binding, tensors: Object.values(tensors) };
  }
}

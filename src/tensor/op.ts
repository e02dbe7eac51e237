import { LongjingError } from "../errors/index.ts";
import type { NdArray } from "./nd-array.ts";
import type { Attributes, Dim, DType, Node, Shape, TensorType, TypedArray, Value } from "./value.ts";

/**
 * Everything about one operation: the types it produces, its gradient, how it is written as ONNX, and what it computes, in
 * plain loops. The gradient is a rule or the word "none", said on purpose.
 */
export interface Op<A extends Attributes = Attributes> {
  readonly name: string;
  /** Types of the outputs; throws `shape_mismatch` where the inputs do not fit. */
  readonly infer: (inputs: readonly TensorType[], attributes: A) => readonly TensorType[];
  /**
   * Cotangents of the inputs from cotangents of the outputs; null where there is none. They may be broadcast against the
   * input's shape: the driver in grad.ts sums them back.
   */
  readonly vjp: "none" | ((context: VjpContext<A>) => readonly (Value | null)[]);
  readonly lower: (context: LowerContext<A>) => void;
  /** The meaning, in double precision: what every provider is tested against. */
  readonly reference: (inputs: readonly NdArray[], attributes: A, outputs: readonly TensorType[]) => readonly NdArray[];
}

export interface VjpContext<A> {
  readonly inputs: readonly Value[];
  readonly outputs: readonly Value[];
  /** Cotangent of each output; null where nothing flows back. */
  readonly cotangents: readonly (Value | null)[];
  readonly attributes: A;
  /** Whether the cotangent of each input is wanted: a rule may skip work for those that are not. */
  readonly wanted: readonly boolean[];
}

/** Which family of kernels will run the graph: contrib fused kernels exist on the CPU builds only. */
export type Target = "cpu" | "webgpu";

export type OnnxAttribute = number | string | readonly number[] | { readonly float: number };

/** What an op's lowering may do: append ONNX nodes, and constants that they need. Tensors go by name; "" is an absent input. */
export interface LowerContext<A> {
  readonly target: Target;
  readonly attributes: A;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly inputTypes: readonly TensorType[];
  readonly outputTypes: readonly TensorType[];
  /** Whether each input is a part of the model, the same at every run. */
  readonly stored: readonly boolean[];
  /** Whether our own operators may be used (kernels). */
  readonly ownKernels: boolean;
  node(opType: string, inputs: readonly string[], outputs: readonly string[], attributes?: Record<string, OnnxAttribute>, domain?: string): void;
  /** Name of an int64 vector constant. */
  int64(values: readonly number[]): string;
  /** Name of an int64 vector: a shape, its named dimensions as they are when the graph runs. */
  shape(dims: Shape): string;
  /** Name of a float vector of ones. */
  ones(width: number): string;
  /** Name of a float scalar constant. */
  float(value: number): string;
  /** A fresh name for an intermediate. */
  fresh(): string;
}

/** Domain of ONNX Runtime's own operators. */
export const contrib = "com.microsoft";

/** Domain of our own operators (kernels). */
export const ownDomain = "longjing";

/** The most dimensions of a tensor that they read (kernels/operator.h). */
export const mostDimensions = 4;

let nextId = 0;

/** Applies an op. Returns all outputs. */
export function applyAll<A extends Attributes>(op: Op<A>, inputs: readonly Value[], attributes: A): readonly Value[] {
  const types = op.infer(inputs, attributes);
  const outputs: Value[] = [];
  // Ops are stored with their attribute type erased: a node always carries the attributes its op was applied with.
  const node: Node = { id: nextId++, op: op as unknown as Op, inputs, attributes, outputs };
  types.forEach(({ shape, dtype }, output) => outputs.push({ node, output, shape, dtype }));
  return outputs;
}

/** Applies an op that has one output. */
export function apply<A extends Attributes>(op: Op<A>, inputs: readonly Value[], attributes: A): Value {
  return applyAll(op, inputs, attributes)[0] as Value;
}

export type NoAttributes = Readonly<Record<never, never>>;
export const noAttributes: NoAttributes = {};

/** Placeholder for data that is bound at run time. `name` is how it is bound. */
export const inputOp: Op<{ name: string; shape: Shape; dtype: DType }> = {
  name: "input",
  infer: (_, { shape, dtype }) => [{ shape, dtype }],
  vjp: "none",
  lower: () => {},
  reference: (_, { name }) => {
    throw new LongjingError("bad_argument", "an input has no value of its own", { where: name });
  },
};

export function input(name: string, shape: Shape, dtype: DType = "float32"): Value {
  return apply(inputOp, [], { name, shape, dtype });
}

/** Data known when the graph is traced. */
export const constantOp: Op<{ data: TypedArray; shape: readonly number[]; dtype: DType }> = {
  name: "constant",
  infer: (_, { shape, dtype }) => [{ shape, dtype }],
  vjp: "none",
  lower: () => {},
  reference: (_, { data, shape, dtype }) => [{ shape, dtype, data: Float64Array.from(data as ArrayLike<number | bigint>, Number) }],
};

/** A float32 constant from numbers; a bare number gives a scalar. */
export function constant(data: number | Float32Array, shape?: readonly number[]): Value {
  const values = typeof data === "number" ? Float32Array.of(data) : data;
  return apply(constantOp, [], { data: values, shape: shape ?? (typeof data === "number" ? [] : [values.length]), dtype: "float32" });
}

/** An int64 constant. */
export function constantInt64(values: readonly number[], shape: readonly number[] = [values.length]): Value {
  return apply(constantOp, [], { data: BigInt64Array.from(values, BigInt), shape, dtype: "int64" });
}

/** An argument that may be a plain number where a scalar would do. */
export type Operand = Value | number;
export const lift = (x: Operand): Value => (typeof x === "number" ? constant(x) : x);

/** Throws unless `condition`: how shape rules refuse. */
export function requireShape(condition: boolean, op: string, got: unknown, expected: string): asserts condition {
  if (!condition) throw new LongjingError("shape_mismatch", "shapes do not fit", { where: op, got, expected });
}

export const sameShape = (a: Shape, b: Shape): boolean => a.length === b.length && a.every((d, i) => d === b[i]);

/** The size of a dimension that must be known when tracing. */
export function sizeOf(dim: Dim | undefined, where: string): number {
  requireShape(typeof dim === "number", where, dim, "a size that is known when the graph is traced");
  return dim;
}

/** Numpy's broadcasting; a named dimension fits itself and 1. */
export function broadcastShapes(a: Shape, b: Shape, where: string): Shape {
  const rank = Math.max(a.length, b.length);
  return Array.from({ length: rank }, (_, i) => {
    const x = a[i - rank + a.length] ?? 1;
    const y = b[i - rank + b.length] ?? 1;
    requireShape(x === y || x === 1 || y === 1, where, [a, b], "equal dimensions, or 1");
    return x === 1 ? y : x;
  });
}

/** Lowers to a node with one output that has no name yet; returns its name. */
export function emit(c: Pick<LowerContext<never>, "node" | "fresh">, op: string, inputs: readonly string[], attributes: Parameters<LowerContext<never>["node"]>[3] = {}): string {
  const out = c.fresh();
  c.node(op, inputs, [out], attributes);
  return out;
}

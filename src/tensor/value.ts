import type { Op } from "./op.ts";

/** Element types. Names are ONNX's, lower case. */
export type DType = "float32" | "int64" | "int32" | "bool" | "uint8";

/** A dimension is a size, or a name that stands for one size throughout a graph (`'batch'`, `'past'`). */
export type Dim = number | string;
export type Shape = readonly Dim[];

export interface TensorType {
  readonly shape: Shape;
  readonly dtype: DType;
}

/** A symbolic, immutable tensor: one output of one node of the graph that is being traced. It holds no data. */
export interface Value extends TensorType {
  readonly node: Node;
  /** Which output of `node` it is. */
  readonly output: number;
}

/** One application of an op. Ids rise in creation order, so sorting by id is a topological order. */
export interface Node {
  readonly id: number;
  readonly op: Op;
  readonly inputs: readonly Value[];
  readonly attributes: Attributes;
  readonly outputs: readonly Value[];
}

export type Attribute = number | boolean | string | readonly Dim[] | TypedArray | undefined;
export type Attributes = Readonly<Record<string, Attribute>>;

/** Memory of a tensor: one class for each DType (bool and uint8 share bytes). */
export type TypedArray = Float32Array | BigInt64Array | Int32Array | Uint8Array;

import { LongjingError } from "../errors/index.ts";
import type { Graph } from "../tensor/graph.ts";
import { constantOp, contrib, inputOp, ownDomain, sizeOf, type LowerContext, type OnnxAttribute, type Target } from "../tensor/op.ts";
import { chooseKernels } from "../tensor/own-kernel.ts";
import type { Dim, DType, Node, Shape, TensorType, TypedArray, Value } from "../tensor/value.ts";
import { join, ProtobufWriter } from "./protobuf.ts";

/** TensorProto.DataType of the ONNX specification. */
const dataType: Record<DType, number> = { float32: 1, uint8: 2, int32: 6, int64: 7, bool: 9 };

/** AttributeProto.AttributeType. */
const attributeType = { float: 1, int: 2, string: 3, ints: 7 } as const;

/** TensorProto.DataLocation.EXTERNAL. */
const external = 1;

// onnxruntime-web 1.30 and onnxruntime-node 1.30 both run opset 21; its IR version is 10.
const irVersion = 10;
const opset = 21;

/**
 * Writes a graph as an ONNX model (field numbers are those of onnx.proto3). Every graph output becomes a model output under
 * its own name; named dimensions become dim_param.
 */
export const toOnnx = (graph: Graph, target: Target, options: ModelOptions = {}): Uint8Array => lowered(graph, target, options).model;

/** The same, and which names are read by other operators than ours. */
export function lowered(graph: Graph, target: Target, { frozen = new Map(), ownKernels = false }: ModelOptions = {}): { readonly model: Uint8Array; readonly readByOthers: ReadonlySet<string> } {
  const writer = new ModelWriter(graph, target, new Map(Array.from(frozen, ([name, location]) => [name, { location }])), ownKernels);
  return { model: join(writer.write()), readByOthers: writer.readByOthers };
}

export interface ModelOptions {
  /** Inputs that become initializers without data, and the file that each names; their shapes have no named dimensions. */
  readonly frozen?: ReadonlyMap<string, string>;
  /** Whether the model may use our own operators, which need our own kernels (kernels). Default false. */
  readonly ownKernels?: boolean;
}

/** Where the data of an initializer is: here, or in a file beside the model. */
export type StoredData = Uint8Array | { readonly location: string; readonly offset?: number; readonly length?: number };

/**
 * The same as pieces of a file, whose concatenation is the model: what is stored here is never copied.
 * @param stored inputs that become initializers, and their data
 */
export function onnxPieces(graph: Graph, target: Target, stored: ReadonlyMap<string, StoredData>): readonly Uint8Array[] {
  return new ModelWriter(graph, target, stored, false).write();
}

class ModelWriter {
  readonly #graph: Graph;
  readonly #stored: ReadonlyMap<string, StoredData>;
  readonly #target: Target;
  readonly #ownKernels: boolean;
  readonly #out = new ProtobufWriter();
  readonly #names = new Map<Value, string>();
  readonly #initializers = new Map<string, { readonly type: TensorType; readonly data: Uint8Array }>();
  readonly #shapes = new Map<string, string>();
  readonly readByOthers = new Set<string>();
  #nodeCount = 0;
  #count = 0;

  constructor(graph: Graph, target: Target, stored: ReadonlyMap<string, StoredData>, ownKernels: boolean) {
    this.#graph = chooseKernels(graph, ownKernels);
    this.#stored = stored;
    this.#target = target;
    this.#ownKernels = ownKernels;
    const { inputs, outputs } = this.#graph;
    for (const [name, value] of inputs) this.#names.set(value, name);
    // A value that is an output is written under the output's name at once; a second name for it is copied in #writeGraph().
    for (const [name, value] of outputs) if (!this.#names.has(value) && value.node.op.name !== constantOp.name) this.#names.set(value, name);
  }

  write(): readonly Uint8Array[] {
    const out = this.#out;
    out.int(1, irVersion);
    out.string(2, "longjing");
    out.message(7, () => this.#writeGraph());
    for (const [domain, version] of [["", opset], [contrib, 1], ...(this.#ownKernels ? [[ownDomain, 1] as const] : [])] as const)
      out.message(8, () => {
        out.string(1, domain);
        out.int(2, version);
      });
    return out.pieces();
  }

  #writeGraph(): void {
    const { inputs, nodes, outputs } = this.#graph;
    for (const node of nodes) this.#add(node);
    for (const [name, value] of outputs) if (this.#name(value) !== name) this.#node("Identity", [this.#name(value)], [name]);
    this.#out.string(2, "longjing");
    for (const [name, { type, data }] of this.#initializers) this.#tensor(name, type, data);
    for (const [name, value] of inputs) if (this.#stored.has(name)) this.#tensor(name, value, this.#stored.get(name)!);
    for (const [name, value] of inputs) if (!this.#stored.has(name)) this.#declare(11, name, value);
    for (const [name, value] of outputs) this.#declare(12, name, value);
  }

  #add(node: Node): void {
    if (node.op.name === inputOp.name) return;
    if (node.op.name === constantOp.name) {
      const { data, shape } = node.attributes as { data: TypedArray; shape: readonly number[] };
      this.#names.set(node.outputs[0]!, this.#initializer(data, shape, node.outputs[0]!.dtype));
      return;
    }
    const inputs = node.inputs.map((v) => this.#name(v));
    node.op.lower({
      target: this.#target,
      attributes: node.attributes,
      inputs,
      outputs: node.outputs.map((v) => this.#name(v)),
      inputTypes: node.inputs,
      outputTypes: node.outputs,
      stored: node.inputs.map((v, i) => v.node.op.name === constantOp.name || this.#stored.has(inputs[i]!)),
      ownKernels: this.#ownKernels,
      node: this.#node,
      int64: this.#int64,
      shape: this.#shape,
      ones: this.#ones,
      float: this.#float,
      fresh: this.#fresh,
    });
  }

  /** Computed once a run for each shape that is asked for. */
  readonly #shape = (dims: Shape): string => {
    const key = dims.join();
    const found = this.#shapes.get(key);
    if (found !== undefined) return found;
    const parts = dims.map((d) => (typeof d === "number" ? this.#int64([d]) : this.#dimension(d)));
    const name = parts.length === 1 ? parts[0]! : this.#fresh();
    if (parts.length > 1) this.#node("Concat", parts, [name], { axis: 0 });
    this.#shapes.set(key, name);
    return name;
  };

  /** The size of a named dimension, read off an input that has it. */
  #dimension(dim: string): string {
    const [input, v] = this.#graph.inputs.find(([, each]) => each.shape.includes(dim)) ?? [];
    if (input === undefined || v === undefined) throw new LongjingError("bad_argument", "a named dimension that no input has", { where: this.#graph.inputs.map(([name]) => name).join(), got: dim });
    const name = `dim_${dim}`;
    const axis = v.shape.indexOf(dim);
    if (!this.#shapes.has(name)) this.#node("Shape", [input], [name], { start: axis, end: axis + 1 });
    this.#shapes.set(name, name);
    return name;
  }

  readonly #fresh = (): string => `v${this.#count++}`;

  #name(value: Value): string {
    let name = this.#names.get(value);
    if (name === undefined) this.#names.set(value, (name = this.#fresh()));
    return name;
  }

  readonly #node: LowerContext<never>["node"] = (opType, inputs, outputs, attributes = {}, domain = "") => {
    if (domain !== ownDomain) for (const name of inputs) this.readByOthers.add(name);
    const out = this.#out;
    out.message(1, () => {
      for (const name of inputs) out.string(1, name);
      for (const name of outputs) out.string(2, name);
      out.string(3, `${opType}_${this.#nodeCount++}`);
      out.string(4, opType);
      for (const [name, value] of Object.entries(attributes)) out.message(5, () => writeAttribute(out, name, value));
      out.string(7, domain);
    });
  };

  readonly #int64 = (values: readonly number[]): string => this.#initializer(BigInt64Array.from(values, BigInt), [values.length], "int64");
  readonly #float = (value: number): string => this.#initializer(Float32Array.of(value), [], "float32");
  readonly #ones = (width: number): string => this.#initializer(new Float32Array(width).fill(1), [width], "float32");

  /** Small constants are shared by their content. */
  #initializer(data: TypedArray, shape: readonly number[], dtype: DType): string {
    const name = data.length <= 16 ? `c_${dtype}_${shape.join("x")}_${data.join("_")}` : `c${this.#count++}`;
    if (!this.#initializers.has(name)) this.#initializers.set(name, { type: { shape, dtype }, data: new Uint8Array(data.buffer, data.byteOffset, data.byteLength) });
    return name;
  }

  /** A part of the model, or of a file beside it. */
  #tensor(name: string, { shape, dtype }: TensorType, data: StoredData): void {
    const out = this.#out;
    out.message(5, () => {
      for (const d of shape) out.int(1, sizeOf(d, name));
      out.int(2, dataType[dtype]);
      out.string(8, name);
      if (data instanceof Uint8Array) return out.bytes(9, data);
      for (const [key, value] of Object.entries(data))
        out.message(13, () => {
          out.string(1, key);
          out.string(2, String(value));
        });
      out.int(14, external);
    });
  }

  /** An input or an output of the model. */
  #declare(field: number, name: string, { shape, dtype }: TensorType): void {
    const out = this.#out;
    const dimension = (d: Dim): void => (typeof d === "number" ? out.int(1, d) : out.string(2, d));
    const dimensions = (): void => shape.forEach((d) => out.message(1, () => dimension(d)));
    const tensor = (): void => {
      out.int(1, dataType[dtype]);
      out.message(2, dimensions);
    };
    out.message(field, () => {
      out.string(1, name);
      out.message(2, () => out.message(1, tensor));
    });
  }
}

function writeAttribute(out: ProtobufWriter, name: string, value: OnnxAttribute): void {
  out.string(1, name);
  if (typeof value === "number") {
    out.int(3, value);
    out.int(20, attributeType.int);
  } else if (typeof value === "string") {
    out.string(4, value);
    out.int(20, attributeType.string);
  } else if ("float" in value) {
    out.float(2, value.float);
    out.int(20, attributeType.float);
  } else {
    for (const each of value) out.int(8, each);
    out.int(20, attributeType.ints);
  }
}

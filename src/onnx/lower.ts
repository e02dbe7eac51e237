import { LongjingError } from "../errors/index.ts";
import type { Graph } from "../tensor/graph.ts";
import { constantOp, contrib, inputOp, ownDomain, sizeOf, type LowerContext, type OnnxAttribute, type Target } from "../tensor/op.ts";
import type { DType, Node, Shape, TypedArray, Value } from "../tensor/value.ts";
import { bytes, float, int, join, message, string, type Chunks } from "./protobuf.ts";

/** TensorProto.DataType of the ONNX specification. */
const dataType: Record<DType, number> = { float32: 1, uint8: 2, int32: 6, int64: 7, bool: 9 };

/** AttributeProto.AttributeType. */
const attributeType = { float: 1, int: 2, string: 3, ints: 7 } as const;

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
  readonly #target: Target;
  readonly #stored: ReadonlyMap<string, StoredData>;
  readonly #ownKernels: boolean;
  readonly #names = new Map<Value, string>();
  readonly #nodes: Chunks[] = [];
  readonly #initializers = new Map<string, Chunks>();
  readonly #shapes = new Map<string, string>();
  readonly readByOthers = new Set<string>();
  #count = 0;

  constructor(graph: Graph, target: Target, stored: ReadonlyMap<string, StoredData>, ownKernels: boolean) {
    this.#ownKernels = ownKernels;
    this.#graph = graph;
    this.#target = target;
    this.#stored = stored;
    for (const [name, value] of graph.inputs) this.#names.set(value, name);
    // A value that is an output is written under the output's name at once; a second name for it is copied in #finish().
    for (const [name, value] of graph.outputs) if (!this.#names.has(value) && value.node.op.name !== constantOp.name) this.#names.set(value, name);
  }

  write(): Chunks {
    for (const node of this.#graph.nodes) this.#add(node);
    return this.#finish();
  }

  #add(node: Node): void {
    if (node.op.name === inputOp.name) return;
    if (node.op.name === constantOp.name) {
      const { data, shape } = node.attributes as { data: TypedArray; shape: readonly number[] };
      this.#names.set(node.outputs[0]!, this.#initializer(data, shape, node.outputs[0]!.dtype));
      return;
    }
    node.op.lower(this.#context(node));
  }

  #finish(): Chunks {
    for (const [name, value] of this.#graph.outputs) if (this.#name(value) !== name) this.#node("Identity", [this.#name(value)], [name]);
    const declared = (field: number, [name, v]: readonly [string, Value]): Chunks => message(field, string(1, name), message(2, message(1, int(1, dataType[v.dtype]), message(2, ...v.shape.map(dimension)))));
    const free = this.#graph.inputs.filter(([name]) => !this.#stored.has(name));
    const kept = this.#graph.inputs.flatMap(([name, v]) => {
      const data = this.#stored.get(name);
      return data === undefined ? [] : [initializer(name, v, data)];
    });
    const graph = message(
      7,
      ...this.#nodes,
      string(2, "longjing"),
      ...this.#initializers.values(),
      ...kept,
      ...free.map((i) => declared(11, i)),
      ...this.#graph.outputs.map((o) => declared(12, o)),
    );
    const domains = [["", opset], [contrib, 1], ...(this.#ownKernels ? [[ownDomain, 1] as const] : [])] as const;
    return [int(1, irVersion), string(2, "longjing"), graph, ...domains.map(([domain, version]) => message(8, string(1, domain), int(2, version)))].flat();
  }

  #context(node: Node): LowerContext<Node["attributes"]> {
    return {
      target: this.#target,
      attributes: node.attributes,
      inputs: node.inputs.map((v) => this.#name(v)),
      outputs: node.outputs.map((v) => this.#name(v)),
      inputTypes: node.inputs,
      stored: node.inputs.map((v) => v.node.op.name === constantOp.name || this.#stored.has(this.#name(v))),
      ownKernels: this.#ownKernels,
      outputTypes: node.outputs,
      node: (opType, inputs, outputs, attributes, domain) => this.#node(opType, inputs, outputs, attributes, domain),
      shape: (dims) => this.#shape(dims),
      int64: (values) => this.#initializer(BigInt64Array.from(values, BigInt), [values.length], "int64"),
      float: (value) => this.#initializer(Float32Array.of(value), [], "float32"),
      ones: (width) => this.#initializer(new Float32Array(width).fill(1), [width], "float32"),
      fresh: () => this.#fresh(),
    };
  }

  /** Computed once a run for each shape that is asked for. */
  #shape(dims: Shape): string {
    const key = dims.join();
    const found = this.#shapes.get(key);
    if (found !== undefined) return found;
    const parts = dims.map((d) => (typeof d === "number" ? this.#initializer(BigInt64Array.of(BigInt(d)), [1], "int64") : this.#dimension(d)));
    const name = parts.length === 1 ? parts[0]! : this.#fresh();
    if (parts.length > 1) this.#node("Concat", parts, [name], { axis: 0 });
    this.#shapes.set(key, name);
    return name;
  }

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

  #fresh(): string {
    return `v${this.#count++}`;
  }

  #name(value: Value): string {
    let name = this.#names.get(value);
    if (name === undefined) this.#names.set(value, (name = this.#fresh()));
    return name;
  }

  #node(opType: string, inputs: readonly string[], outputs: readonly string[], attributes: Record<string, OnnxAttribute> = {}, domain = ""): void {
    if (domain !== ownDomain) for (const name of inputs) this.readByOthers.add(name);
    const written = Object.entries(attributes).map(([key, value]) => message(5, string(1, key), ...attribute(value)));
    this.#nodes.push(message(1, ...inputs.map((n) => string(1, n)), ...outputs.map((n) => string(2, n)), string(3, `${opType}_${this.#nodes.length}`), string(4, opType), ...written, string(7, domain)));
  }

  /** Small constants are shared by their content. */
  #initializer(data: TypedArray, shape: readonly number[], dtype: DType): string {
    const small = data.length <= 16;
    const name = small ? `c_${dtype}_${shape.join("x")}_${Array.from(data as ArrayLike<number | bigint>).join("_")}` : `c${this.#count++}`;
    if (!this.#initializers.has(name)) {
      const raw = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
      this.#initializers.set(name, message(5, ...shape.map((d) => int(1, d)), int(2, dataType[dtype]), string(8, name), bytes(9, raw)));
    }
    return name;
  }
}

/** An input that has become part of the model. */
function initializer(name: string, v: Value, data: StoredData): Chunks {
  const described = [...v.shape.map((d) => int(1, sizeOf(d, name))), int(2, dataType[v.dtype]), string(8, name)];
  if (data instanceof Uint8Array) return message(5, ...described, bytes(9, data));
  const external = 1;
  return message(5, ...described, ...Object.entries(data).map(([key, value]) => message(13, string(1, key), string(2, String(value)))), int(14, external));
}

function attribute(value: OnnxAttribute): Chunks[] {
  if (typeof value === "number") return [int(3, value), int(20, attributeType.int)];
  if (typeof value === "string") return [string(4, value), int(20, attributeType.string)];
  if ("float" in value) return [float(2, value.float), int(20, attributeType.float)];
  return [...value.map((v) => int(8, v)), int(20, attributeType.ints)];
}

const dimension = (d: Shape[number]): Chunks => message(1, typeof d === "number" ? int(1, d) : string(2, d));

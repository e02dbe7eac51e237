import { LongjingError } from "../errors/index.ts";
import { customVjpName } from "./custom-vjp.ts";
import { applyAll, input, inputOp, sameShape } from "./op.ts";
import { addOp } from "./ops/elementwise.ts";
import { scatterAdd, scatterAddOp } from "./ops/index-ops.ts";
import { fitsAddend, matmulAdd, matmulOp } from "./ops/matmul.ts";
import { zerosOp } from "./ops/shape.ts";
import { leaves, mapTree, type Symbolic, type Tree } from "./tree.ts";
import type { Attribute, Node, TensorType, Value } from "./value.ts";

export interface Graph {
  readonly inputs: readonly (readonly [string, Value])[];
  readonly outputs: readonly (readonly [string, Value])[];
  /** What the outputs need, in an order that can be run. */
  readonly nodes: readonly Node[];
}

const isTensorType = (x: unknown): x is TensorType => typeof x === "object" && x !== null && "shape" in x && "dtype" in x;
const isValue = (x: unknown): x is Value => isTensorType(x) && "node" in x;

/** Collects the nodes behind the outputs. Inputs that nothing uses stay inputs, so a graph's signature is what was asked for. */
export function graphOf(inputs: Graph["inputs"], outputs: Graph["outputs"]): Graph {
  const seen = new Set<Node>();
  const stack = outputs.map(([, v]) => v.node);
  while (stack.length > 0) {
    const node = stack.pop()!;
    if (seen.has(node)) continue;
    seen.add(node);
    for (const v of node.inputs) stack.push(v.node);
  }
  return { inputs, outputs, nodes: [...seen].sort((a, b) => a.id - b.id) };
}

/**
 * Runs `f` on symbolic inputs of the given types and records what it does. Inputs and outputs are named by their paths in the
 * trees, joined by "/".
 */
export function trace<I>(f: (inputs: Symbolic<I>) => Tree<Value>, types: I): Graph {
  const symbolic = mapTree<TensorType, Value>(types as Tree<TensorType>, isTensorType, (type, path) => input(path, type.shape, type.dtype));
  const outputs = f(symbolic as Symbolic<I>);
  return graphOf(leaves<Value>(symbolic, isValue), leaves<Value>(outputs, isValue));
}

/**
 * The same function with less work: equal nodes once, transparent nodes gone, sums folded into the products and scatters that
 * feed them. Every rewrite keeps the value of every output.
 */
export function simplify(graph: Graph): Graph {
  const uses = countUses(graph);
  const renamed = new Map<Value, Value>();
  const known = new Map<string, Node>();
  const now = (v: Value): Value => renamed.get(v) ?? v;
  for (const node of graph.nodes) {
    if (node.op.name === inputOp.name) continue;
    const ins = node.inputs.map(now);
    if (node.op.name === customVjpName) {
      node.outputs.forEach((v, i) => renamed.set(v, ins[ins.length - node.outputs.length + i]!));
      continue;
    }
    const folded = node.op.name === addOp.name ? foldSum(node, ins as [Value, Value], uses) : null;
    if (folded) {
      renamed.set(node.outputs[0]!, folded);
      continue;
    }
    const key = nodeKey(node, ins);
    const twin = key === null ? undefined : known.get(key);
    const outs = twin?.outputs ?? (ins.every((v, i) => v === node.inputs[i]) ? node.outputs : applyAll(node.op, ins, node.attributes));
    if (key !== null && !twin && outs.length > 0) known.set(key, outs[0]!.node);
    if (outs !== node.outputs) node.outputs.forEach((v, i) => renamed.set(v, outs[i]!));
  }
  return graphOf(graph.inputs, graph.outputs.map(([name, v]) => [name, now(v)]));
}

/** How often each value is read, by nodes and as an output. */
export function countUses(graph: Graph): Map<Value, number> {
  const uses = new Map<Value, number>();
  const use = (v: Value): void => void uses.set(v, (uses.get(v) ?? 0) + 1);
  for (const node of graph.nodes) for (const v of node.inputs) use(v);
  for (const [, v] of graph.outputs) use(v);
  return uses;
}

/** a + x where x is a scatter into zeros, or a 2-D product without an addend, that nothing else uses; a product's may be a row. */
function foldSum(node: Node, [a, b]: [Value, Value], uses: ReadonlyMap<Value, number>): Value | null {
  const original = node.inputs as [Value, Value];
  for (const [i, x, other] of [[1, b, a], [0, a, b]] as const) {
    if ((uses.get(original[i]) ?? 0) > 1) continue;
    if (sameShape(x.shape, other.shape) && x.node.op.name === scatterAddOp.name && x.node.inputs[0]!.node.op.name === zerosOp.name) return scatterAdd(other, x.node.inputs[1]!, x.node.inputs[2]!);
    if (x.node.op.name === matmulOp.name && x.shape.length === 2 && x.node.inputs.length === 2 && x.node.inputs.every((v) => v.shape.length === 2) && fitsAddend(x.shape, other.shape)) return matmulAdd(x, other);
  }
  return null;
}

const largestKeyed = 64;

/** Equal keys mean equal results; null where comparing costs more than it saves. */
function nodeKey(node: Node, ins: readonly Value[]): string | null {
  const show = (a: Attribute): string | null => {
    if (ArrayBuffer.isView(a)) return a.length > largestKeyed ? null : `${a.constructor.name}(${Array.from(a as ArrayLike<number | bigint>).join()})`;
    return Array.isArray(a) ? `[${a.join()}]` : String(a);
  };
  const attributes = Object.entries(node.attributes).map(([k, a]) => [k, show(a)] as const);
  if (attributes.some(([, text]) => text === null)) return null;
  return `${node.op.name} ${ins.map((v) => `${v.node.id}.${v.output}`).join()} ${attributes.map(([k, text]) => `${k}=${text}`).join()}`;
}

/** Checks that the graph can be run and that every node's types are what its op says; throws where not. */
export function verify(graph: Graph): void {
  const ready = new Set<Value>(graph.inputs.map(([, v]) => v));
  const inputs = new Set(ready);
  for (const node of graph.nodes) {
    if (node.op.name === inputOp.name && !inputs.has(node.outputs[0]!)) throw new LongjingError("bad_argument", "a graph uses an input that it does not declare", { where: String(node.attributes.name) });
    for (const v of node.inputs) if (!ready.has(v)) throw new LongjingError("bad_argument", "a node comes before what it needs", { where: `%${node.id} ${node.op.name}` });
    const types = node.op.infer(node.inputs, node.attributes);
    for (const [i, v] of node.outputs.entries()) {
      const type = types[i];
      if (!type || !sameShape(type.shape, v.shape) || type.dtype !== v.dtype) throw new LongjingError("shape_mismatch", "a node does not have the type that its op gives", { where: `%${node.id} ${node.op.name}`, got: [v.shape, v.dtype], expected: type });
      ready.add(v);
    }
  }
  for (const [name, v] of graph.outputs) if (!ready.has(v)) throw new LongjingError("bad_argument", "an output is never computed", { where: name });
}

/** One line a node, as `%7 = matmul(%3, %5) {alpha=1} : float32[4, 8]`. */
export function print(graph: Graph): string {
  const numbers = new Map<Node, number>();
  const name = (v: Value): string => `%${numbers.get(v.node) ?? "?"}${v.node.outputs.length > 1 ? `.${v.output}` : ""}`;
  const type = (v: TensorType): string => `${v.dtype}[${v.shape.join(", ")}]`;
  const show = (a: Attribute): string => (ArrayBuffer.isView(a) ? `<${a.length} values>` : Array.isArray(a) ? `[${a.join(", ")}]` : String(a));
  const lines = graph.nodes.map((node, i) => {
    numbers.set(node, i);
    const attributes = Object.entries(node.attributes).filter(([k, a]) => a !== undefined && a !== false && k !== "dtype" && k !== "shape").map(([k, a]) => `${k}=${show(a)}`);
    return `%${i} = ${node.op.name}(${node.inputs.map(name).join(", ")})${attributes.length > 0 ? ` {${attributes.join(", ")}}` : ""} : ${node.outputs.map(type).join(", ")}`;
  });
  return [...lines, ...graph.outputs.map(([key, v]) => `return ${key} = ${name(v)}`)].join("\n");
}

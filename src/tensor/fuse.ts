import { apply, applyAll, inputOp, sameShape, noAttributes } from "./op.ts";
import { countUses, graphOf, type Graph } from "./graph.ts";
import { addOp, mulOp, sigmoidOp, siluOp } from "./ops/elementwise.ts";
import { addRmsNormOp, rmsNormOp } from "./ops/fused.ts";
import { gatedMatmulQuantizedOp, matmulQuantizedOp } from "./ops/quantized.ts";
import { rmsNormalizeOp } from "./ops/normalize.ts";
import { swigluOp, swigluPartsOp } from "./ops/swiglu.ts";
import type { Node, Value } from "./value.ts";

/**
 * The same function with fewer, larger kernels: a norm takes its gain and the sum before it, x · sigmoid(x) is one step, and so
 * are a gated layer's activation, and its products with matrices in blocks. For graphs without a backward pass, which would read what lies between; where something does, it stays.
 */
export function fuse(graph: Graph): Graph {
  const uses = countUses(graph);
  const once = (v: Value): boolean => uses.get(v) === 1;
  const readers = new Map<Value, Node[]>();
  for (const node of graph.nodes) for (const v of node.inputs) readers.set(v, [...(readers.get(v) ?? []), node]);
  const renamed = new Map<Value, Value>();
  const now = (v: Value): Value => renamed.get(v) ?? v;
  const done = new Set<Node>();

  /** The product with a gain that is all that reads a norm; a gain that is an input is there from the start. */
  const gainOf = (norm: Node): { readonly product: Node; readonly gain: Value } | null => {
    const [y, scale] = norm.outputs as [Value, Value];
    const [product] = readers.get(y) ?? [];
    if (!product || product.op.name !== mulOp.name || !once(y) || uses.has(scale)) return null;
    const gain = product.inputs[0] === y ? product.inputs[1]! : product.inputs[0]!;
    return gain.node.op.name === inputOp.name && gain.shape.length === 1 && gain.shape[0] === y.shape.at(-1) ? { product, gain } : null;
  };
  const rewrite = (node: Node): readonly Value[] | null => {
    if (node.op.name === addOp.name) return fuseAdd(node);
    if (node.op.name === rmsNormalizeOp.name) {
      const found = gainOf(node);
      if (found) renamed.set(found.product.outputs[0]!, apply(rmsNormOp, [now(node.inputs[0]!), found.gain], { epsilon: node.attributes.epsilon as number }));
      return found && [];
    }
    if (node.op.name === mulOp.name) {
      const [a, b] = node.inputs as [Value, Value];
      return b.node.op.name === sigmoidOp.name && b.node.inputs[0] === a && once(b) ? [apply(siluOp, [now(a)], noAttributes)] : null;
    }
    if (node.op.name === swigluPartsOp.name) {
      const [, ...parts] = node.outputs;
      const [gate, up] = node.inputs as [Value, Value];
      return parts.some((v) => uses.has(v)) ? null : [gatedProduct(gate, up) ?? apply(swigluOp, [now(gate), now(up)], noAttributes), ...parts];
    }
    return null;
  };
  /** silu(x · gate) · (x · up) of matrices in blocks, where nothing else reads the two products. */
  const gatedProduct = (gate: Value, up: Value): Value | null => {
    const inBlocks = (v: Value): boolean => once(v) && v.node.op.name === matmulQuantizedOp.name && !v.node.attributes.exact;
    if (!inBlocks(gate) || !inBlocks(up)) return null;
    const [[x, ...gateParts], [same, ...upParts]] = [gate, up].map((v) => now(v).node.inputs) as [[Value, ...Value[]], [Value, ...Value[]]];
    return x === same ? apply(gatedMatmulQuantizedOp, [x, ...gateParts, ...upParts], { gateParts: gateParts.length }) : null;
  };
  const fuseAdd = (node: Node): readonly Value[] | null => {
    const [a, b] = node.inputs as [Value, Value];
    const total = node.outputs[0]!;
    const norms = (readers.get(total) ?? []).filter((n) => n.op.name === rmsNormalizeOp.name);
    const found = norms.length === 1 && sameShape(a.shape, b.shape) && a.shape.length === 2 ? gainOf(norms[0]!) : null;
    if (!found) return null;
    const [y, sum] = applyAll(addRmsNormOp, [now(a), now(b), found.gain], { epsilon: norms[0]!.attributes.epsilon as number }) as [Value, Value];
    renamed.set(found.product.outputs[0]!, y);
    done.add(norms[0]!);
    return [sum];
  };

  for (const node of graph.nodes) {
    if (done.has(node) || node.outputs.some((v) => renamed.has(v))) continue;
    const outs = rewrite(node) ?? (node.inputs.every((v) => now(v) === v) ? node.outputs : applyAll(node.op, node.inputs.map(now), node.attributes));
    if (outs !== node.outputs) outs.forEach((v, i) => renamed.set(node.outputs[i]!, v));
  }
  return graphOf(graph.inputs, graph.outputs.map(([name, v]) => [name, now(v)]));
}

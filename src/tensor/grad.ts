import { LongjingError } from "../errors/index.ts";
import { constant, requireShape, sameShape } from "./op.ts";
import { add } from "./ops/elementwise.ts";
import { sum } from "./ops/reduce.ts";
import { broadcastTo, reshape, zeros } from "./ops/shape.ts";
import type { Node, Shape, Value } from "./value.ts";

/** Fits a cotangent to the shape of its value: sums what was broadcast, repeats what was left small. */
function sumTo(value: Value, shape: Shape): Value {
  if (sameShape(value.shape, shape)) return value;
  const padding = Math.max(0, value.shape.length - shape.length);
  const axes = value.shape.flatMap((d, i) => (i < padding || (shape[i - padding] === 1 && d !== 1) ? [i] : []));
  const summed = axes.length > 0 ? sum(value, axes) : value;
  return broadcastTo(reshape(summed, summed.shape.slice(padding)), shape);
}

/** Nodes from which some of `targets` is reached, in order of creation, limited to those that lead to `outputs`. */
function pathNodes(outputs: readonly Value[], targets: ReadonlySet<Value>): { order: Node[]; carries: ReadonlySet<Value> } {
  const seen = new Set<Node>();
  const stack = outputs.map((v) => v.node);
  while (stack.length > 0) {
    const node = stack.pop()!;
    if (seen.has(node)) continue;
    seen.add(node);
    for (const v of node.inputs) stack.push(v.node);
  }
  const carries = new Set<Value>(targets);
  const order = [...seen].sort((a, b) => a.id - b.id);
  for (const node of order) if (node.op.vjp !== "none" && node.inputs.some((v) => carries.has(v))) for (const v of node.outputs) carries.add(v);
  return { order, carries };
}

/**
 * Reverse-mode gradients, traced into the same graph.
 * @param seeds outputs with their cotangents; a scalar loss is seeded with 1.
 * @returns one cotangent for each of `wrt`, of its shape; zeros where nothing reaches it.
 */
export function vjp(seeds: readonly (readonly [Value, Value])[], wrt: readonly Value[]): Value[] {
  const { order, carries } = pathNodes(seeds.map(([v]) => v), new Set(wrt));
  const cotangents = new Map<Value, Value>();
  const accumulate = (value: Value, cotangent: Value): void => {
    const partial = sumTo(cotangent, value.shape);
    const before = cotangents.get(value);
    cotangents.set(value, before ? add(before, partial) : partial);
  };
  for (const [value, cotangent] of seeds) accumulate(value, cotangent);
  for (const node of order.toReversed()) {
    const cts = node.outputs.map((v) => cotangents.get(v) ?? null);
    const wanted = node.inputs.map((v) => carries.has(v));
    if (node.op.vjp === "none" || cts.every((ct) => ct === null) || !wanted.includes(true)) continue;
    const partials = node.op.vjp({ inputs: node.inputs, outputs: node.outputs, cotangents: cts, attributes: node.attributes, wanted });
    if (partials.length !== node.inputs.length) throw new LongjingError("shape_mismatch", "a gradient rule must answer for every input", { where: node.op.name, got: partials.length, expected: node.inputs.length });
    for (const [i, partial] of partials.entries()) if (partial && wanted[i]) accumulate(node.inputs[i]!, partial);
  }
  return wrt.map((v) => cotangents.get(v) ?? zeros(v.shape));
}

/** Gradients of a scalar with respect to each of `wrt`. */
export function gradients(loss: Value, wrt: readonly Value[]): Value[] {
  requireShape(loss.shape.length === 0, "gradients", loss.shape, "a scalar loss");
  return vjp([[loss, constant(1)]], wrt);
}

/** Gradients of a scalar with respect to a record of parameters, under the same names. */
export function gradientsOf(loss: Value, parameters: Readonly<Record<string, Value>>): Record<string, Value> {
  const names = Object.keys(parameters);
  const values = gradients(loss, names.map((name) => parameters[name]!));
  return Object.fromEntries(names.map((name, i) => [name, values[i]!]));
}

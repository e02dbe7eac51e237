import { graphOf, type Graph } from "./graph.ts";
import { applyAll, ownDomain, type OnnxAttribute, type Op } from "./op.ts";
import type { Attributes, Node, Value } from "./value.ts";

/** Marks nodes that one kernel of our own may take the place of many for: their last inputs are what the many compute. */
export const ownKernelName = "ownKernel";

/**
 * Values that an operator of ours (kernels) computes from `inputs`, and other operators as `plain`, which is their meaning. A missing input is null.
 * It stands behind a `customVjp`: nothing differentiates it.
 */
export function ownKernel(operator: string, inputs: readonly (Value | null)[], attributes: Readonly<Record<string, number>>, plain: readonly Value[]): readonly Value[] {
  const given = inputs.filter((v) => v !== null);
  const names = (all: readonly string[]): string[] => {
    const left = [...all];
    return inputs.map((v) => (v === null ? "" : left.shift()!));
  };
  const floats = Object.fromEntries(Object.entries(attributes).map(([name, float]): [string, OnnxAttribute] => [name, { float }]));
  const op: Op<Attributes> = {
    name: ownKernelName,
    infer: () => plain,
    vjp: "none",
    lower: (c) => c.node(operator, names(c.inputs), c.outputs, floats, ownDomain),
    reference: (values) => values.slice(given.length),
  };
  return applyAll(op, [...given, ...plain], { operator, ...attributes });
}

/** The graph with our kernels, or with what stands for them. */
export function chooseKernels(graph: Graph, own: boolean): Graph {
  if (!graph.nodes.some(({ op }) => op.name === ownKernelName)) return graph;
  const renamed = new Map<Value, Value>();
  const now = (v: Value): Value => renamed.get(v) ?? v;
  const rewritten = ({ op, inputs, outputs, attributes }: Node): readonly Value[] => {
    const given = inputs.map(now);
    if (op.name === ownKernelName) return own ? applyAll(op, given.slice(0, -outputs.length), attributes) : given.slice(-outputs.length);
    return given.every((v, i) => v === inputs[i]) ? outputs : applyAll(op, given, attributes);
  };
  for (const node of graph.nodes) rewritten(node).forEach((v, i) => v === node.outputs[i] || renamed.set(node.outputs[i]!, v));
  return graphOf(graph.inputs, graph.outputs.map(([name, v]) => [name, now(v)]));
}

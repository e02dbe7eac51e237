import { LongjingError } from "../errors/index.ts";
import type { Graph } from "./graph.ts";
import { elements, type NdArray } from "./nd-array.ts";
import { inputOp } from "./op.ts";
import type { Value } from "./value.ts";

/** Runs a graph by the ops' reference implementations: slow, in double precision, and the judge of every provider. */
export function interpret(graph: Graph, inputs: Readonly<Record<string, NdArray>>): Record<string, NdArray> {
  const values = new Map<Value, NdArray>();
  for (const [name, value] of graph.inputs) {
    const given = inputs[name];
    if (!given || given.data.length !== elements(given.shape)) throw new LongjingError("bad_argument", "an input is missing or its data does not fill its shape", { where: name, got: given?.shape, expected: value.shape });
    values.set(value, given);
  }
  for (const node of graph.nodes) {
    if (node.op.name === inputOp.name) continue;
    const outputs = node.op.reference(node.inputs.map((v) => values.get(v)!), node.attributes, node.outputs);
    for (const [i, v] of node.outputs.entries()) values.set(v, outputs[i]!);
  }
  return Object.fromEntries(graph.outputs.map(([name, v]) => [name, values.get(v)!]));
}

import { graphOf, slice, type Value } from "../tensor/index.ts";
import { concatOp } from "../tensor/ops/shape.ts";
import { matmulOp } from "../tensor/ops/matmul.ts";
import { inputOp, sizeOf } from "../tensor/op.ts";

/**
 * What each weight of a traced function is multiplied by: the input [rows, columns] of every linear layer behind `out` whose
 * weight [out, columns] is an input of the graph, or a part of a concatenation (a mixture's experts), by the weight's name.
 * Experts whose weights are joined along their outputs share the rows of all.
 */
export function linearInputs(out: Value): ReadonlyMap<string, Value> {
  const found = new Map<string, Value>();
  for (const { op, inputs, attributes } of graphOf([], [["out", out]]).nodes) {
    const [x, weight] = inputs;
    if (op.name !== matmulOp.name || attributes.transB !== true || attributes.transA === true || x?.shape.length !== 2) continue;
    if (weight!.node.op.name === inputOp.name) found.set(nameOf(weight!), x);
    if (weight!.node.op.name !== concatOp.name) continue;
    const { inputs: parts, attributes: { axis } } = weight!.node;
    let start = 0;
    for (const part of parts) {
      const width = sizeOf(part.shape[1], "linearInputs");
      if (part.node.op.name === inputOp.name) found.set(nameOf(part), axis === 0 ? x : slice(x, 1, start, width));
      start += width;
    }
  }
  return found;
}

const nameOf = (input: Value): string => String(input.node.attributes.name);

import { applyAll, type Op } from "./op.ts";
import type { Attributes, Value } from "./value.ts";

/** Marks nodes that are transparent when a graph is lowered: their outputs are their last inputs. */
export const customVjpName = "customVjp";

/**
 * A function with a gradient of its own, both traced: what is inside `forward` is not differentiated, `backward` is used
 * instead (cotangents of the outputs in, cotangents of `inputs` out, null for none). It leaves no trace in the lowered graph.
 */
export function customVjp(
  inputs: readonly Value[],
  forward: (inputs: readonly Value[]) => readonly Value[],
  backward: (cotangents: readonly (Value | null)[], outputs: readonly Value[]) => readonly (Value | null)[],
): readonly Value[] {
  const inner = forward(inputs);
  const op: Op<Attributes> = {
    name: customVjpName,
    infer: () => inner,
    vjp: ({ cotangents, outputs }) => [...backward(cotangents, outputs), ...inner.map(() => null)],
    lower: () => {},
    reference: (values) => values.slice(inputs.length),
  };
  return applyAll(op, [...inputs, ...inner], {});
}

import { customVjp, swigluGradient, swigluParts, type SwiGLU, type Value } from "../tensor/index.ts";

/** silu(gate) · up (Shazeer, "GLU Variants Improve Transformer"), whose backward takes fewer passes over the activations than the chain rule's eight. */
export function swiglu(gate: Value, up: Value): Value {
  let parts: SwiGLU;
  return customVjp(
    [gate, up],
    () => {
      parts = swigluParts(gate, up);
      return [parts.y];
    },
    ([ct]) => swigluGradient(parts, ct!),
  )[0]!;
}

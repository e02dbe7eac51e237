import { customVjp, mul, sigmoid, swigluGradient, type Value } from "../tensor/index.ts";

/** silu(gate) · up (Shazeer, "GLU Variants Improve Transformer"), whose backward takes fewer passes over the activations than the chain rule's eight. */
export function swiglu(gate: Value, up: Value): Value {
  let sigma: Value;
  let activated: Value;
  return customVjp(
    [gate, up],
    () => {
      sigma = sigmoid(gate);
      activated = mul(gate, sigma);
      return [mul(activated, up)];
    },
    ([ct], [y]) => swigluGradient({ gate, up, sigma, activated, y: y! }, ct!),
  )[0]!;
}

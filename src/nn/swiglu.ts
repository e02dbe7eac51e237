import { add, customVjp, mul, sigmoid, sub, type Value } from "../tensor/index.ts";

/**
 * silu(gate) · up (Shazeer, "GLU Variants Improve Transformer"). The backward takes five passes over the activations instead
 * of the chain rule's eight: d gate = ct (σ (up − y) + y), d up = ct · gate σ, with σ = sigmoid(gate) and y the result.
 */
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
    ([ct], [y]) => [mul(ct!, add(mul(sigma, sub(up, y!)), y!)), mul(ct!, activated)],
  )[0]!;
}

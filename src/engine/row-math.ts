import type { OwnFunctions, RowMath } from "../runtime/index.ts";
import { expConstants, expOfNegative } from "./exp.ts";

export const plainRowMath: RowMath = {
  argmax: (scores) => {
    let best = 0;
    for (let i = 1; i < scores.length; i++) if ((scores[i] as number) > (scores[best] as number)) best = i;
    return best;
  },
  weights: (scores, top, divisor, out) => {
    let total = 0;
    if (!out) for (let i = 0; i < scores.length; i++) total += expOfNegative(((scores[i] as number) - top) / divisor);
    else
      for (let i = 0; i < scores.length; i++) {
        const weight = expOfNegative(((scores[i] as number) - top) / divisor);
        out[i] = weight;
        total += weight;
      }
    return total;
  },
  draw: (scores, divisor, uniform, out) => {
    const top = scores[plainRowMath.argmax(scores)] as number;
    const total = plainRowMath.weights(scores, top, divisor, out);
    const target = uniform * total;
    let [sum, id] = [0, 0];
    for (let i = 0; i < scores.length && !(sum > target); i++) {
      const weight = out[i] as number;
      if (weight === 0) continue;
      sum += weight;
      id = i;
    }
    return { id, top, total };
  },
};

/** Rows that are shorter are done before foreign code is reached. */
const longEnough = 256;

/** The same numbers, to the bit, by our own kernels where a runtime has them. */
export function rowMathOf(own: OwnFunctions | null): RowMath {
  const fast = own?.rowMath(expConstants);
  if (!fast) return plainRowMath;
  return {
    argmax: (scores) => (scores.length < longEnough ? plainRowMath : fast).argmax(scores),
    weights: (scores, top, divisor, out) => (scores.length < longEnough ? plainRowMath : fast).weights(scores, top, divisor, out),
    draw: (scores, divisor, uniform, out) => (scores.length < longEnough ? plainRowMath : fast).draw(scores, divisor, uniform, out),
  };
}

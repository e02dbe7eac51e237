import type { RowFunctions } from "../runtime/index.ts";
import { expConstants, expOfNegative } from "./exp.ts";

type Scores = Float32Array | Float64Array;

/** What sampling computes of a whole row of logits. All of its time is spent here: a row has as many as the vocabulary. */
export interface RowMath {
  /** The lowest id among the largest scores. */
  argmax(scores: Scores): number;
  /** exp((score − top) / divisor) of each, into `out` where it is given; their sum in order. */
  weights(scores: Scores, top: number, divisor: number, out?: Float64Array): number;
}

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
};

/** Rows that are shorter are done before foreign code is reached. */
const longEnough = 256;

/** The same numbers, to the bit, by our own kernels where a runtime has them. */
export function rowMathBy(functionsOf: (constants: Float64Array) => RowFunctions | null): RowMath {
  const fast = functionsOf(expConstants);
  if (!fast) return plainRowMath;
  return {
    argmax: (scores) => (scores.length < longEnough ? plainRowMath : fast).argmax(scores),
    weights: (scores, top, divisor, out) => (scores.length < longEnough ? plainRowMath : fast).weights(scores, top, divisor, out),
  };
}

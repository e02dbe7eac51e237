import { LongjingError } from "../errors/index.ts";
import { random } from "../random/index.ts";

export interface Interval {
  readonly low: number;
  readonly high: number;
}

/** Normal quantile of a two-sided 95 % interval. */
const z95 = 1.959963984540054;

/** Wilson's 95 % score interval of a proportion; sound at 0, at 1 and for few trials, where the normal interval is not. */
export function wilsonInterval(successes: number, trials: number, z = z95): Interval {
  if (trials === 0) return { low: 0, high: 1 };
  const p = successes / trials;
  const square = (z * z) / trials;
  const centre = p + square / 2;
  const half = z * Math.sqrt((p * (1 - p) + square / 4) / trials);
  // Said outright, so that rounding cannot leave the ends off 0 and 1.
  return {
    low: successes === 0 ? 0 : (centre - half) / (1 + square),
    high: successes === trials ? 1 : (centre + half) / (1 + square),
  };
}

/**
 * Percentile bootstrap of a mean over problems: problems, not completions, are what is drawn again, since completions of one
 * problem are not independent. Equal seeds give equal intervals.
 */
export function bootstrapInterval(perProblem: readonly number[], options: { seed: number; resamples?: number; level?: number }): Interval {
  const { seed, resamples = 2000, level = 0.95 } = options;
  const source = random("bootstrap", seed);
  const n = perProblem.length;
  if (n === 0) throw new LongjingError("bad_argument", "A bootstrap needs problems", { got: 0, expected: "at least one value" });
  const means = Float64Array.from({ length: resamples }, () => {
    let sum = 0;
    for (let i = 0; i < n; i++) sum += perProblem[source.below(n)] as number;
    return sum / n;
  }).sort();
  const at = (share: number): number => means[Math.min(resamples - 1, Math.floor(share * resamples))] as number;
  return { low: at((1 - level) / 2), high: at((1 + level) / 2) };
}

export interface PairedDifference extends Interval {
  /** Mean of after - before. */
  readonly difference: number;
}

/**
 * 95 % interval of the mean difference between two evaluations of the same problems in the same order; values are 0 or 1 (wrong
 * or right), or the share of right completions in between. Pairing takes the difficulty of the problems out of the error.
 * Agresti and Min's adjusted Wald interval (2005): half a problem is added to each of the four outcomes, so that few or no
 * differing problems do not give a width of zero.
 */
export function pairedDifference(before: readonly number[], after: readonly number[], z = z95): PairedDifference {
  const n = before.length;
  if (n === 0 || after.length !== n) {
    throw new LongjingError("bad_argument", "Paired evaluations need the same problems", { got: [n, after.length], expected: "two equal lengths above 0" });
  }
  const differences = before.map((value, i) => (after[i] as number) - value);
  const sum = differences.reduce((a, b) => a + b, 0);
  const centre = sum / (n + 2);
  const variance = (differences.reduce((a, b) => a + b * b, 0) + 1) / (n + 2) - centre * centre;
  const half = z * Math.sqrt(variance / (n + 2));
  return { difference: sum / n, low: Math.max(-1, centre - half), high: Math.min(1, centre + half) };
}

import { LongjingError } from "../errors/index.ts";

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
 * 95 % interval of a mean over problems whose values lie in [0, 1]: problems, not completions, are what it is over, since completions
 * of one problem are not independent. Agresti and Coull's interval of a proportion (1998) for such values: two problems that nobody
 * solves and two that everybody does are added, so that few or equal values do not give a width of zero, and the quantile is
 * Student's. It covers the truth as often as it says from two problems on.
 * @param counts problems that each value stands for, where some are one question: they count as Kish's effective number. Default 1 each
 * @throws LongjingError "bad_argument" without values
 */
export function meanInterval(values: readonly number[], counts: readonly number[] = values.map(() => 1)): Interval {
  if (values.length === 0) throw new LongjingError("bad_argument", "An interval needs problems", { got: 0, expected: "at least one value" });
  const total = sumOf(counts);
  const effective = total ** 2 / sumOf(counts.map((count) => count ** 2));
  const meanOf = (of: (value: number) => number): number => sumOf(values.map((value, i) => of(value) * counts[i]!)) / total;
  const size = effective + 4;
  const centre = (effective * meanOf((value) => value) + 2) / size;
  const variance = (effective * meanOf((value) => value ** 2) + 2) / size - centre ** 2;
  const half = studentQuantile(size - 1) * Math.sqrt(variance / size);
  return { low: Math.max(0, centre - half), high: Math.min(1, centre + half) };
}

const sumOf = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);

/** Of Student's t for a two-sided 95 % interval (Abramowitz and Stegun, 26.7.5): within 0.001 from 4 degrees of freedom on. */
function studentQuantile(freedom: number): number {
  const z = z95;
  const terms = [(z ** 3 + z) / 4, (5 * z ** 5 + 16 * z ** 3 + 3 * z) / 96, (3 * z ** 7 + 19 * z ** 5 + 17 * z ** 3 - 15 * z) / 384, (79 * z ** 9 + 776 * z ** 7 + 1482 * z ** 5 - 1920 * z ** 3 - 945 * z) / 92160];
  return terms.reduce((sum, term, i) => sum + term / freedom ** (i + 1), z);
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

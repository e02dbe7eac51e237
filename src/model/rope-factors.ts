import { inverseFrequencies } from "../nn/rope.ts";
import type { RopeConfig } from "./rope-config.ts";

export { cosSinScale } from "../nn/rope.ts";

/** Largest relative error of a factor that still counts as equal: twenty times what float32 rounds away. */
const tolerance = 2e-6;

/**
 * The Llama 3 rotation from what it divides the frequencies by, as GGUF stores it: 1 for short wavelengths, `factor` for long
 * ones, and between them a blend that is linear in the frequency. Only the ratios of `low_freq_factor`, `high_freq_factor`
 * and `original_max_position_embeddings` show in the factors, so the first is 1 wherever the last is then a whole number.
 * @param factors one a pair, [headDim / 2]
 * @returns null when no Llama 3 rotation has these factors
 */
export function ropeFromFactors(rope_theta: number, factors: Float32Array): RopeConfig | null {
  const plain = inverseFrequencies({ rope_type: "default", rope_theta }, 2 * factors.length);
  const factor = factors.at(-1) ?? 1;
  const base = { rope_theta };
  if (factors.every((f) => f === factor)) return factor === 1 ? { rope_type: "default", ...base } : { rope_type: "linear", ...base, factor };
  const blend = blendOf(plain, factors, factor);
  if (blend === null) return null;
  const context = 2 * Math.PI * blend.turnsPerFrequency;
  const original_max_position_embeddings = Math.max(1, Math.round(context));
  const scale = original_max_position_embeddings / context;
  const ends = [[1, Math.round(blend.high)], [1, blend.high], [scale, blend.high * scale]] as const;
  const candidates = ends.map(([low_freq_factor, high_freq_factor]): RopeConfig => ({ rope_type: "llama3", ...base, factor, low_freq_factor, high_freq_factor, original_max_position_embeddings }));
  return candidates.find((rope) => inverseFrequencies(rope, 2 * factors.length).every((f, i) => Math.abs(plain[i]! / f / factors[i]! - 1) < tolerance)) ?? null;
}

/** What a rotation divides the frequencies of its pairs by, [headDim / 2]: the inverse of `ropeFromFactors`. */
export function factorsFromRope(rope: RopeConfig, headDim: number): Float32Array {
  const scaled = inverseFrequencies(rope, headDim);
  return Float32Array.from(inverseFrequencies({ rope_type: "default", rope_theta: rope.rope_theta }, headDim), (plain, i) => plain / scaled[i]!);
}

/** Where the blend starts and ends, in turns over the original context, of which the low end is 1. */
interface Blend {
  readonly turnsPerFrequency: number;
  readonly high: number;
}

function blendOf(plain: Float64Array, factors: Float32Array, factor: number): Blend | null {
  const points = Array.from(factors, (f, i) => ({ frequency: plain[i]!, share: (1 / f - 1 / factor) / (1 - 1 / factor) })).filter(({ share }) => share > tolerance && share < 1 - tolerance);
  const [first, last] = [points[0], points.at(-1)];
  const step = plain[0]! / plain[1]!;
  if (first === undefined || last === undefined) {
    // No pair is blended: any ends between the last pair that is kept and the next will do.
    const next = factors.lastIndexOf(1) + 1;
    return next === 0 ? null : { turnsPerFrequency: step ** -0.25 / plain[next]!, high: step ** 0.5 };
  }
  if (first === last) {
    // One is: Llama's own ratio of the ends, unless it would reach the pairs beside it.
    const { share, frequency } = first;
    const below = 1 + (step - 1) / share;
    const above = share * step < 1 ? (step * (1 - share)) / (1 - share * step) : Infinity;
    const widest = Math.min(below, above);
    const high = widest > 4 ? 4 : 1 + (widest - 1) * 0.9;
    return { turnsPerFrequency: (1 + (high - 1) * share) / frequency, high };
  }
  const slope = (first.share - last.share) / (first.frequency - last.frequency);
  const offset = last.share - slope * last.frequency;
  return offset < 0 ? { turnsPerFrequency: -slope / offset, high: 1 - 1 / offset } : null;
}

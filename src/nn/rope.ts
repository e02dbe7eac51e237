/** What the rotation needs of a checkpoint's configuration. Names are transformers'. */
export interface RopeParameters {
  readonly rope_type: "default" | "linear" | "llama3" | "yarn";
  readonly rope_theta: number;
  readonly factor?: number | undefined;
  readonly low_freq_factor?: number | undefined;
  readonly high_freq_factor?: number | undefined;
  readonly original_max_position_embeddings?: number | undefined;
  readonly beta_fast?: number | undefined;
  readonly beta_slow?: number | undefined;
  readonly mscale?: number | undefined;
  readonly mscale_all_dim?: number | undefined;
  readonly attention_factor?: number | undefined;
}

/**
 * Angles per position of each rotated pair, [dim / 2], scaled as the configuration asks: linear interpolation, Llama 3's
 * smoothed interpolation, or YaRN (Peng et al., arXiv 2309.00071, section 3.2; DeepSeek-V3 section 4.3).
 */
export function inverseFrequencies(rope: RopeParameters, dim: number): Float64Array {
  const plain = Float64Array.from({ length: dim / 2 }, (_, i) => rope.rope_theta ** ((-2 * i) / dim));
  const factor = rope.factor ?? 1;
  switch (rope.rope_type) {
    case "default":
      return plain;
    case "linear":
      return plain.map((f) => f / factor);
    case "llama3":
      return plain.map((f) => llama3Frequency(f, rope, factor));
    case "yarn": {
      const keep = yarnRamp(rope, dim);
      return plain.map((f, i) => (f / factor) * (1 - keep(i)) + f * keep(i));
    }
  }
}

/** Long wavelengths are interpolated, short ones kept, and those between blended linearly in the number of turns. */
function llama3Frequency(frequency: number, rope: RopeParameters, factor: number): number {
  const context = rope.original_max_position_embeddings ?? 8192;
  const low = rope.low_freq_factor ?? 1;
  const high = rope.high_freq_factor ?? 4;
  const turns = (context * frequency) / (2 * Math.PI);
  if (turns < low) return frequency / factor;
  if (turns > high) return frequency;
  const smooth = (turns - low) / (high - low);
  return (1 - smooth) * (frequency / factor) + smooth * frequency;
}

/** How much of its own frequency each pair keeps: 1 below the dimension that turns beta_fast times, 0 above beta_slow's. */
function yarnRamp(rope: RopeParameters, dim: number): (pair: number) => number {
  const context = rope.original_max_position_embeddings ?? 4096;
  const dimensionOf = (turns: number): number => (dim * Math.log(context / (turns * 2 * Math.PI))) / (2 * Math.log(rope.rope_theta));
  const low = Math.max(Math.floor(dimensionOf(rope.beta_fast ?? 32)), 0);
  const high = Math.min(Math.ceil(dimensionOf(rope.beta_slow ?? 1)), dim - 1);
  const width = high === low ? 0.001 : high - low;
  return (pair) => 1 - Math.min(1, Math.max(0, (pair - low) / width));
}

const yarnScale = (factor: number, mscale: number): number => (factor <= 1 ? 1 : 0.1 * mscale * Math.log(factor) + 1);

/** Factor on cos and sin. */
export function cosSinScale(rope: RopeParameters): number {
  if (rope.rope_type !== "yarn") return 1;
  if (rope.attention_factor !== undefined) return rope.attention_factor;
  const factor = rope.factor ?? 1;
  if (rope.mscale && rope.mscale_all_dim) return yarnScale(factor, rope.mscale) / yarnScale(factor, rope.mscale_all_dim);
  return yarnScale(factor, 1);
}

/** Factor on the softmax scale of MLA: m² with m = 0.1 · mscale_all_dim · ln(factor) + 1. */
export function softmaxScaleFactor(rope: RopeParameters): number {
  if (rope.rope_type === "default" || !rope.mscale_all_dim) return 1;
  return yarnScale(rope.factor ?? 1, rope.mscale_all_dim) ** 2;
}

export interface RopeTables {
  /** [positions, dim / 2] */
  readonly cos: Float32Array;
  readonly sin: Float32Array;
  readonly half: number;
  readonly positions: number;
}

/** cos and sin of every position below `positions`. */
export function ropeTables(rope: RopeParameters, dim: number, positions: number): RopeTables {
  // Angles are rounded to float32 as the reference implementations do, so that late positions agree with them.
  const frequencies = Float32Array.from(inverseFrequencies(rope, dim));
  const scale = cosSinScale(rope);
  const half = dim / 2;
  const table = (f: (x: number) => number): Float32Array => {
    const values = new Float32Array(positions * half);
    for (let position = 0; position < positions; position++) for (let i = 0; i < half; i++) values[position * half + i] = f(Math.fround(position * frequencies[i]!)) * scale;
    return values;
  };
  return { cos: table(Math.cos), sin: table(Math.sin), half, positions };
}

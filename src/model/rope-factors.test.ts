import fc from "fast-check";
import { expect, it } from "vitest";
import { inverseFrequencies } from "../nn/rope.ts";
import type { RopeConfig } from "./rope-config.ts";
import { ropeFromFactors } from "./rope-factors.ts";

function factorsOf(rope: RopeConfig, dim: number): Float32Array {
  const scaled = inverseFrequencies(rope, dim);
  return Float32Array.from(inverseFrequencies({ rope_type: "default", rope_theta: rope.rope_theta }, dim), (f, i) => f / scaled[i]!);
}

const rotation = fc.record({
  rope_type: fc.constant("llama3" as const),
  rope_theta: fc.constantFrom(10_000, 500_000, 1e6),
  factor: fc.constantFrom(2, 8, 32),
  low_freq_factor: fc.constantFrom(1, 2),
  high_freq_factor: fc.constantFrom(3, 4, 8),
  original_max_position_embeddings: fc.integer({ min: 6, max: 14 }).map((k) => 2 ** k),
});

it("has the frequencies that the factors came from", () => {
  fc.assert(
    fc.property(rotation, fc.constantFrom(8, 16, 64, 128), (rope, dim) => {
      const found = ropeFromFactors(rope.rope_theta, factorsOf(rope, dim));
      const [got, want] = [inverseFrequencies(found!, dim), inverseFrequencies(rope, dim)];
      for (let i = 0; i < want.length; i++) expect(Math.abs(got[i]! / want[i]! - 1)).toBeLessThan(3e-6);
    }),
    { numRuns: 500 },
  );
});

it("finds Llama 3.1's and 3.2's own parameters", () => {
  for (const [factor, dim] of [[8, 128], [32, 64]] as const) {
    const rope = { rope_type: "llama3", rope_theta: 500_000, factor, low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 8192 } as const;
    expect(ropeFromFactors(rope.rope_theta, factorsOf(rope, dim))).toEqual(rope);
  }
});

it("knows equal factors, and refuses what no Llama 3 rotation has", () => {
  expect(ropeFromFactors(10_000, Float32Array.of(1, 1, 1))).toEqual({ rope_type: "default", rope_theta: 10_000 });
  expect(ropeFromFactors(10_000, Float32Array.of(4, 4, 4))).toEqual({ rope_type: "linear", rope_theta: 10_000, factor: 4 });
  for (const factors of [[2, 1, 4], [1, 2, 1, 8], [1, 3, 2, 8], [1, NaN, 8], [1, 0, 8], [1, 2, 3, 4, 5, 6, 7, 8]]) expect(ropeFromFactors(10_000, Float32Array.from(factors))).toBeNull();
});

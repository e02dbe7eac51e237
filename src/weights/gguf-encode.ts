import { LongjingError } from "../errors/index.ts";
import { narrowFloat16, widenFloat16 } from "./float-formats.ts";
import { blockTypes } from "./gguf-blocks.ts";
import type { GgufType } from "./gguf-blocks.ts";

type Encoder = (from: Float32Array, to: Uint8Array) => void;

/** The types that we write: those of llama.cpp's usual mixtures and what they fall back to. */
const encoders = {
  F32: (from, to) => to.set(new Uint8Array(from.buffer, from.byteOffset, from.byteLength)),
  F16: (from, to) => narrowFloat16(from, new Uint16Array(to.buffer, to.byteOffset, from.length)),
  Q8_0: encodeQ8,
  Q4_0: encodeQ4,
  Q5_0: encodeQ5,
  Q4_K: encodeQ4K,
  Q6_K: encodeQ6K,
} as const satisfies Partial<Record<GgufType, Encoder>>;

export type WritableType = keyof typeof encoders;

/**
 * Float32 to whole blocks, the inverse of `blockTypes[type].decode`. A block of Q4_0, Q5_0 or Q8_0 takes the scale that
 * loses nothing where there is one, so that what was decoded is encoded to the same values; else the one with the smallest
 * squared error of a few.
 * @param values whole blocks of `type`
 * @param where the tensor, for messages
 * @throws LongjingError "unsupported" for a value that is not finite or that the type's float16 does not hold
 */
export function encodeBlocks(type: WritableType, values: Float32Array, where: string): Uint8Array {
  const { elements, bytes } = blockTypes[type];
  const peak = peakOf(values, 0, values.length);
  if (!(peak <= largest[type])) throw new LongjingError("unsupported", `A weight is too large for ${type}`, { got: peak, expected: `${largest[type]} at most`, where });
  const blocks = new Uint8Array((values.length / elements) * bytes);
  encoders[type](values, blocks);
  return blocks;
}

const largestHalf = 65_504;
/** Magnitudes that no scale in float16 is too small for. */
const largest: Readonly<Record<WritableType, number>> = { F32: 3.5e38, F16: largestHalf, Q8_0: 127 * largestHalf, Q4_0: 7 * largestHalf, Q5_0: 15 * largestHalf, Q4_K: 15 * largestHalf, Q6_K: 31 * largestHalf };

/** The largest magnitude; NaN when there is one. */
function peakOf(x: Float32Array, begin: number, end: number): number {
  let peak = 0;
  for (let i = begin; i < end; i++) {
    const size = Math.abs(x[i]!);
    if (!(size <= peak)) peak = size;
    if (peak !== peak) return peak;
  }
  return peak;
}

const [single, singleHalf] = [new Float32Array(1), new Uint16Array(1)];
const singleBits = new Uint32Array(single.buffer);

/** The bits of the nearest float16. */
function halfBits(value: number): number {
  single[0] = value;
  narrowFloat16(single, singleHalf);
  return singleHalf[0]!;
}

/** The nearest float16. */
function half(value: number): number {
  halfBits(value);
  widenFloat16(singleHalf, single);
  return single[0]!;
}

function putHalf(to: Uint8Array, at: number, value: number): void {
  const bits = halfBits(value);
  to[at] = bits & 255;
  to[at + 1] = bits >> 8;
}

const clamp = (value: number, low: number, high: number): number => (value < low ? low : value > high ? high : value);

/** `Math.round` without its call: what it does to a half does not matter here. */
const nearest = (value: number): number => Math.floor(value + 0.5);

/** x ≈ step · q with q in [-most, most - 1]: the squared error. */
function symmetricError(x: Float32Array, begin: number, end: number, step: number, most: number): number {
  let error = 0;
  const inverse = 1 / step;
  for (let i = begin; i < end; i++) {
    const difference = x[i]! - step * clamp(nearest(x[i]! * inverse), -most, most - 1);
    error += difference * difference;
  }
  return error;
}

/** The least-squares step for the integers that a step gives. */
function refine(x: Float32Array, begin: number, end: number, step: number, most: number): number {
  let [xq, qq] = [0, 0];
  const inverse = 1 / step;
  for (let i = begin; i < end; i++) {
    const q = clamp(nearest(x[i]! * inverse), -most, most - 1);
    xq += x[i]! * q;
    qq += q * q;
  }
  return qq === 0 ? step : xq / qq;
}

/** The value of the largest magnitude, with its sign. */
function signedPeak(x: Float32Array, begin: number, end: number): number {
  let peak = 0;
  for (let i = begin; i < end; i++) if (Math.abs(x[i]!) > Math.abs(peak)) peak = x[i]!;
  return peak;
}

/** A float16 of which every value is a whole multiple that [-most, most - 1] holds, or null. */
function exactStep(x: Float32Array, begin: number, end: number, peak: number, most: number): number | null {
  for (let m = most; m > 0; m--) {
    const step = peak / (m === most ? -m : m);
    if (!isHalf(step)) continue;
    let i = begin;
    while (i < end && Number.isInteger(x[i]! / step)) i++;
    if (i === end) return step;
  }
  return null;
}

/** Eleven bits from 2^-24 on. */
function isHalf(value: number): boolean {
  single[0] = value;
  return single[0] === value && (singleBits[0]! & 0x1fff) === 0 && Number.isInteger(value * 2 ** 24) && Math.abs(value) <= largestHalf;
}

/** The better of a few steps by squared error: the peak at either end of [-most, most - 1], and what least squares makes of both. */
function searchedStep(x: Float32Array, begin: number, end: number, peak: number, most: number): number {
  let [best, least] = [0, Infinity];
  for (const start of [peak / -most, peak / (most - 1)]) {
    for (const step of [start, refine(x, begin, end, start, most)]) {
      const error = symmetricError(x, begin, end, step, most);
      if (error < least) [best, least] = [step, error];
    }
  }
  return best;
}

/** The scale of a block of 32, in float16. */
function blockStep(x: Float32Array, at: number, most: number): number {
  const peak = signedPeak(x, at, at + 32);
  if (peak === 0) return 0;
  const exact = exactStep(x, at, at + 32, peak, most);
  if (exact !== null) return exact;
  // With as many steps as a byte has, a search gains nothing; -128 is left alone for kernels that negate.
  return half(most === 128 ? Math.abs(peak) / 127 : searchedStep(x, at, at + 32, peak, most));
}

/** The level of a value above the lowest, 0 … 2 · most - 1. */
const level = (x: number, inverse: number, most: number): number => clamp(nearest(x * inverse), -most, most - 1) + most;

const inverseOf = (step: number): number => (step === 0 ? 0 : 1 / step);

function encodeQ8(from: Float32Array, to: Uint8Array): void {
  for (let at = 0, i = 0; at < from.length; at += 32, i += 34) {
    const step = blockStep(from, at, 128);
    const inverse = inverseOf(step);
    putHalf(to, i, step);
    for (let j = 0; j < 32; j++) to[i + 2 + j] = clamp(nearest(from[at + j]! * inverse), -128, 127);
  }
}

function encodeQ4(from: Float32Array, to: Uint8Array): void {
  for (let at = 0, i = 0; at < from.length; at += 32, i += 18) {
    const step = blockStep(from, at, 8);
    const inverse = inverseOf(step);
    putHalf(to, i, step);
    for (let j = 0; j < 16; j++) to[i + 2 + j] = level(from[at + j]!, inverse, 8) | (level(from[at + j + 16]!, inverse, 8) << 4);
  }
}

function encodeQ5(from: Float32Array, to: Uint8Array): void {
  for (let at = 0, i = 0; at < from.length; at += 32, i += 22) {
    const step = blockStep(from, at, 16);
    const inverse = inverseOf(step);
    putHalf(to, i, step);
    let [low, high] = [0, 0];
    for (let j = 0; j < 16; j++) {
      const [first, second] = [level(from[at + j]!, inverse, 16), level(from[at + j + 16]!, inverse, 16)];
      to[i + 6 + j] = (first & 15) | ((second & 15) << 4);
      low |= (first >> 4) << j;
      high |= (second >> 4) << j;
    }
    to[i + 2] = low & 255;
    to[i + 3] = low >> 8;
    to[i + 4] = high & 255;
    to[i + 5] = high >> 8;
  }
}

/** x ≈ step · q - floor with q in 0 … 15 and neither negative. */
interface Line {
  readonly step: number;
  readonly floor: number;
}

/** The least-squares line for the levels that a line gives, and the squared error of the line itself. */
function refineLine(x: Float32Array, at: number, { step, floor }: Line): { readonly line: Line; readonly error: number } {
  const inverse = inverseOf(step);
  let [sum, q1, q2, xq, error] = [0, 0, 0, 0, 0];
  for (let i = at; i < at + 32; i++) {
    const q = clamp(nearest((x[i]! + floor) * inverse), 0, 15);
    const difference = x[i]! - (step * q - floor);
    error += difference * difference;
    sum += x[i]!;
    q1 += q;
    q2 += q * q;
    xq += x[i]! * q;
  }
  const spread = 32 * q2 - q1 * q1;
  const slope = spread === 0 ? step : (32 * xq - sum * q1) / spread;
  const offset = (slope * q1 - sum) / 32;
  if (slope > 0 && offset >= 0) return { line: { step: slope, floor: offset }, error };
  return { line: { step: q2 === 0 ? step : Math.max(0, xq / q2), floor: 0 }, error };
}

/** How many levels the range of a group is first taken to span. */
const spans = [14, 15, 16];

function fitLine(x: Float32Array, at: number): Line {
  let [low, high] = [0, -Infinity];
  for (let i = at; i < at + 32; i++) {
    low = Math.min(low, x[i]!);
    high = Math.max(high, x[i]!);
  }
  let [best, least]: [Line, number] = [{ step: 0, floor: -low }, Infinity];
  for (const span of spans) {
    let line: Line = { step: (high - low) / span, floor: -low };
    for (let round = 0; round < 3; round++) {
      const refined = refineLine(x, at, line);
      if (refined.error < least) [best, least] = [line, refined.error];
      line = refined.line;
    }
  }
  return best;
}

/** Scales and minima, 6 bits each, into the 12 bytes at `i`: the inverse of `groupScale` and `groupMin`. */
function putGroupScales(to: Uint8Array, i: number, scales: readonly number[], minima: readonly number[]): void {
  for (let group = 0; group < 4; group++) {
    to[i + group] = scales[group]! | ((scales[group + 4]! >> 4) << 6);
    to[i + group + 4] = minima[group]! | ((minima[group + 4]! >> 4) << 6);
    to[i + group + 8] = (scales[group + 4]! & 15) | ((minima[group + 4]! & 15) << 4);
  }
}

function encodeQ4K(from: Float32Array, to: Uint8Array): void {
  for (let at = 0, i = 0; at < from.length; at += 256, i += 144) {
    const lines = Array.from({ length: 8 }, (_, group) => fitLine(from, at + group * 32));
    const scale = half(Math.max(...lines.map(({ step }) => step)) / 63);
    const min = half(Math.max(...lines.map(({ floor }) => floor)) / 63);
    const scales = lines.map(({ step }) => clamp(nearest(step * inverseOf(scale)), 0, 63));
    const minima = lines.map(({ floor }) => clamp(nearest(floor * inverseOf(min)), 0, 63));
    putHalf(to, i, scale);
    putHalf(to, i + 2, min);
    putGroupScales(to, i + 4, scales, minima);
    to.fill(0, i + 16, i + 144);
    for (let group = 0; group < 8; group++) {
      const [inverse, floor] = [inverseOf(scale * scales[group]!), min * minima[group]!];
      const [bits, shift] = [i + 16 + (group >> 1) * 32, (group & 1) * 4];
      for (let j = 0; j < 32; j++) to[bits + j]! |= clamp(nearest((from[at + group * 32 + j]! + floor) * inverse), 0, 15) << shift;
    }
  }
}

function groupStep(x: Float32Array, at: number): number {
  const peak = signedPeak(x, at, at + 16);
  return peak === 0 ? 0 : searchedStep(x, at, at + 16, peak, 32);
}

function encodeQ6K(from: Float32Array, to: Uint8Array): void {
  for (let at = 0, i = 0; at < from.length; at += 256, i += 210) {
    const steps = Array.from({ length: 16 }, (_, group) => groupStep(from, at + group * 16));
    const scale = half(steps.reduce((peak, step) => (Math.abs(step) > Math.abs(peak) ? step : peak), 0) / -128);
    putHalf(to, i + 208, scale);
    to.fill(0, i, i + 192);
    for (let group = 0; group < 16; group++) {
      const multiple = clamp(nearest(steps[group]! * inverseOf(scale)), -128, 127);
      const inverse = inverseOf(scale * multiple);
      to[i + 192 + group] = multiple;
      const quarter = (group >> 1) & 3;
      const low = i + (group >> 3) * 64 + (group & 3) * 16;
      const high = i + 128 + (group >> 3) * 32 + (group & 1) * 16;
      for (let j = 0; j < 16; j++) {
        const value = level(from[at + group * 16 + j]!, inverse, 32);
        to[low + j]! |= (value & 15) << ((quarter >> 1) * 4);
        to[high + j]! |= (value >> 4) << (quarter * 2);
      }
    }
  }
}

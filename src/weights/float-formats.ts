/**
 * Conversions between float32 and the narrower formats of checkpoints, in bulk. They work on bit patterns, so that NaN
 * payloads survive. `from` and `to` have the same length.
 */

/** bfloat16 is the upper half of a float32. */
export function widenBfloat16(from: Uint16Array, to: Float32Array): void {
  const bits = bitsOf(to);
  for (let i = 0; i < from.length; i++) bits[i] = (from[i] as number) << 16;
}

export function widenFloat16(from: Uint16Array, to: Float32Array): void {
  lookUp(from, to, (float16Table ??= Uint32Array.from({ length: 0x10000 }, (_, half) => float16ToBits(half))));
}

/** E4M3 without infinities (OCP 8-bit floating point, "FN"): the largest value is 448, all ones is NaN. */
export function widenFloat8E4M3(from: Uint8Array, to: Float32Array): void {
  lookUp(from, to, (e4m3Table ??= Uint32Array.from({ length: 0x100 }, (_, byte) => e4m3ToBits(byte))));
}

/** E5M2 is the upper half of a float16. */
export function widenFloat8E5M2(from: Uint8Array, to: Float32Array): void {
  lookUp(from, to, (e5m2Table ??= Uint32Array.from({ length: 0x100 }, (_, byte) => float16ToBits(byte << 8))));
}

/** E8M0 is an exponent alone (OCP microscaling formats): 2^(byte − 127), all ones is NaN. It is for scales. */
export function widenFloat8E8M0(from: Uint8Array, to: Float32Array): void {
  const bits = bitsOf(to);
  // Byte 0, 2^-127, is subnormal in float32.
  for (let i = 0; i < from.length; i++) bits[i] = from[i] === 0 ? 0x00400000 : from[i] === 0xff ? 0x7fc00000 : (from[i] as number) << 23;
}

/** Rounds to nearest, ties to even. */
export function narrowBfloat16(from: Float32Array, to: Uint16Array): void {
  const bits = bitsOf(from);
  for (let i = 0; i < bits.length; i++) {
    const word = bits[i] as number;
    const upper = word >>> 16;
    // A NaN whose payload lies in the lower half alone would become an infinity.
    if ((word & 0x7fffffff) > 0x7f800000) to[i] = (upper & 0x7f) === 0 ? upper | 0x40 : upper;
    else to[i] = (word + 0x7fff + (upper & 1)) >>> 16;
  }
}

/** Rounds to nearest, ties to even; magnitudes from 65,520 become infinite. */
export function narrowFloat16(from: Float32Array, to: Uint16Array): void {
  const bits = bitsOf(from);
  for (let i = 0; i < bits.length; i++) to[i] = bitsToFloat16(bits[i] as number);
}

/** Rounds to nearest, ties to even; magnitudes above 448, the largest there is, become 448. */
export function narrowFloat8E4M3(from: Float32Array, to: Uint8Array): void {
  const bits = bitsOf(from);
  for (let i = 0; i < bits.length; i++) to[i] = bitsToE4M3(bits[i] as number);
}

let float16Table: Uint32Array | undefined;
let e4m3Table: Uint32Array | undefined;
let e5m2Table: Uint32Array | undefined;

function bitsOf(values: Float32Array): Uint32Array {
  return new Uint32Array(values.buffer, values.byteOffset, values.length);
}

function lookUp(from: Uint16Array | Uint8Array, to: Float32Array, table: Uint32Array): void {
  const bits = bitsOf(to);
  for (let i = 0; i < from.length; i++) bits[i] = table[from[i] as number] as number;
}

function float16ToBits(half: number): number {
  const sign = (half & 0x8000) << 16;
  const exponent = (half >>> 10) & 0x1f;
  const fraction = half & 0x3ff;
  if (exponent === 0x1f) return sign | 0x7f800000 | (fraction << 13);
  if (exponent === 0) return sign | floatBits(fraction * 2 ** -24);
  return sign | ((exponent + 112) << 23) | (fraction << 13);
}

function e4m3ToBits(byte: number): number {
  const sign = (byte & 0x80) << 24;
  const exponent = (byte >>> 3) & 0xf;
  const fraction = byte & 7;
  if (exponent === 0xf && fraction === 7) return sign | 0x7fc00000;
  if (exponent === 0) return sign | floatBits(fraction * 2 ** -9);
  return sign | ((exponent + 120) << 23) | (fraction << 20);
}

function floatBits(value: number): number {
  return bitsOf(Float32Array.of(value))[0] as number;
}

function bitsToFloat16(word: number): number {
  const sign = (word >>> 16) & 0x8000;
  const magnitude = word & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7c00 | ((magnitude >>> 13) & 0x3ff || 0x200);
  if (magnitude >= 0x477ff000) return sign | 0x7c00;
  if (magnitude >= 0x38800000) return sign | ((magnitude - 0x38000000 + 0xfff + ((magnitude >>> 13) & 1)) >>> 13);
  if (magnitude < 0x33000000) return sign;
  // Subnormal: the significand, counted in units of 2^-24.
  const shift = 126 - (magnitude >>> 23);
  const significand = (magnitude & 0x7fffff) | 0x800000;
  return sign | ((significand + (1 << (shift - 1)) - 1 + ((significand >>> shift) & 1)) >>> shift);
}

function bitsToE4M3(word: number): number {
  const sign = (word >>> 24) & 0x80;
  const magnitude = word & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7f;
  if (magnitude >= 0x43e00000) return sign | 0x7e;
  if (magnitude >= 0x3c800000) return sign | ((magnitude - 0x3c000000 + 0x7ffff + ((magnitude >>> 20) & 1)) >>> 20);
  if (magnitude < 0x3a800000) return sign;
  // Subnormal: the significand, counted in units of 2^-9.
  const shift = 141 - (magnitude >>> 23);
  const significand = (magnitude & 0x7fffff) | 0x800000;
  return sign | ((significand + (1 << (shift - 1)) - 1 + ((significand >>> shift) & 1)) >>> shift);
}

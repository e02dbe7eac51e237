import type { CharSet } from "./expression.ts";

/** One range [low, high] of bytes for each byte of a character. */
export type ByteRanges = readonly (readonly [number, number])[];

/** Last code point that one, two, three and four bytes hold. */
const lasts = [0x7f, 0x7ff, 0xffff, 0x10ffff];

/** The UTF-8 of a set's characters as alternatives: every combination of bytes within one of them is one character. */
export function utf8(set: CharSet): ByteRanges[] {
  const out: ByteRanges[] = [];
  for (const [low, high] of set) {
    for (const [extra, last] of lasts.entries()) {
      const from = Math.max(low, extra === 0 ? 0 : (lasts[extra - 1] as number) + 1);
      if (from <= Math.min(high, last)) split(from, Math.min(high, last), extra, out);
    }
  }
  return out;
}

/** Cuts a range of equally long characters so that bytes after the first that differ run from 80 to BF. */
function split(low: number, high: number, extra: number, out: ByteRanges[]): void {
  for (let bits = 6; bits <= 6 * extra; bits += 6) {
    const mask = (1 << bits) - 1;
    if (low >> bits === high >> bits) continue;
    if ((low & mask) !== 0) {
      split(low, low | mask, extra, out);
      split((low | mask) + 1, high, extra, out);
      return;
    }
    if ((high & mask) !== mask) {
      split(low, (high & ~mask) - 1, extra, out);
      split(high & ~mask, high, extra, out);
      return;
    }
  }
  const [from, to] = [encode(low, extra), encode(high, extra)];
  out.push(from.map((byte, i) => [byte, to[i] as number] as const));
}

function encode(code: number, extra: number): number[] {
  if (extra === 0) return [code];
  const bytes = Array.from({ length: extra }, (_, i) => 0x80 | ((code >> (6 * (extra - 1 - i))) & 0x3f));
  return [((0xff00 >> (extra + 1)) & 0xff) | (code >> (6 * extra)), ...bytes];
}

/**
 * Seeded randomness as a value. Nothing in Longjing calls `Math.random`: a stream is named by its parts (task, split, seed,
 * index, …), so two streams that share a seed are still unrelated, and a stream's state is four numbers that go into a
 * checkpoint.
 */
export interface Random {
  /** Uniform in [0, 1), 53 bits. */
  next(): number;
  /** Uniform integer in [0, bound). */
  below(bound: number): number;
  /** Uniform integer in [low, high], both included. */
  between(low: number, high: number): number;
  pick<T>(items: readonly T[]): T;
  /** A new array, shuffled (Fisher and Yates). */
  shuffle<T>(items: readonly T[]): T[];
  /** Standard normal (Box and Muller, one of the pair). */
  normal(): number;
  state(): RandomState;
}

export type RandomState = readonly [number, number, number, number];

/** A stream named by `parts`; equal parts give equal streams, any difference gives an unrelated one. */
export function random(...parts: readonly (string | number)[]): Random {
  return fromState(seedState(JSON.stringify(parts)));
}

/** Continues a stream where `state()` was taken. */
export function fromState(state: RandomState): Random {
  let [a, b, c, d] = state;
  // sfc32 (PractRand's small fast counter generator): 128 bits of state, no multiplication.
  const bits = (): number => {
    const t = (((a + b) | 0) + d) | 0;
    d = (d + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (c << 21) | (c >>> 11);
    c = (c + t) | 0;
    return t >>> 0;
  };
  const next = (): number => ((bits() >>> 5) * 0x4000000 + (bits() >>> 6)) / 0x20000000000000;
  const below = (bound: number): number => Math.floor(next() * bound);
  return {
    next,
    below,
    between: (low, high) => low + below(high - low + 1),
    pick: (items) => items[below(items.length)] as (typeof items)[number],
    shuffle: (items) => {
      const out = [...items];
      for (let i = out.length - 1; i > 0; i--) {
        const j = below(i + 1);
        [out[i], out[j]] = [out[j] as (typeof out)[number], out[i] as (typeof out)[number]];
      }
      return out;
    },
    normal: () => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next()),
    state: () => [a, b, c, d],
  };
}

/** Four words from a text: FNV-1a over its UTF-16 units with four offsets, each finished by MurmurHash3's mixer. */
function seedState(text: string): RandomState {
  const word = (offset: number): number => {
    let hash = (0x811c9dc5 ^ offset) | 0;
    for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
    hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
    hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
    return (hash ^ (hash >>> 16)) | 0;
  };
  return [word(1), word(0x9e3779b9), word(0x3c6ef372), word(0xdaa66d2b)];
}

/** Draws one of `items` as often as its weight says: one number of the stream. The weights are at least 0, and not all 0. */
export function pickWeighted<T>(stream: Random, items: readonly T[], weightOf: (item: T) => number): T {
  let left = stream.next() * items.reduce((sum, item) => sum + weightOf(item), 0);
  // Sums round: what lies behind the last border is the last that has a weight.
  return items.find((item) => (left -= weightOf(item)) < 0) ?? items.findLast((item) => weightOf(item) > 0)!;
}

/** A set of code points: ranges [low, high], ascending and apart. Surrogates are not in any text and so in no set. */
export type CharSet = readonly (readonly [number, number])[];

/** What a text may be: a context-free grammar's right side, over code points. */
export type Expression =
  /** One code point of the set. */
  | { readonly type: "chars"; readonly set: CharSet }
  | { readonly type: "sequence"; readonly items: readonly Expression[] }
  | { readonly type: "choice"; readonly items: readonly Expression[] }
  | { readonly type: "repeat"; readonly item: Expression; readonly min: number; readonly max: number }
  /** Decimal digits of a number that `of` divides, a whole number from 1; none are 0. */
  | { readonly type: "multiple"; readonly of: number }
  /** Whatever the rule of this name says. */
  | { readonly type: "rule"; readonly name: string }
  /** What `item` says and `other` says too (`and`), or does not say (`and not`). Neither may name a rule. */
  | { readonly type: "and" | "and not"; readonly item: Expression; readonly other: Expression };

export interface Grammar {
  /** Name of the rule that the whole text follows. */
  readonly root: string;
  readonly rules: ReadonlyMap<string, Expression>;
}

export const lastCodePoint = 0x10ffff;

/** A set from ranges in any order, overlapping or not. */
export function charSet(ranges: Iterable<readonly [number, number]>): CharSet {
  const sorted = [...ranges].filter(([low, high]) => low <= high).sort((a, b) => a[0] - b[0]);
  const merged: [number, number][] = [];
  for (const [low, high] of sorted) {
    const last = merged.at(-1);
    if (last !== undefined && low <= last[1] + 1) last[1] = Math.max(last[1], high);
    else merged.push([low, high]);
  }
  return merged.flatMap(([low, high]) => [
    ...(low < 0xd800 ? [[low, Math.min(high, 0xd7ff)] as const] : []),
    ...(high > 0xdfff ? [[Math.max(low, 0xe000), high] as const] : []),
  ]);
}

export function complement(set: CharSet): CharSet {
  let next = 0;
  const gaps: [number, number][] = [];
  for (const [low, high] of set) {
    gaps.push([next, low - 1]);
    next = high + 1;
  }
  return charSet([...gaps, [next, lastCodePoint]]);
}

export function intersection(a: CharSet, b: CharSet): CharSet {
  return charSet(a.flatMap(([low, high]) => b.map(([from, to]) => [Math.max(low, from), Math.min(high, to)] as const)));
}

/** The code points of a text, as a set. */
export const setOf = (text: string): CharSet => charSet(Array.from(text, (char) => [codePoint(char), codePoint(char)] as const));

export const codePoint = (char: string): number => char.codePointAt(0) as number;

export const chars = (set: CharSet): Expression => ({ type: "chars", set });
export const range = (low: string, high: string): Expression => chars([[codePoint(low), codePoint(high)]]);
export const digit: Expression = range("0", "9");
/** Each of the ten. */
export const digitSets: readonly CharSet[] = Array.from("0123456789", setOf);
export const anyChar: Expression = chars(complement([]));
export const sequence = (...items: readonly Expression[]): Expression => (items.length === 1 ? (items[0] as Expression) : { type: "sequence", items });
export const choice = (...items: readonly Expression[]): Expression => (items.length === 1 ? (items[0] as Expression) : { type: "choice", items });
export const repeat = (item: Expression, min: number, max = Infinity): Expression => ({ type: "repeat", item, min, max });
export const optional = (item: Expression): Expression => repeat(item, 0, 1);
export const rule = (name: string): Expression => ({ type: "rule", name });
export const literal = (text: string): Expression => sequence(...Array.from(text, (char) => chars(setOf(char))));
/** The empty text, and no text at all. */
export const empty: Expression = { type: "sequence", items: [] };
export const nothing: Expression = { type: "choice", items: [] };

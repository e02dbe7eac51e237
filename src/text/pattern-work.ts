/**
 * In how many ways a backtracking search may go through a pattern from one place of a text of n characters: `factor` times n to
 * the power of `degree`, at most.
 */
export interface Ways {
  readonly factor: number;
  readonly degree: number;
}

/** A part of a pattern as JavaScript's `u` flag reads it; `most` is infinite for a repetition without end. */
type Part =
  | { readonly type: "one" }
  | { readonly type: "anchor" }
  | { readonly type: "look"; readonly alternatives: Alternatives }
  | { readonly type: "group"; readonly alternatives: Alternatives }
  | { readonly type: "repeat"; readonly part: Part; readonly least: number; readonly most: number };
type Alternatives = readonly (readonly Part[])[];

/** One thing of a pattern: an escape, a class, the start or end of a group, a repetition, a bar, or a character. */
const token = /\\[pPu]\{[^}]*\}|\\[\s\S]|\[(?:\\[\s\S]|[^\]\\])*\]|\((?:\?(?:<[=!]|[:=!]|<[^>]*>))?|[)|]|(?:[*+?]|\{\d+(?:,\d*)?\})\??|[\s\S]/gu;
const repetition = /^(?:[*+?]|\{(\d+)(,?)(\d*)\})\??$/;

/** A repetition with bounds is compiled as often as it repeats. */
const longestPattern = 2 ** 13;

const once: Ways = { factor: 1, degree: 0 };

/**
 * Counts the ways of a regular expression with the `u` flag. Where nothing behind a part can fail, the first way is final. Null
 * for what is not bounded so: a repetition without end of what may match in several ways or match nothing, a reference back,
 * and what is too long.
 */
export function waysThrough(source: string): Ways | null {
  if (source.length > longestPattern) return null;
  const tokens = source.match(token) ?? [];
  const at = { index: 0 };
  const read = alternatives(tokens, at);
  if (read === null || at.index < tokens.length || read.flat().reduce((sum, part) => sum + length(part), 0) > longestPattern) return null;
  return ofAlternatives(read, false);
}

function alternatives(tokens: readonly string[], at: { index: number }): Alternatives | null {
  const read: Part[][] = [[]];
  for (; at.index < tokens.length && tokens[at.index] !== ")"; at.index++) {
    const text = tokens[at.index]!;
    const bounds = repetition.exec(text);
    const parts = read.at(-1)!;
    if (text === "|") read.push([]);
    else if (bounds !== null) {
      const part = parts.pop();
      if (part === undefined) return null;
      parts.push({ type: "repeat", part, ...limits(bounds) });
    } else {
      const part = text.startsWith("(") ? group(text, tokens, at) : single(text);
      if (part === null) return null;
      parts.push(part);
    }
  }
  return read;
}

function limits([text, least, comma, most]: readonly string[]): { least: number; most: number } {
  if (least === undefined) return { least: text!.startsWith("+") ? 1 : 0, most: text!.startsWith("?") ? 1 : Infinity };
  return { least: Number(least), most: comma === "" ? Number(least) : most === "" ? Infinity : Number(most) };
}

function group(open: string, tokens: readonly string[], at: { index: number }): Part | null {
  at.index++;
  const inside = alternatives(tokens, at);
  if (inside === null || tokens[at.index] !== ")") return null;
  return { type: /^\(\?<?[=!]/.test(open) ? "look" : "group", alternatives: inside };
}

function single(text: string): Part | null {
  if (/^\\[1-9k]/.test(text)) return null;
  return { type: /^(?:[\^$]|\\[bB])$/.test(text) ? "anchor" : "one" };
}

function length(part: Part): number {
  if (part.type === "one" || part.type === "anchor") return 1;
  if (part.type === "repeat") return length(part.part) * Math.max(1, part.most === Infinity ? part.least : part.most);
  return part.alternatives.flat().reduce((sum, inner) => sum + length(inner), 1);
}

function mayBeEmpty(part: Part): boolean {
  if (part.type === "repeat") return part.least === 0 || mayBeEmpty(part.part);
  if (part.type === "group") return part.alternatives.some((parts) => parts.every(mayBeEmpty));
  return part.type !== "one";
}

/** Whether it matches everywhere, be it nothing. */
function matchesAlways(part: Part): boolean {
  if (part.type === "repeat") return part.least === 0 || matchesAlways(part.part);
  return part.type === "group" && part.alternatives.some((parts) => parts.every(matchesAlways));
}

/** `retried`: what follows may fail, and then the next way is tried. */
function ofAlternatives(parts: Alternatives, retried: boolean): Ways | null {
  return parts.map((sequence) => ofSequence(sequence, retried)).reduce(sum);
}

function ofSequence(parts: readonly Part[], retried: boolean): Ways | null {
  let ways: Ways | null = once;
  for (const part of parts.toReversed()) {
    ways = product(ways, ofPart(part, retried));
    retried ||= !matchesAlways(part);
  }
  return ways;
}

function ofPart(part: Part, retried: boolean): Ways | null {
  if (part.type === "one" || part.type === "anchor") return once;
  if (part.type === "group") return ofAlternatives(part.alternatives, retried);
  if (part.type === "look") return ofAlternatives(part.alternatives, true);
  const { least, most, part: inner } = part;
  const each = ofPart(inner, retried || most > 1);
  const oneWay = each !== null && each.degree === 0 && each.factor === 1;
  if (most === Infinity) return !oneWay || mayBeEmpty(inner) ? null : retried ? { factor: 1, degree: 1 } : once;
  if (oneWay) return { factor: retried ? most - least + 1 : 1, degree: 0 };
  let power: Ways | null = once;
  let ways: Ways | null = { factor: 0, degree: 0 };
  for (let times = 0; times <= most && power !== null && power.factor < Infinity; times++) {
    if (times >= least) ways = sum(ways, power);
    power = product(power, each);
  }
  return power === null || power.factor === Infinity ? null : ways;
}

function sum(a: Ways | null, b: Ways | null): Ways | null {
  return a === null || b === null ? null : { factor: a.factor + b.factor, degree: Math.max(a.degree, b.degree) };
}

function product(a: Ways | null, b: Ways | null): Ways | null {
  return a === null || b === null ? null : { factor: a.factor * b.factor, degree: a.degree + b.degree };
}

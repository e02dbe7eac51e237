import { add, negate, type Rational } from "../rational.ts";
import { constant } from "./algebra.ts";
import type { MathObject } from "./math-parser.ts";

/** An end of an interval: a number or an infinity, and whether it belongs to the interval. */
interface End {
  readonly at: Rational | "-∞" | "∞";
  readonly closed: boolean;
}

interface Interval {
  readonly object: MathObject;
  readonly from: End;
  readonly to: End;
}

/** A union of intervals between rational numbers or infinities, as the fewest intervals: [0,1] ∪ [1,2] is [0,2]. Anything else is as it was. */
export function merged(object: MathObject): MathObject {
  if (object.kind !== "union") return object;
  const intervals = object.parts.map(intervalOf);
  if (!intervals.every((interval) => interval !== null)) return object;
  const kept: Interval[] = [];
  for (const interval of intervals.sort((a, b) => order(a.from.at, b.from.at) || Number(b.from.closed) - Number(a.from.closed))) {
    const last = kept.at(-1);
    const gap = last === undefined ? 1 : order(interval.from.at, last.to.at);
    if (last === undefined || gap > 0 || (gap === 0 && !interval.from.closed && !last.to.closed)) kept.push(interval);
    else kept[kept.length - 1] = joined(last, interval);
  }
  return kept.length === 1 ? kept[0]!.object : { kind: "union", parts: kept.map((interval) => interval.object) };
}

function joined(first: Interval, second: Interval): Interval {
  const further = order(second.to.at, first.to.at) || Number(second.to.closed) - Number(first.to.closed);
  if (further <= 0 || first.object.kind !== "tuple" || second.object.kind !== "tuple") return first;
  return { from: first.from, to: second.to, object: { ...first.object, close: second.object.close, items: [first.object.items[0]!, second.object.items[1]!] } };
}

/** Null for what is none, and for one that holds nothing or a single point. */
function intervalOf(object: MathObject): Interval | null {
  if (object.kind !== "tuple" || object.items.length !== 2) return null;
  const [from, to] = object.items.map(valueOf);
  if (!from || !to || order(from, to) >= 0) return null;
  return { object, from: { at: from, closed: object.open === "[" }, to: { at: to, closed: object.close === "]" } };
}

function valueOf(object: MathObject): End["at"] | null {
  if (object.kind === "infinity") return object.negative ? "-∞" : "∞";
  return object.kind === "scalar" && object.unit === null && !object.percent ? constant(object.value) : null;
}

function order(a: End["at"], b: End["at"]): number {
  if (typeof a === "string" || typeof b === "string") return rank(a) - rank(b);
  return Number(add(a, negate(b)).numerator > 0n) - Number(add(a, negate(b)).numerator < 0n);
}

const rank = (end: End["at"]): number => (end === "∞" ? 1 : end === "-∞" ? -1 : 0);

import type { Budget } from "./template-texts.ts";
import { isFloat, isInteger, isList, isMapping, isNone, isText, isTruth, nameOf, writtenNumber, type Value } from "./template-values.ts";

const charactersPerStep = 32;

export interface JsonStyle {
  /** What one level is moved in by; null for one line. */
  readonly indent: string | null;
  readonly ascii: boolean;
  readonly separators: readonly [item: string, key: string];
  readonly sorted: boolean;
}

/**
 * Python's `json.dumps`.
 * @throws Error for what JSON has no form for
 */
export function toJson(value: Value, style: JsonStyle, budget: Budget, depth = 0): string {
  if (isText(value)) return jsonText(value.value, style);
  if (isNone(value)) return "null";
  if (isTruth(value)) return String(value.value);
  if (isInteger(value)) return writtenNumber(value);
  if (isFloat(value)) return writtenNumber(value).replace("inf", "Infinity").replace("nan", "NaN");
  if (isList(value)) return enclosed("[]", value.value.map((item) => toJson(item, style, budget, depth + 1)), style, budget, depth);
  if (!isMapping(value)) throw new Error(`${nameOf(value)} cannot be written as JSON`);
  const entries = style.sorted ? [...value.value].toSorted(([a], [b]) => (a < b ? -1 : 1)) : [...value.value];
  return enclosed("{}", entries.map(([key, item]) => jsonText(key, style) + style.separators[1] + toJson(item, style, budget, depth + 1)), style, budget, depth);
}

function enclosed(brackets: string, items: readonly string[], { indent, separators }: JsonStyle, budget: Budget, depth: number): string {
  const [open, close] = brackets;
  if (indent === null || items.length === 0) return open + items.join(separators[0]) + close;
  const margins = indent.length * (depth + 2) * items.length;
  budget.make(margins);
  budget.spend(margins / charactersPerStep);
  const line = `\n${indent.repeat(depth)}`;
  return open + line + indent + items.join(separators[0] + line + indent) + line + close;
}

function jsonText(text: string, { ascii }: JsonStyle): string {
  const written = JSON.stringify(text);
  return ascii ? written.replace(/[\x7f-\uffff]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`) : written;
}

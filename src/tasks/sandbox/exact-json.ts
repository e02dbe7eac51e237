/** Reads JSON; a whole number that JavaScript's numbers do not tell from its neighbours (beyond 2^53) is a bigint. @throws SyntaxError */
export function parseExactJson(text: string): unknown {
  const plain: unknown = JSON.parse(text);
  const integers = [...text.matchAll(tokens)].filter(([token]) => isLarge(token));
  if (integers.length === 0) return plain;
  // The large ones go through the reader as strings that begin as no other string there does.
  let mark = "#";
  const taken = (_: string, value: unknown): unknown => {
    while (typeof value === "string" && value.startsWith(mark)) mark += "#";
    return value;
  };
  for (let before = ""; before !== mark; ) {
    before = mark;
    JSON.parse(text, taken);
  }
  const marked = text.replace(tokens, (token) => (isLarge(token) ? `"${mark}${token}"` : token));
  return JSON.parse(marked, (_, value: unknown) => (typeof value === "string" && value.startsWith(mark) ? BigInt(value.slice(mark.length)) : value));
}

/** The strings and numbers of a text that is JSON. */
const tokens = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;

const isLarge = (token: string): boolean => token.length > 15 && /^-?\d+$/.test(token) && !Number.isSafeInteger(Number(token));

/** JSON of a value, with bigints as their digits and the keys of objects in their order, or sorted. */
export function writeExactJson(value: unknown, sorted = false): string {
  if (typeof value === "bigint") return value.toString();
  if (Array.isArray(value)) return `[${value.map((item) => writeExactJson(item, sorted)).join(",")}]`;
  if (typeof value !== "object" || value === null || "toJSON" in value) return JSON.stringify(value) ?? "null";
  const entries = Object.entries(value).filter(([, inner]) => inner !== undefined);
  if (sorted) entries.sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${entries.map(([key, inner]) => `${JSON.stringify(key)}:${writeExactJson(inner, sorted)}`).join(",")}}`;
}

/** A number in a value, however deep, that may have been another integer before it was one of JavaScript's; else undefined. */
export function inexactInteger(value: unknown): number | undefined {
  if (typeof value === "number") return Number.isInteger(value) && !Number.isSafeInteger(value) ? value : undefined;
  if (typeof value !== "object" || value === null) return undefined;
  for (const inner of Object.values(value) as unknown[]) {
    const found = inexactInteger(inner);
    if (found !== undefined) return found;
  }
  return undefined;
}

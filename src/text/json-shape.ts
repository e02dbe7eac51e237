/** How deep a JSON text is nested, and how many keys it has: each colon outside of strings is behind a key. Linear, and never recursive. */
export function jsonShape(json: string): { readonly depth: number; readonly keys: number } {
  let [depth, deepest, keys] = [0, 0, 0];
  let inString = false;
  for (let at = 0; at < json.length; at++) {
    const char = json[at];
    if (inString && char === "\\") at++;
    else if (char === '"') inString = !inString;
    else if (inString) continue;
    else if (char === "[" || char === "{") deepest = Math.max(deepest, ++depth);
    else if (char === "]" || char === "}") depth--;
    else if (char === ":") keys++;
  }
  return { depth: deepest, keys };
}

/** Levels of JSON that are read: far above what clients send, and far below what would exhaust a stack. */
export const mostJsonDepth = 256;

/** Whether brackets and braces of a JSON text, strings aside, are nested deeper than we read. Linear, and never recursive. */
export function isTooDeep(json: string): boolean {
  let depth = 0;
  for (let at = 0; at < json.length; at++) {
    const char = json[at];
    if (char === '"') at = endOfString(json, at);
    else if ((char === "[" || char === "{") && ++depth > mostJsonDepth) return true;
    else if (char === "]" || char === "}") depth--;
  }
  return false;
}

/** The closing quote of the string that opens at `from`, or the text's end. */
function endOfString(json: string, from: number): number {
  let at = from + 1;
  while (at < json.length && json[at] !== '"') at += json[at] === "\\" ? 2 : 1;
  return at;
}

import { LongjingError } from "../errors/index.ts";

/** What may be done to a text before it is split; a rule that replaces text could make it longer without end. */
const normalizers = ["NFC", "NFD", "NFKC", "NFKD", "Lowercase", "Strip", "StripAccents", "Sequence"];

const longestPattern = 2 ** 13;
const mostRepeats = 2;

/**
 * Checks the rules of a tokenizer.json that run on every text: a file may come from anyone, and its regular expressions would run
 * in this process.
 * @throws LongjingError "unsupported"
 */
export function checkRules(normalizer: unknown, preTokenizer: unknown): void {
  for (const rule of rulesIn(normalizer)) {
    const { type } = rule;
    if (typeof type === "string" && !normalizers.includes(type)) throw refused("A normalizer of this type is not followed", type, normalizers.join(" | "), "normalizer");
  }
  for (const rule of rulesIn(preTokenizer)) {
    const { type, pattern } = rule;
    if (pattern === undefined && type !== "Split") continue;
    const { Regex: regex, String: text } = Object(pattern) as { Regex?: unknown; String?: unknown };
    if (typeof text === "string" && regex === undefined) continue;
    if (typeof regex !== "string") throw refused("A split has no pattern", typeof regex, "Regex | String", "pre_tokenizer");
    if (!endsSoon(regex)) throw refused("A split could take for ever", regex, `at most ${mostRepeats} repetitions without end in a row, and none of a group`, "pre_tokenizer");
  }
}

const refused = (message: string, got: string, expected: string, rule: string): LongjingError => new LongjingError("unsupported", message, { got, expected, where: `tokenizer.json: ${rule}` });

/** Every object within a rule, itself included. */
function* rulesIn(rule: unknown): Generator<Readonly<Record<string, unknown>>> {
  const left = [rule];
  while (left.length > 0) {
    const next = left.pop();
    if (typeof next !== "object" || next === null) continue;
    if (!Array.isArray(next)) yield next as Readonly<Record<string, unknown>>;
    for (const child of Object.values(next)) left.push(child);
  }
}

/** One thing of a pattern: an escape, a class, the start or end of a group, a repetition, a bar, or a character. */
const token = /\\[pP]\{[^}]*\}|\\u\{[^}]*\}|\\[\s\S]|\[(?:\\[\s\S]|[^\]\\])*\]|\(\?(?:[a-z]+:|<?[=!]|:)?|[()|]|[*+?]|\{\d+(?:,\d*)?\}|[\s\S]/gu;
const repeated = /^(?:[*+]|\{\d+,\d*\})$/;
const endless = /^(?:[*+]|\{\d+,\})$/;

/**
 * Whether a search takes at most quadratic time: what backtracks is repeated at most twice in a row, and no group is repeated.
 * Every split of a well-known tokenizer is like that.
 */
function endsSoon(pattern: string): boolean {
  if (pattern.length > longestPattern) return false;
  let last = "";
  let repeats = 0;
  for (const [part] of pattern.matchAll(token)) {
    if (part === "|") repeats = 0;
    if (repeated.test(part) && last === ")") return false;
    if (endless.test(part) && ++repeats > mostRepeats) return false;
    last = part;
  }
  return true;
}

import { LongjingError } from "../../errors/index.ts";
import { withinDeadline } from "../../threads/index.ts";
import { wrong, type Verdict } from "./verdict.ts";

/** Longest answer that a pattern is held against, in UTF-16 units, and the milliseconds that it may take: a pattern may backtrack without bound. */
export const longestMatched = 4096;
export const longestMatching = 250;

/**
 * Whether the whole trimmed answer matches a pattern of JavaScript (flags "u" and "s"). What a pattern does not find in a quarter of a
 * second is no match.
 * @throws LongjingError "bad_argument" when the pattern is malformed
 */
export function verifyPattern(answer: string, pattern: string): Verdict {
  const whole = compiled(pattern);
  const said = answer.trim();
  if (said === "" || said.length > longestMatched) return wrong(null);
  return { correct: withinDeadline(longestMatching, () => whole.test(said))?.value === true, legal: true, parsed: said };
}

function compiled(pattern: string): RegExp {
  try {
    // Alone first: "a)|(b" is whole only within the brackets around it.
    void new RegExp(pattern, "us");
    return new RegExp(`^(?:${pattern})$`, "us");
  } catch (cause) {
    throw new LongjingError("bad_argument", "The pattern is no regular expression", { got: pattern }, { cause });
  }
}

import { LongjingError } from "../../errors/index.ts";
import { wrong, type Verdict } from "./verdict.ts";

/** Longest answer that a pattern is held against, in UTF-16 units: a pattern may take time that grows with a power of it. */
export const longestMatched = 4096;

/**
 * Whether the whole trimmed answer matches a pattern of JavaScript (flags "u" and "s"). The pattern is the task's own and must not
 * backtrack without bound; a pattern that is not trusted belongs into the sandbox.
 * @throws LongjingError "bad_argument" when the pattern is malformed
 */
export function verifyPattern(answer: string, pattern: string): Verdict {
  const whole = compiled(pattern);
  const said = answer.trim();
  if (said === "" || said.length > longestMatched) return wrong(null);
  return { correct: whole.test(said), legal: true, parsed: said };
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

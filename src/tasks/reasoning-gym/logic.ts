import { LongjingError } from "../../errors/index.ts";
import type { TraceWriter } from "./entry.ts";

/** A formula as a function of the values of its letters. */
type Formula = (values: ReadonlyMap<string, boolean>) => boolean;

const connectives: Readonly<Record<string, (a: boolean, b: boolean) => boolean>> = {
  "∨": (a, b) => a || b,
  "∧": (a, b) => a && b,
  "→": (a, b) => !a || b,
  "↔": (a, b) => a === b,
};

/**
 * A capital letter, ¬ before a formula, or two formulas in brackets with one of ∨ ∧ → ↔ between them.
 * @throws LongjingError `bad_argument`
 */
export function parseFormula(text: string): Formula {
  const symbols = [...text.replace(/\s/g, "")];
  if (symbols.length > 1000) throw new LongjingError("bad_argument", "The formula is too long", { got: symbols.length, expected: "at most 1000 symbols" });
  let at = 0;
  const refuse = (): never => {
    throw new LongjingError("bad_argument", "Not a formula", { got: symbols[at] ?? "the end", expected: "a letter, ¬ or (", where: `symbol ${at + 1} of ${text}` });
  };
  const formula = (): Formula => {
    const symbol = symbols[at++] ?? "";
    if (/^[A-Z]$/.test(symbol)) return (values) => values.get(symbol) ?? false;
    if (symbol === "¬") {
      const inner = formula();
      return (values) => !inner(values);
    }
    if (symbol !== "(") return refuse();
    const left = formula();
    const connective = connectives[symbols[at++] ?? ""] ?? refuse();
    const right = formula();
    if (symbols[at++] !== ")") return refuse();
    return (values) => connective(left(values), right(values));
  };
  const whole = formula();
  return at === symbols.length ? whole : refuse();
}

/** Whether `claim` holds wherever all premises hold, by its table of truth. At most 12 letters. */
export function follows(premises: readonly string[], claim: string): boolean {
  const letters = [...new Set([...premises, claim].join("").match(/[A-Z]/g) ?? [])];
  if (letters.length > 12) throw new LongjingError("bad_argument", "Too many letters for a table of truth", { got: letters.length, expected: "at most 12" });
  const [given, wanted] = [premises.map(parseFormula), parseFormula(claim)];
  return Array.from({ length: 2 ** letters.length }, (_, row) => new Map(letters.map((letter, i) => [letter, ((row >> i) & 1) === 1]))).every(
    (values) => wanted(values) || !given.every((premise) => premise(values)),
  );
}

const premisesOf = (question: string): string[] => [...question.matchAll(/^\.?\d+\. (.+)$/gm)].map(([, premise]) => premise!.trim());

/** The shortest premise that says anything: it follows from the premises. The first, where several are as short. */
export const conclusion: TraceWriter = ({ question }) => {
  const telling = premisesOf(question).filter((premise) => premise.length > 1 && !follows([], premise));
  const shortest = telling.reduce<string | null>((best, premise) => (best === null || premise.length < best.length ? premise : best), null);
  return shortest === null ? null : { thinking: "", answer: shortest };
};

/** As the verifier judges: it follows, is more than a letter, and is not true of everything. */
export const concludes = (answer: string, question: string): boolean => {
  const premises = premisesOf(question);
  try {
    return answer.length > 1 && !follows([], answer) && follows(premises, answer);
  } catch (error) {
    if (error instanceof LongjingError) return false;
    throw error;
  }
};

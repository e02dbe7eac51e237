import { wrong, type Verdict } from "./verdict.ts";

/** How much two texts may differ and still be the same. Each default is false: the texts are compared as they are, trimmed. */
export interface ExactOptions {
  /** "Yes" is "yes". */
  readonly ignoreCase?: boolean;
  /** Runs of white space are one space. */
  readonly ignoreSpaces?: boolean;
  /** Punctuation counts for nothing. */
  readonly ignorePunctuation?: boolean;
}

/** Whether an answer is the gold text, after Unicode's compatibility normalisation (full-width digits are digits). An empty text is no answer. */
export function verifyExact(answer: string, gold: string, options: ExactOptions = {}): Verdict {
  const said = normalised(answer, options);
  return said === "" ? wrong(null) : { correct: said === normalised(gold, options), legal: true, parsed: said };
}

function normalised(text: string, { ignoreCase = false, ignoreSpaces = false, ignorePunctuation = false }: ExactOptions): string {
  let result = text.normalize("NFKC");
  if (ignoreCase) result = result.toLowerCase();
  if (ignorePunctuation) result = result.replace(/\p{P}/gu, "");
  if (ignoreSpaces) result = result.replace(/\s+/g, " ");
  return result.trim();
}

/** Where a model thinks and where it answers: the template of DeepSeek-R1 (2501.12948, Table 1). */
export const tags = {
  thinkOpen: "<think>",
  thinkClose: "</think>",
  answerOpen: "<answer>",
  answerClose: "</answer>",
} as const;

/** A completion taken apart. Text that is not there, or not there unambiguously, is null. */
export interface Transcript {
  readonly thinking: string | null;
  readonly answer: string | null;
  /** One think block, then one answer block, and nothing else but white space. */
  readonly wellFormed: boolean;
}

const nothing: Transcript = { thinking: null, answer: null, wellFormed: false };

interface Tag {
  readonly name: string;
  readonly start: number;
  readonly end: number;
}

/**
 * Reads a completion. Total and linear: any string has a reading. An answer is only read where it is beyond doubt: one
 * answer block, after at most one think block that is closed. Repeated, nested or reversed tags give no answer.
 */
export function parseTranscript(text: string): Transcript {
  const found = findTags(text, 4);
  if (found === null) return nothing;
  const [first, second, third, fourth] = found;
  const between = (open: Tag, close: Tag | undefined): string => text.slice(open.end, close?.start);
  switch (found.map((tag) => tag.name).join("")) {
    case "<think></think><answer></answer>": {
      const [open, close, answerOpen, answerClose] = [first as Tag, second as Tag, third as Tag, fourth as Tag];
      const outside = text.slice(0, open.start) + text.slice(close.end, answerOpen.start) + text.slice(answerClose.end);
      return {
        thinking: between(open, close),
        answer: between(answerOpen, answerClose),
        wellFormed: outside.trim() === "",
      };
    }
    case "<answer></answer>":
      return { thinking: null, answer: between(first as Tag, second), wellFormed: false };
    case "<think>": // cut off while thinking
    case "<think></think>":
    case "<think></think><answer>": // cut off while answering
      return { thinking: between(first as Tag, second), answer: null, wellFormed: false };
    default:
      return nothing;
  }
}

/** What a completion answers: its answer block, or what follows the thinking where no tag marks an answer; else "". */
export function saidAnswer(text: string): string {
  const { answer } = parseTranscript(text);
  if (answer !== null) return answer;
  const [first = "", ...rest] = text.split(tags.thinkClose);
  const unfinished = rest.length === 0 && first.includes(tags.thinkOpen);
  return text.includes(tags.answerOpen) || unfinished ? "" : (rest.at(-1) ?? first);
}

/** The transcript that `parseTranscript` reads as well formed, provided that neither part holds a tag. */
export function renderTranscript(thinking: string, answer: string): string {
  return `${tags.thinkOpen}${thinking}${tags.thinkClose}${tags.answerOpen}${answer}${tags.answerClose}`;
}

/** All tags in order, or null when there are more than `most`. */
function findTags(text: string, most: number): Tag[] | null {
  const names = Object.values(tags);
  const found: Tag[] = [];
  for (let start = text.indexOf("<"); start !== -1; start = text.indexOf("<", start + 1)) {
    const name = names.find((candidate) => text.startsWith(candidate, start));
    if (name === undefined) continue;
    if (found.length === most) return null;
    found.push({ name, start, end: start + name.length });
  }
  return found;
}

import type { Tokenizer } from "./tokenizer.ts";

/** The tokens around what stands before a gap, what stands behind it, and what fills it. */
export interface MiddleTokens {
  readonly prefix: number;
  readonly suffix: number;
  readonly middle: number;
}

/** As families write them: DeepSeek; Qwen, CodeGemma and our own vocabularies; StarCoder. */
export const middleMarks = [
  ["<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"],
  ["<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"],
  ["<fim_prefix>", "<fim_suffix>", "<fim_middle>"],
] as const;

/** Those of a vocabulary, or null where it has none. */
export function middleTokens({ idOf }: Pick<Tokenizer, "idOf">): MiddleTokens | null {
  for (const marks of middleMarks) {
    const [prefix, suffix, middle] = marks.map((mark) => idOf(mark));
    if (typeof prefix === "number" && typeof suffix === "number" && typeof middle === "number") return { prefix, suffix, middle };
  }
  return null;
}

/** A text with a gap, up to where the middle follows: the order prefix, suffix, middle of DeepSeek-V3 (section 4.1). */
export const beforeMiddle = (marks: MiddleTokens, prefix: readonly number[], suffix: readonly number[]): number[] => [marks.prefix, ...prefix, marks.suffix, ...suffix, marks.middle];

import { parseTranscript } from "../text/transcript.ts";
import type { RewardFunction } from "./reward.ts";
import type { Language } from "./task.ts";

/** A Chinese character, or two letters or more of other scripts. Single letters are symbols: of a formula, or of a word that is spelled. */
const wordPattern = /\p{Script=Han}|(?:(?!\p{Script=Han})\p{L}){2,}/gu;
const isOf: Readonly<Record<Language, (word: string) => boolean>> = {
  en: (word) => /^\p{Script=Latin}+$/u.test(word),
  zh: (word) => /^\p{Script=Han}$/u.test(word),
};

const wordsOf = (text: string): string[] => text.match(wordPattern) ?? [];

/**
 * Share of a text's words that are of a language, in [0, 1]; null where there is no word: `Num(words in the target language) /
 * Num(words)` (DeepSeek-R1, section 2.3.2). A word of Chinese is a character.
 * @param quoted what the text may quote, its question: words of another language that occur there are not counted
 */
export function languageConsistency(text: string, language: Language, quoted = ""): number | null {
  const own = isOf[language];
  const known = new Set(wordsOf(quoted));
  const words = wordsOf(text).filter((word) => own(word) || !known.has(word));
  return words.length === 0 ? null : words.filter(own).length / words.length;
}

const thoughtOf = (turn: string): string => parseTranscript(turn).thinking ?? turn;

/** Of what is thought in a completion's turns, or of all of a turn whose thinking cannot be told from the rest. */
export const thoughtConsistency = (turns: readonly string[], { language, prompt }: { readonly language: Language; readonly prompt: string }): number | null =>
  languageConsistency(turns.map(thoughtOf).join("\n"), language, prompt);

/** How much of the thinking is in the language of the question, which DeepSeek-R1 adds to the accuracy; none where nothing is thought in words. */
export const languageConsistencyReward: RewardFunction<unknown> = { name: "language_consistency", reward: ({ turns, problem }) => thoughtConsistency(turns, problem) };

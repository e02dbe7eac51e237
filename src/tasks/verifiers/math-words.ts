import { knownWord } from "./math-lexer.ts";

const wrapped = String.raw`\\(?:text|textbf|textit|textrm|mathrm|mathbf|mbox)\{([^{}]*)\}`;
const wholly = new RegExp(String.raw`^\s*${wrapped}[.\s]*$`);
const within = new RegExp(wrapped, "g");

/** "\\text{(B)}" is "(B)". */
export const unwrapped = (text: string): string => text.replace(wholly, "$1");

/** How an answer that is no mathematics is compared: "\text{(B)}" is "b". White space counts between digits only, and a point before a digit only. */
export function plain(text: string): string {
  const bare = text
    .replace(within, "$1")
    .replace(/\\(?:left|right|displaystyle)(?![A-Za-z])|\\[,;:! ]|\*\*|[$~]/g, "")
    .replace(/\\[dt]frac(?![A-Za-z])/g, "\\frac")
    .replace(/([_^])\{(.)\}/gu, "$1$2")
    .replace(/\.{2,}|\\l?dots(?![A-Za-z])/g, "…")
    .replace(/\.(?!\d)|(?<!\d)\s+|\s+(?!\d)/g, "")
    .toLowerCase();
  return bare.replace(/^\((\p{L}+)\)$/u, "$1");
}

const words = /^\s*\(?(\p{L}+(?:\s+\p{L}+)*)\)?[.\s]*$/u;

/**
 * Whether a text is words and no product of variables: all of a \text{…}, or letters that are not written as products are, which are
 * single or follow each other in the alphabet ("ab", "xyz").
 */
export function isWords(text: string): boolean {
  const written = unwrapped(text);
  const parts = words.exec(written)?.[1]?.split(/\s+/);
  if (parts === undefined || parts.some((part) => knownWord(part) || /^(?:and|or)$/i.test(part))) return false;
  return written !== text || parts.some((part) => part.length > 1 && !followsAlphabet(part));
}

/** "no" does, and is a word all the same. */
const followsAlphabet = (word: string): boolean => word !== "no" && "abcdefghijklmnopqrstuvwxyz".includes(word);

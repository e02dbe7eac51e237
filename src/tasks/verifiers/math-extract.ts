import { Algebra } from "./algebra.ts";
import { changesNumber, multipleAt } from "./math-numerals.ts";
import { longestMath, parseMath } from "./math-parser.ts";

/** Longest text in which an answer is looked for; only the end of a longer one is read. */
const longestAnswer = 20_000;
/** How far from its end a text says its answer in words. */
const longestEnding = 400;

/** The last formulas of which one is to be mathematics. */
const mostFormulas = 50;

const isMath = (text: string): boolean => parseMath(text, new Algebra()) !== null;

/**
 * The mathematics in a text: the last \boxed{…}; else the last formula between dollars; else the whole, or what it says at its end, or
 * the last number that stands by itself. What cannot be read as mathematics counts in a box only.
 */
export function extractMath(text: string): string | null {
  const end = endOf(text);
  const boxed = lastBoxed(end);
  if (boxed !== undefined) return boxed;
  const written = formulas(end).slice(-mostFormulas).findLast(isMath);
  if (written !== undefined) return written;
  const found = [end, statement(end)].find((candidate) => candidate !== undefined && !isProse(candidate) && isMath(candidate));
  return found ?? lastNumber(end.slice(-longestEnding)) ?? (end === "" ? null : end);
}

/** The same for an answer that is no mathematics, and so is found only by what it should be. */
export function extractText(text: string, wanted: (text: string) => boolean): string | null {
  const end = endOf(text);
  const boxed = lastBoxed(end);
  if (boxed !== undefined) return boxed;
  return [formulas(end).at(-1), end, statement(end)].find((candidate) => candidate !== undefined && wanted(candidate)) ?? (end === "" ? null : end);
}

const endOf = (text: string): string => text.slice(-longestAnswer).trim();

function statement(text: string): string | undefined {
  const stated = /(?:answer|result)(?: is|:| =)\s*:?\s*([^\n]{1,200}?)[.。]?\s*$|(?:答案|结果)(?:是|为|：|:)\s*([^\n]{1,200}?)[.。]?\s*$/i.exec(text.slice(-longestEnding));
  return stated?.[1] ?? stated?.[2];
}

/** Whether a text has a short word of English among others, which could be a product of variables. */
const isProse = (text: string): boolean => /(?:^|\s)(?:so|is|it|its|the|he|she|we|are|was|has|had|get|got|all|for|to|be)(?:\s|$)/i.test(text) && /\s/.test(text);

/** A gold answer, which is given by itself: without its box or the dollars around it. Behind "####", where GSM8K keeps it, if that is there. */
export function goldMath(text: string): string {
  const whole = text.split("####").at(-1)!.trim().replace(/。$/, "");
  const boxed = lastBoxed(whole);
  if (boxed !== undefined && boxed !== null) return boxed;
  return /^(?:\$\$?([^$]+)\$\$?|\\\(((?:(?!\\\))[^])*)\\\)|\\\[((?:(?!\\\])[^])*)\\\])\.?$/.exec(whole)?.slice(1).find((inner) => inner !== undefined)?.trim() ?? whole;
}

/** Null when the last box is not closed: an answer cut off is none. */
function lastBoxed(text: string): string | null | undefined {
  const open = Math.max(text.lastIndexOf("\\boxed{"), text.lastIndexOf("\\fbox{"));
  if (open === -1) return undefined;
  const start = text.indexOf("{", open) + 1;
  for (let at = start, depth = 1; at < text.length; at++) {
    if (text[at] === "\\") at++;
    else if (text[at] === "{") depth++;
    else if (text[at] === "}" && --depth === 0) return text.slice(start, at).trim() || null;
  }
  return null;
}

const bracketed = `([^]{0,${longestMath}}?)`;
const formula = new RegExp(String.raw`\$\$([^$]+)\$\$|\$(?:([^\s$](?:[^$]*[^\s$])?)|[ \t]+([^\s$](?:[^$]*[^\s$])?)[ \t]+)\$(?!\d)|\\\(${bracketed}\\\)|\\\[${bracketed}\\\]`, "g");

/** Between dollars or brackets of LaTeX. Dollars with a space at one side within, or a digit behind them, are amounts of money. */
function formulas(text: string): string[] {
  const found = text.replaceAll("\\$", "￼").matchAll(formula);
  return [...found].map((match) => (match.slice(1).find((inner) => inner !== undefined) ?? "").replaceAll("￼", "\\$").trim()).filter((inner) => inner !== "");
}

/** What holds digits between white space, signs that open a statement, and Chinese; with the parts of "1 1/2" and "1.5 x 10^3". */
const runs = /(?:\d[\d,.]*\s*[x×*]\s*(?=10\s?\^)|[-−]?\d+\s+(?=\d+\/\d))?[^\s\p{Script=Han}，。：=]*\d[^\s\p{Script=Han}，。：=]*/gu;

/**
 * The last number of a text in words, with the words that multiply it, where it stands by itself: 1024 of "we get 2^10 altogether", but
 * nothing of "the ratio is 3:2", "it is not 7", "7 8" or "x^2 + 7".
 */
function lastNumber(text: string): string | null {
  const run = [...text.matchAll(runs)].at(-1);
  if (run === undefined || /\.\.|…/.test(run[0]) || /(?:\bnot|n't|≠|不是|\d[ \t]|[+×÷·^/])\s*$/i.test(text.slice(0, run.index))) return null;
  let after = text.slice(run.index + run[0].length);
  const bare = run[0].replace(/^\D*:/, "").replace(/^[\p{Sc}*"'“”‘’`~≈<>#]+|[\p{Sc}*"'“”‘’`.,;:!?]+$/gu, "");
  const unbracketed = bare.replace(/^[([{]+|[)\]}]+[\p{Sc}*"'.,;:!?]*$/gu, "");
  const measured = /^([-+−]?[\d.,]*\d%?)(?:°|[\p{L}µ²³°]{2})[\p{L}µ²³°/]*$/u.exec(unbracketed)?.[1];
  let number = [bare, unbracketed, measured].find((candidate) => candidate !== undefined && isMath(candidate));
  if (number === undefined) return null;
  for (let multiple = multipleAt(after.trimStart()); multiple !== null; multiple = multipleAt(after.trimStart())) {
    const word = after.trimStart().slice(0, multiple.length);
    number += ` ${word}`;
    after = after.trimStart().slice(multiple.length);
  }
  return changesNumber.test(/^\s*\p{L}*/u.exec(after)![0]) || !isMath(number) ? null : number;
}

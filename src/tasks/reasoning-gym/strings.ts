import type { TraceWriter } from "./entry.ts";

const lastLine = (text: string): string => text.trimEnd().split("\n").at(-1)!;
const afterColon = (text: string): string => lastLine(text).split(":").at(-1)!.trim();

// One letter a place, so that a step can name the place that it looks at.
const places = "CDEFGHIJKLMNOPQRSTUVWXYZcdefghijklmnopqrstuvwxyz";

/**
 * A::B programs. Facing tokens pass each other unless they carry the same letter, so each letter's tokens match like brackets:
 * what stays are the closers that find no opener, then the openers that find no closer. One pass counts open openers from the
 * left, one counts open closers from the right; the unmatched are marked, listed, and written out.
 */
export const ab: TraceWriter = ({ question }) => {
  const program = question.split("\n").findLast((line) => /^(?:[AB]#|#[AB])(?: (?:[AB]#|#[AB]))*$/.test(line))?.split(" ");
  if (!program || program.length > places.length) return null;
  // Openers in capitals: they face right.
  const symbols = program.map((t) => (t.endsWith("#") ? t[0]! : t[1]!.toLowerCase()));
  const opener = (s: string): boolean => s === s.toUpperCase();
  const pass = (order: readonly number[], opens: (s: string) => boolean) => {
    const open: Record<string, number> = { A: 0, B: 0 };
    const left: number[] = [];
    const marks = order.map((i) => {
      const letter = symbols[i]!.toUpperCase();
      if (opens(symbols[i]!)) open[letter]!++;
      else if (open[letter]! > 0) open[letter]!--;
      else {
        left.push(i);
        return `${places[i]}${symbols[i]}!`;
      }
      return `${places[i]}${symbols[i]}${String.fromCharCode(48 + open[letter]!)}`;
    });
    return { marks: marks.join(""), left };
  };
  const order = symbols.map((_, i) => i);
  const forward = pass(order, opener);
  const backward = pass(order.toReversed(), (s) => !opener(s));
  const rest = [...forward.left, ...backward.left.toReversed()];
  return { thinking: `${forward.marks}\n${backward.marks}\n${rest.map((i) => places[i]! + symbols[i]!).join("")}`, answer: rest.map((i) => program[i]!).join(" ") };
};

/** How many pairs there are of each letter, from a to z, and the letter without a partner; then a half from a to z, and the same backwards. */
export const palindrome: TraceWriter = ({ question }) => {
  const letters = afterColon(question).split(", ");
  if (!letters.every((l) => /^[a-z]$/.test(l))) return null;
  const alphabet = [..."abcdefghijklmnopqrstuvwxyz"];
  const counts = alphabet.map((l) => letters.filter((other) => other === l).length);
  const pairs = counts.map((count) => Math.floor(count / 2));
  const left = alphabet.map((l, i) => l.repeat(pairs[i]!)).join("");
  const middle = alphabet.find((_, i) => counts[i]! % 2 === 1) ?? "";
  return { thinking: `${alphabet.map((l, i) => l + String(pairs[i])).join("")}=${middle}`, answer: left + middle + [...left].reverse().join("") };
};

/**
 * Swaps to an alternating string follow from three counts: bits, ones at even places, ones at odd places. Ten bits a step, each
 * followed by the line's two counts as letters (a is 0); a line of fifty ends with the counts so far.
 */
export const binaryAlternation: TraceWriter = ({ question, answer }) => {
  const bits = afterColon(question);
  if (!/^[01]+$/.test(bits) || answer === null) return null;
  const letter = (n: number): string => String.fromCharCode(97 + n);
  let [even, odd, text] = [0, 0, ""];
  for (let line = 0; line < bits.length; line += 50) {
    let [e, o] = [0, 0];
    for (const chunk of bits.slice(line, line + 50).match(/.{1,10}/g)!) {
      [...chunk].forEach((bit, i) => (i % 2 === 0 ? (e += Number(bit)) : (o += Number(bit))));
      text += chunk + letter(e) + letter(o);
    }
    [even, odd] = [even + e, odd + o];
    text += `\n${Math.min(line + 50, bits.length)} ${even} ${odd}\n`;
  }
  const ones = even + odd;
  return { thinking: `${text}${ones} ${bits.length - ones}`, answer };
};

/** The answer is the string again with letters put in: copied at once, there is nothing to work out beforehand. */
export const stringInsertion: TraceWriter = ({ answer }) => (answer === null ? null : { thinking: "", answer });

import type { TraceWriter } from "./entry.ts";

const integers = (text: string): number[] => (text.match(/\d+/g) ?? []).map(Number);

/** Of the people that were counted, one more is seen from her brother's, friend's or colleague's side: herself. */
export const aiw: TraceWriter = ({ answer }) => {
  const n = Number(answer);
  return answer !== null && Number.isInteger(n) ? { thinking: `${n - 1}+1=${n}`, answer } : null;
};

/** Primes below each multiple of a hundred are recalled, then those between, and the two counts subtracted digit by digit. */
export const countPrimes: TraceWriter = ({ question }) => {
  const [start, end] = integers(question);
  if (start === undefined || end === undefined || end >= primesBelow().length - 1) return null;
  const upTo = (n: number): { text: string; count: number } => {
    const hundreds = Math.floor(n / 100) * 100;
    const [base, count] = [primesBelow()[hundreds]!, primesBelow()[n]!];
    return { text: `${hundreds} ${base}+${count - base}=${count}`, count };
  };
  const [before, after] = [upTo(start), upTo(end + 1)];
  const answer = after.count - before.count;
  return { thinking: `<${start} ${before.text}\n<${end + 1} ${after.text}\n${subtraction(after.count, before.count)}`, answer: String(answer) };
};

let counted: Int32Array | undefined;

/** Counted when they are first asked for. */
const primesBelow = (): Int32Array => (counted ??= countPrimesBelow(100_002));

/** [n]: primes smaller than n. */
function countPrimesBelow(size: number): Int32Array {
  const composite = new Uint8Array(size);
  const below = new Int32Array(size);
  for (let n = 2; n < size; n++) {
    below[n] = below[n - 1]! + (n > 2 && !composite[n - 1] ? 1 : 0);
    if (!composite[n]) for (let m = n * n; m < size; m += n) composite[m] = 1;
  }
  return below;
}

/** a − b ≥ 0 from the last digit on: each digit, and 1 where it borrows. */
function subtraction(a: number, b: number): string {
  const width = String(a).length;
  const [x, y] = [String(a), String(b).padStart(width, "0")];
  let borrow = 0;
  const steps: string[] = [];
  for (let i = width - 1; i >= 0; i--) {
    const d = Number(x[i]) - Number(y[i]) - borrow;
    steps.push(`${x[i]}-${y[i]}-${borrow}=${(d + 10) % 10}`);
    borrow = d < 0 ? 1 : 0;
  }
  return steps.join(" ");
}

const [wholeDigits, decimals] = [10, 6];

/**
 * One accumulator of 16 digits in ten's complement. Each term is written at full width, then the accumulator after it from the
 * last digit on; a digit that carries or borrows is written as a letter (a is 0). A first digit of 9 means that the sum is
 * negative, and is complemented.
 */
export const decimalChainSum: TraceWriter = ({ question, answer }) => {
  const terms = [...question.matchAll(/(?:(?<sign>[+-]) )?(?<whole>-?\d+)\.(?<part>\d+)/g)].map(({ groups }) => groups!);
  if (answer === null || terms.length === 0 || terms.length > 9 || terms.some((t) => t.whole!.length > 8 || t.whole!.startsWith("-") || t.part!.length > decimals)) return null;
  let acc = new Array<number>(wholeDigits + decimals).fill(0);
  const lines = terms.map(({ sign, whole, part }) => {
    const row = whole!.padStart(wholeDigits, "0") + part!.padEnd(decimals, "0");
    const digits = [...row].reverse().map(Number);
    const subtracts = sign === "-";
    let carry = 0;
    let out = "";
    acc = acc.map((a, i) => {
      const sum = subtracts ? a - digits[i]! - carry : a + digits[i]! + carry;
      carry = sum < 0 || sum > 9 ? 1 : 0;
      const digit = (sum + 10) % 10;
      out += carry ? String.fromCharCode(97 + digit) : String(digit);
      return digit;
    });
    return `${subtracts ? "-" : "+"}${row}=${out}`;
  });
  const negative = acc.at(-1) === 9;
  if (negative) {
    const first = acc.findIndex((d) => d > 0);
    acc = acc.map((d, i) => (i < first ? 0 : i === first ? 10 - d : 9 - d));
    lines.push(`~${acc.join("")}`);
  }
  const text = [...acc].reverse().join("");
  const said = `${negative ? "-" : ""}${text.slice(0, wholeDigits).replace(/^0+(?=\d)/, "")}.${text.slice(wholeDigits)}`;
  return { thinking: lines.join(";"), answer: said };
};

const legs: Readonly<Record<number, string>> = {
  0: "snake, sea slug, jellyfish, flatworm, leech",
  2: "chicken, bird, human, duck",
  4: "dog, cat, cow, horse, lion, elephant, giraffe, tiger, deer, sheep",
  5: "starfish",
  6: "insect, ant, butterfly, beetle, bee, wasp, grasshopper, cricket, cockroach, praying mantis, firefly",
  8: "spider, scorpion",
  10: "crab, lobster, shrimp",
  14: "woodlouse",
};
const legsOf = new Map(Object.entries(legs).flatMap(([count, animals]) => animals.split(", ").map((animal) => [animal, Number(count)] as const)));

/** Of each kind: the legs of one, the product, and the total so far, the last two from the last digit on. */
export const legCounting: TraceWriter = ({ question }) => {
  let total = 0;
  let thinking = "";
  for (const [, count, name, plural] of question.matchAll(/(\d+) ([a-z ]+?)(s?)(?=[,?])/g)) {
    const each = legsOf.get(name!);
    if (each === undefined) return null;
    total += Number(count) * each;
    thinking += ` ${name}${plural} ${count}*${each}=${reversed(Number(count) * each, 4)}+${reversed(total, 5)}`;
  }
  return { thinking, answer: String(total) };
};

const reversed = (n: number, width: number): string => [...String(n).padStart(width, "0")].reverse().join("");

/**
 * The programs of this kind add two numbers to a sum until it reaches a third: the answer is a multiple of the two together. The third is
 * written as one run of pluses, or as a product and what is added to it or taken from it.
 */
export const brainfuck: TraceWriter = ({ question, metadata, answer }) => {
  const [target, x, y] = ["target", "x", "y"].map((name) => Number(new RegExp(`int ${name} = (\\d+);`).exec(String(metadata["bfit_code"]))?.[1]));
  if (target === undefined || x === undefined || y === undefined || !(x + y > 0)) return null;
  const times = Math.ceil(target / (x + y));
  if (times * (x + y) !== Number(answer)) return null;
  const product = [...question.matchAll(/\[-\](\++)\[<(\++)>-\]<(\+*|-*)>/g)].map(([, a, b, rest]) => [a!.length, b!.length, rest!.startsWith("-") ? -rest!.length : rest!.length] as const).find(([a, b, rest]) => a * b + rest === target);
  const spelled = product ? `${product[0]}*${product[1]}${product[2] < 0 ? "" : "+"}${product[2]}=${target}` : String(target);
  return { thinking: `${x}+${y}=${x + y} ${spelled} ${times}*${x + y}`, answer: String(answer) };
};

import type { Random } from "../random/index.ts";
import { renderTranscript } from "../text/transcript.ts";
import { answerOnly, poseProblem, scoreTranscript, type Language, type Problem, type Task } from "./task.ts";

export interface ArithmeticGold {
  readonly operator: "+" | "-" | "*";
  readonly left: number;
  /** At most `left` in a subtraction, so that no answer is negative. */
  readonly right: number;
  readonly answer: number;
}

const name = "arithmetic";
const defaultLevel = 3;
/** Digits of both operands of a sum or a difference at each level; a factor on the right has one digit, two from level 4. */
const levels: readonly number[] = [1, 2, 3, 4, 5];

const prompts: Readonly<Record<Language, readonly ((question: string) => string)[]>> = {
  en: [(question) => `What is ${question}?`, (question) => `Compute ${question}.`],
  zh: [(question) => `${question}等于多少？`, (question) => `计算${question}。`],
};

/**
 * Addition, subtraction and multiplication of whole numbers. Long demonstrations work as on paper, from the least
 * significant digit, one column a step, with what is carried written into the next column.
 */
export const arithmetic: Task<ArithmeticGold> = {
  name,
  levels: levels.length,
  defaultLevel,
  problem: (address) => poseProblem({ name, levels, defaultLevel, prompts, draw, key: question, say: (prompt, gold) => prompt(question(gold)) }, address),
  solution: (problem) => thinkLong(problem),
  demonstration: (problem, _random, kind) => (kind === "long" ? thinkLong(problem) : answerOnly(`${problem.gold.answer}`)),
  score: ({ gold }, completion) =>
    scoreTranscript(completion, (answer) => {
      const legal = /^(?:0|[1-9][0-9]{0,14})$/.test(answer.trim());
      return { legal, correct: legal && Number(answer) === gold.answer };
    }),
};

function draw(digits: number, random: Random): ArithmeticGold {
  const operator = random.pick(["+", "-", "*"] as const);
  const operand = (length: number): number => random.between(length === 1 ? 0 : 10 ** (length - 1), 10 ** length - 1);
  const left = operand(digits);
  const right = operand(operator === "*" ? (digits < 4 ? 1 : 2) : digits);
  if (operator === "+") return { operator, left, right, answer: left + right };
  if (operator === "*") return { operator, left, right, answer: left * right };
  return { operator, left: Math.max(left, right), right: Math.min(left, right), answer: Math.abs(left - right) };
}

function question({ left, operator, right }: ArithmeticGold): string {
  return `${left}${operator}${right}`;
}

function thinkLong({ gold }: Problem<ArithmeticGold>): string {
  const { left, right, operator, answer } = gold;
  const columns = { "+": addColumns, "-": subtractColumns, "*": multiplyRows }[operator];
  return renderTranscript(columns(left, right).join("\n"), `${answer}`);
}

/** Digits, least significant first. */
function digitsOf(value: number): number[] {
  return [...`${value}`].reverse().map(Number);
}

/** "7+8+0=15 5": two digits, what was carried, their sum, and the digit to write down. */
function addColumns(left: number, right: number): string[] {
  const [a, b] = [digitsOf(left), digitsOf(right)];
  let carry = 0;
  return Array.from({ length: Math.max(a.length, b.length) }, (_, i) => {
    const [x, y, carried] = [a[i] ?? 0, b[i] ?? 0, carry];
    const sum = x + y + carried;
    carry = Math.floor(sum / 10);
    return `${x}+${y}+${carried}=${sum} ${sum % 10}`;
  });
}

/** "13-8-1=4": the digit above, with ten borrowed where it is needed, the digit below, and what the last column borrowed. */
function subtractColumns(left: number, right: number): string[] {
  const [a, b] = [digitsOf(left), digitsOf(right)];
  let borrow = 0;
  return a.map((digit, i) => {
    const [y, borrowed] = [b[i] ?? 0, borrow];
    borrow = digit - y - borrowed < 0 ? 1 : 0;
    const x = digit + 10 * borrow;
    return `${x}-${y}-${borrowed}=${x - y - borrowed}`;
  });
}

/** One row for each digit of the right factor, "7*8+0=56 6" a column; then the rows, shifted, are added up. */
function multiplyRows(left: number, right: number): string[] {
  const lines: string[] = [];
  let total = 0;
  for (const [shift, y] of digitsOf(right).entries()) {
    let carry = 0;
    for (const x of digitsOf(left)) {
      const product = x * y + carry;
      lines.push(`${x}*${y}+${carry}=${product} ${product % 10}`);
      carry = Math.floor(product / 10);
    }
    const row = left * y * 10 ** shift;
    lines.push(`${row}`);
    if (shift > 0) lines.push(...addColumns(total, row));
    total += row;
  }
  return lines;
}

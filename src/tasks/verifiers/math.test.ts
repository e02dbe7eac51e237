import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { readFixture } from "../../../test/fixtures.ts";
import { verifyMath } from "./math.ts";
import { extractMath } from "./math-extract.ts";
import { deepestMath, longestMath } from "./math-parser.ts";

const judge = (answer: string, gold: string): boolean => verifyMath(answer, gold).correct;

interface Golden {
  readonly cases: readonly { readonly gold: string; readonly prediction: string; readonly equivalent: boolean; readonly contested: boolean }[];
}

describe("the reference's pairs", () => {
  test.each(readFixture<Golden>("eval", "math_answers.json").cases.filter(({ contested }) => !contested))("$gold and $prediction: $equivalent", ({ gold, prediction, equivalent }) => {
    expect(judge(prediction, gold)).toBe(equivalent);
  });
});

describe("equal", () => {
  test.each([
    ["1/\\sqrt{2}", "\\frac{\\sqrt2}{2}"],
    ["\\frac12", "\\frac{1}2"],
    ["$\\frac{1}{1+\\sqrt{2}}$", "$\\sqrt{2}-1$"],
    ["\\sqrt[3]{16}", "2\\sqrt[3]{2}"],
    ["\\sqrt[3]{-8}", "-2"],
    ["\\sqrt{-4}", "2i"],
    ["(1+i)^2", "2i"],
    ["\\frac{1}{1+i}", "\\frac{1-i}{2}"],
    ["8^{2/3}", "4"],
    ["2^{-3}", "0.125"],
    ["-2^2", "-4"],
    ["\\frac{x^2-1}{x-1}", "x+1"],
    ["(a+b)(a-b)", "a^2-b^2"],
    ["\\ln e", "1"],
    ["\\log_{10} 1000", "3"],
    ["\\ln 8", "3\\ln 2"],
    ["\\sin\\frac{\\pi}{6}", "\\frac12"],
    ["\\cos 60^\\circ", "0.5"],
    ["\\tan(\\pi/4)", "1"],
    ["\\sin^2 x", "\\sin(x)\\sin(x)"],
    ["x=1, x=2", "2, 1"],
    ["x=1 or x=2", "2,1"],
    ["\\{1,2,2\\}", "\\{2,1\\}"],
    ["\\varnothing", "\\{\\}"],
    ["\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}", "\\begin{bmatrix} 1 & \\frac{4}{2} \\\\ 3 & 2^2 \\end{bmatrix}"],
    ["x \\in [0, 1)", "[0,1)"],
    ["\\left(-\\infty, 3\\right]", "(-∞, 3]"],
    ["2x+4y=6", "x+2y=3"],
    ["1<x<3", "3>x>1"],
    ["1.5e3", "1500"],
    ["10^{-2}", "1\\%"],
    ["12\\text{ km}", "12"],
    ["12\\,\\mathrm{cm}^2", "12"],
    ["\\text{(B)}", "B"],
    ["\\text{Tuesday}", "tuesday"],
    ["x_1 + x_2", "x_2+x_1"],
    ["|x-1|", "|1-x|"],
    ["|-3|", "3"],
    ["\\binom{5}{2}", "10"],
    ["2\\pi r^2", "2 r^2 π"],
    ["3²", "9"],
    ["0.\\overline{3}", "\\frac13"],
    ["0.1\\overline{6}", "1/6"],
    ["\\pm 2", "\\{-2, 2\\}"],
    ["x=\\pm\\sqrt{3}", "x=\\sqrt3 or x=-\\sqrt3"],
    ["1 1/2", "1.5"],
    ["7\\ 3/4", "7\\frac34"],
    ["3½", "3.5"],
    ["5 million", "5000000"],
    ["1.5\\text{ million dollars}", "1500000"],
    ["5万元", "50000"],
    ["5千米", "5"],
    ["1.5 x 10^3", "1500"],
    ["50\\text{ percent}", "0.5"],
    ["x=2, y=3", "2, 3"],
    ["5\\text{ feet}", "5 ft"],
    ["500\\text{ cm}", "5\\text{ m}"],
    ["36\\text{ km}/\\text{h}", "10\\text{ m/s}"],
    ["90^\\circ", "90 degrees"],
    ["[0,1]\\cup[1,2]", "[0,2]"],
    ["(0,1]\\cup(1,2)\\cup(3,\\infty)", "(3,\\infty)\\cup(0,2)"],
    ["e^{-x}", "\\frac{1}{e^x}"],
    ["4^x", "2^{2x}"],
    ["e^{x+1}", "e \\cdot e^x"],
    ["\\log 100", "2"],
    ["\\log x", "\\ln x"],
    ["mgh", "m \\cdot g \\cdot h"],
    ["\\text{No}", "no"],
    ["\\text{no solution}", "No solution."],
  ])("%s and %s, either way", (a, b) => {
    expect(judge(a, b)).toBe(true);
    expect(judge(b, a)).toBe(true);
  });
});

describe("not equal", () => {
  test.each([
    ["\\sqrt{x^2}", "x"],
    ["2.4142135623730951", "1+\\sqrt{2}"],
    ["(0,1)", "[0,1]"],
    ["(1,2,3)", "(1,2)"],
    ["\\{1,2\\}", "\\{1,2,3\\}"],
    ["\\begin{pmatrix}1&2\\end{pmatrix}", "\\begin{pmatrix}1\\\\2\\end{pmatrix}"],
    ["x<3", "x>3"],
    ["-x>3", "x>3"],
    ["x=5", "y=7"],
    ["x=0", "y=0"],
    ["10\\text{ cm}", "10\\text{ m}"],
    ["500", "5\\%"],
    ["\\infty", "-\\infty"],
    ["\\frac{a}{b}", "\\frac{b}{a}"],
    ["i", "1"],
    ["1,000,0", "1000000"],
    ["7!", "7"],
    ["3:2", "9:2"],
    ["12:30", "30"],
    ["1.5:2", "15:2"],
    ["\\pm 2", "2"],
    ["0.\\overline{3}", "3"],
    ["0.333...", "0.333"],
    ["x^{3000}", "y^{3000}"],
    ["\\frac{1}{0}", "0"],
    ["\\mathbb{R}\\setminus\\{2\\}", "2"],
    ["May 5", "June 5"],
    ["\\text{odd}", "dod"],
    ["\\text{ii}", "-1"],
    ["dog", "god"],
    ["1 1/2", "1/2"],
    ["5", "5 million"],
    ["5", "5 dozen"],
    ["5", "5 thirds"],
    ["3", "3 squared"],
    ["5", "5万"],
    ["x=2, y=3", "3, 2"],
    ["[0,1)\\cup(1,2]", "[0,2]"],
    ["x^{-n/2}", "\\frac{1}{x^{n}}"],
  ])("%s and %s, either way", (a, b) => {
    expect(judge(a, b)).toBe(false);
    expect(judge(b, a)).toBe(false);
  });
});

test("letters that follow the alphabet are a product, others a word", () => {
  expect([judge("yx", "xy"), judge("x \\cdot y", "xy"), judge("on", "no"), judge("CBE", "EBC")]).toEqual([true, true, false, false]);
});

describe("an answer in words", () => {
  test.each([
    ["答案是 7。", "7", "8"],
    ["The total is 10-5", "5", "-5"],
    ["So we get 2^10 altogether.", "1024", "10"],
    ["That is 1.5 x 10^3 metres, roughly", "1500", "3"],
    ["It takes 1 1/2 hours in all", "1.5", "1/2"],
    ["About 5 million people", "5000000", "5"],
    ["He earns $10 a day, so the total is $70.", "70", "10"],
    ["It is $5 more than $20", "20", "5"],
    ["It holds for $x=7$, which costs $5 or $6", "7", "5"],
    ["The speed is 5km/h", "5", "0"],
    ["It is **-7**.", "-7", "7"],
    ["So -7 is it", "-7", "7"],
    ["So the ratio is $3:2$", "3:2", "2"],
    ["The answer is \\text{Tuesday}.", "\\text{Tuesday}", "\\text{Monday}"],
  ])("%s: %s and not %s", (answer, right, wrong) => {
    expect(judge(answer, right)).toBe(true);
    expect(judge(answer, wrong)).toBe(false);
  });

  test.each([["The ratio is 3:2", "2"], ["It is not 7", "7"], ["7 8", "8"], ["It is x^2 + 7 then", "7"], ["First $3:2$, then $9:2$", "3:2"], ["Some 7 thirds of it", "7"], ["Take sqrt(16) of them", "16"]])("%s: nothing", (answer, gold) => expect(judge(answer, gold)).toBe(false));
});

test("a gold of GSM8K stands behind its reasoning", () => {
  const gold = "He sells 48 / 2 = 24 clips in May.\nThat is 48 + 24 = 72.\n#### 72";
  expect(["72", "He sold 72.", "24", "48"].map((answer) => verifyMath(answer, gold).correct)).toEqual([true, true, false, false]);
});

test.each(["3:2", "12:30", "x \\equiv 3 \\pmod 7", "\\mathbb{R}\\setminus\\{2\\}", "\\begin{array}{cc}1&2\\\\3&4\\end{array}", "May 5", "\\text{Monday, July 4}", "x^{3000}", "\\frac{1}{0}", "101_2"])("%s, which cannot be read, is itself", (gold) => {
  for (const answer of [gold, `\\boxed{${gold}}`, `So it is $${gold}$.`]) expect(judge(answer, gold)).toBe(true);
});

/** What a policy may find when it is paid for being right. */
describe("an answer earns nothing", () => {
  test.each([
    ["nothing at all", "", "7"],
    ["white space", " \n", "7"],
    ["several boxes, the right one not last", "\\boxed{7} \\boxed{8}", "7"],
    ["several answers in a box", "\\boxed{6, 7}", "7"],
    ["or", "\\boxed{6 \\text{ or } 7}", "7"],
    ["words between", "\\boxed{7 \\text{ not } 8}", "78"],
    ["an answer hidden in a unit", "\\boxed{8 \\text{ 7}}", "8"],
    ["an equation that names the answer", "\\boxed{7 = 8}", "7"],
    ["an unbound equation", "\\boxed{x = x}", "5"],
    ["a division by zero", "0/0", "0"],
    ["zero to the zero", "0^0", "1"],
    ["infinity over infinity", "\\infty/\\infty", "1"],
    ["infinity less infinity", "\\infty-\\infty", "0"],
    ["a box that is not closed", "\\boxed{7", "7"],
    ["an empty box", "7 \\boxed{}", "7"],
    ["a digit glued by a space", "\\boxed{1 2}", "12"],
    ["letters in another order, of words", "\\text{listen}", "\\text{silent}"],
    ["code", "process.exit()", "0"],
    ["names that objects have", "__proto__", "constructor"],
    ["names that objects have, as commands", "\\constructor", "7"],
    ["other digits", "٧", "7"],
  ])("%s", (_, answer, gold) => expect(judge(answer, gold)).toBe(false));
});

describe("limits", () => {
  test.each([
    ["a tower of powers", "9^{9^{9^{9}}}"],
    ["a long power", "(1+x)^{99999999}"],
    ["powers of powers", "((((x+1)^{20})^{20})^{20})^{20}"],
    ["many variables", "(a+b+c+d+e+f+g+h)^{24}"],
    ["a large factorial", "100000!"],
    ["factorials of factorials", "3!!!!!!"],
    ["a large binomial", "\\binom{99999999}{4999999}"],
    ["a large root", "\\sqrt{99999999999999999999999}"],
    ["a large exponent of ten", "1e999"],
    ["many digits", "9".repeat(900)],
    ["a large sum of fractions", Array.from({ length: 200 }, (_, i) => `1/${9000 + i}`).join("+").slice(0, longestMath - 1)],
    ["deep brackets", "(".repeat(deepestMath + 1) + "7" + ")".repeat(deepestMath + 1)],
    ["deep fractions", "\\frac{1}{".repeat(90) + "7" + "}".repeat(90)],
    ["long text", "1+".repeat(longestMath) + "1"],
  ])("end %s", (_, text) => expect(judge(`\\boxed{${text}}`, "7")).toBe(false));

  test("a long text in linear time", () => {
    for (const piece of ["\\boxed{", "$", "{", "\\", "answer is ", "1,000,", "(1", "\\("]) expect(judge(piece.repeat(2 ** 20 / piece.length), "7")).toBe(false);
  });
});

const integer = fc.integer({ min: -999, max: 999 });

test("a fraction is its multiples and their decimals, and no other number", () => {
  fc.assert(
    fc.property(integer, fc.integer({ min: 1, max: 999 }), fc.integer({ min: 1, max: 99 }), (top, bottom, by) => {
      expect(judge(`\\boxed{\\frac{${top * by}}{${bottom * by}}}`, `${top}/${bottom}`)).toBe(true);
      expect(judge(`\\frac{${top + 1}}{${bottom}}`, `${top}/${bottom}`)).toBe(false);
      expect(judge(`${top / 2 ** 4}`, `${top}/16`)).toBe(true);
    }),
  );
});

test("a product is its expansion", () => {
  fc.assert(
    fc.property(integer, integer, (a, b) => {
      expect(judge(`(x+${a})(x+${b})`.replaceAll("+-", "-"), `x^2+(${a + b})x+(${a * b})`)).toBe(true);
      expect(judge(`(x+${a})(x+${b})`.replaceAll("+-", "-"), `x^2+(${a + b})x+(${a * b + 1})`)).toBe(false);
    }),
  );
});

test("has a verdict on every string, and a parsed answer in it", () => {
  const pieces = fc.constantFrom("\\frac", "\\sqrt", "{", "}", "(", ")", "[", "]", "^", "_", "\\boxed{", "$", "7", "x", "|", "\\infty", "%", ",", "\\{", "\\}", "\\cup", "=", "<", "\\log", "\\begin{matrix}", "&", "\\\\", "\\end{matrix}", "\\text{or}", "!", "-", "\\circ");
  fc.assert(
    fc.property(fc.oneof(fc.array(pieces).map((parts) => parts.join("")), fc.string({ unit: "binary" })), (text) => {
      const verdict = verifyMath(text, "7");
      expect(verifyMath(text, "7")).toEqual(verdict);
      if (verdict.correct) expect(verdict.parsed).not.toBeNull();
      expect(extractMath(text) === null).toBe(verdict.parsed === null);
    }),
    { numRuns: 600 },
  );
});

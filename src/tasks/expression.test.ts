import fc from "fast-check";
import { describe, expect, it, test } from "vitest";
import { readFixture } from "../../test/fixtures.ts";
import { renderTranscript } from "../text/transcript.ts";
import { countdown } from "./countdown.ts";
import { deepestExpression, evaluate, longestExpression } from "./expression.ts";
import { formatRational } from "./rational.ts";

interface Golden {
  readonly cases: readonly {
    readonly numbers: number[];
    readonly target: number;
    readonly expression: string;
    readonly valid: boolean;
    readonly value: string | null;
    readonly numbers_used: number[] | null;
    readonly uses_each_once: boolean;
    readonly correct: boolean;
  }[];
}

describe("the golden expressions", () => {
  test.each(readFixture<Golden>("eval", "countdown.json").cases)("$expression", (golden) => {
    const result = evaluate(golden.expression);
    expect(result.ok).toBe(golden.valid);
    if (result.ok) {
      expect(formatRational(result.value)).toBe(golden.value);
      expect(result.literals).toEqual(golden.numbers_used);
    }
    const gold = { numbers: golden.numbers, target: golden.target, expression: "" };
    const score = countdown.score(
      { prompt: "", language: "en", level: 1, gold },
      renderTranscript("", golden.expression),
    );
    expect(score.parts).toEqual({ correct: Number(golden.correct), format: Number(golden.uses_each_once) });
  });
});

/** A random expression with its value in floating point, an independent way to the same number. */
const tree: fc.Arbitrary<{ text: string; value: number; literals: number[] }> = fc.letrec<{
  node: { text: string; value: number; literals: number[] };
}>((tie) => ({
  node: fc.oneof(
    { maxDepth: 4 },
    fc.nat(50).map((n) => ({ text: `${n}`, value: n, literals: [n] })),
    fc.tuple(tie("node"), fc.constantFrom("+", "-", "*", "/"), tie("node")).map(([a, operator, b]) => ({
      text: `(${a.text} ${operator}${b.text})`,
      value: { "+": a.value + b.value, "-": a.value - b.value, "*": a.value * b.value, "/": a.value / b.value }[operator] as number,
      literals: [...a.literals, ...b.literals],
    })),
  ),
})).node;

describe("evaluate", () => {
  it("agrees with floating point", () => {
    fc.assert(
      fc.property(tree, ({ text, value, literals }) => {
        const result = evaluate(text);
        if (!result.ok) {
          expect(["division_by_zero", "too_long"]).toContain(result.reason);
          return;
        }
        expect(result.literals).toEqual(literals);
        const exact = Number(result.value.numerator) / Number(result.value.denominator);
        // A float near a pole of the exact value says nothing.
        fc.pre(Number.isFinite(value) && Math.abs(value) < 1e9);
        expect(Math.abs(exact - value)).toBeLessThanOrEqual(1e-6 * Math.max(1, Math.abs(exact)));
      }),
    );
  });

  it("binds and groups as on paper", () => {
    const pairs = [
      ["2+3*4", "14"],
      ["2-3-4", "-5"],
      ["24/4/2", "3"],
      ["24/(4/2)", "12"],
      ["-2*3", "-6"],
      ["-(2+3)*4", "-20"],
      ["10/3*3", "10"],
      ["1/3+1/6", "1/2"],
      ["0", "0"],
      ["+7", "7"],
    ];
    for (const [text, value] of pairs) {
      const result = evaluate(text as string);
      expect(result.ok && formatRational(result.value)).toBe(value);
    }
  });

  test.each([
    ["2**3", "bad_syntax", "power"],
    ["7//2", "bad_syntax", "floor division"],
    ["1.5*2", "bad_character", "a decimal point"],
    ["--3+4", "bad_syntax", "stacked signs"],
    ["3+4=7", "bad_character", "an equals sign"],
    ["(3)(4)", "bad_syntax", "implied multiplication"],
    ["3 4", "bad_syntax", "two numbers"],
    ["3×4", "bad_character", "a Unicode operator"],
    ["３+４", "bad_character", "full-width digits"],
    ["٣+4", "bad_character", "Arabic digits"],
    ["3−4", "bad_character", "a Unicode minus"],
    ["3\u00a0+4", "bad_character", "a no-break space"],
    ["03+4", "bad_number", "a leading zero"],
    ["1e3", "bad_character", "an exponent"],
    ["1_000", "bad_character", "a digit separator"],
    ["0x10", "bad_character", "hexadecimal"],
    ["9**9**9", "bad_syntax", "a number that would never end"],
    ["1234567890", "bad_number", "ten digits"],
    ["()", "bad_syntax", "nothing in parentheses"],
    ["", "bad_syntax", "nothing"],
    ["1/(2-2)", "division_by_zero", "division by zero"],
    ["1/0*0", "division_by_zero", "division by zero"],
    ["process.exit()", "bad_character", "code"],
    [`${"(".repeat(deepestExpression + 1)}1${")".repeat(deepestExpression + 1)}`, "too_deep", "depth"],
    ["1+".repeat(longestExpression), "too_long", "length"],
  ])("refuses %s: %s (%s)", (text, reason) => {
    expect(evaluate(text)).toEqual({ ok: false, reason });
  });

  it("has a verdict on every string", () => {
    const symbols = fc.array(fc.constantFrom(..."0123456789+-*/() ")).map((chars) => chars.join(""));
    fc.assert(fc.property(fc.oneof(symbols, fc.string()), (text) => typeof evaluate(text).ok === "boolean"), { numRuns: 2000 });
  });
});

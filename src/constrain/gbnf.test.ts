import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { accepts, masksOf } from "../../test/constrained-texts.ts";

const text = fc.string({ unit: fc.constantFrom("a", "b", "(", ")", "é", "\n"), maxLength: 10 });
const follows = (grammar: string): ((text: string) => boolean) => {
  const masks = masksOf({ type: "grammar", grammar });
  return (candidate) => accepts(masks, candidate);
};

describe("a grammar", () => {
  test("counts what no regular expression can", () => {
    const balanced = follows('root ::= ("(" root ")" | [^()])*');
    const depths = (candidate: string): number[] => Array.from(candidate).reduce<number[]>((all, char) => [...all, (all.at(-1) ?? 0) + (char === "(" ? 1 : char === ")" ? -1 : 0)], []);
    fc.assert(
      fc.property(text, (candidate) => {
        const levels = depths(candidate);
        expect(balanced(candidate)).toBe(levels.every((level) => level >= 0) && (levels.at(-1) ?? 0) === 0);
      }),
      { numRuns: 500 },
    );
  });

  test.each([
    ['root ::= "a"+ b? # a comment\n\nb ::= "b" |\n  "é"', "^a+(b|é)?$"],
    ['root ::= [a-b]{2} .{,2}\n', "^[ab]{2}[^]{0,2}$"],
    ["root ::= (\n  [^\\n()] # in brackets lines go on\n  | \"\\(\" )*".replace("\\(", "("), "^[^\\n)]*$"],
    ['root ::= "\\x61" ["\\u00e9"]{1,} x-1?\nx-1 ::= "\\n" x-1 | ""', '^a["é]+\\n*$'],
  ])("is read as llama.cpp reads it: %j", (grammar, regex) => {
    const [ours, theirs] = [follows(grammar), new RegExp(regex, "u")];
    fc.assert(fc.property(text, (candidate) => void expect([candidate, ours(candidate)]).toEqual([candidate, theirs.test(candidate)])), { numRuns: 300 });
  });

  test.each([
    ["", "no rule"],
    ['start ::= "a"', "no root"],
    ["root ::= other", "a rule that is missing"],
    ['root ::= root "a" | "b"', "left recursion"],
    ['root ::= x root\nx ::= "a"?', "left recursion behind what may be empty"],
    ['root ::= "a', "an open text"],
    ['root ::= ("a"', "an open bracket"],
    ['root ::= "a")', "a bracket too many"],
    ["root ::= [b-a]", "a range out of order"],
    ['root ::= "a"\nroot ::= "b"', "a rule twice"],
    ['root = "a"', "another equals sign"],
    ['root ::= "\\q"', "an escape without meaning"],
    ['root ::= "a" root', "no end"],
    [`root ::= ${"(".repeat(200)}"a"${")".repeat(200)}`, "too many brackets"],
    ['root ::= ((("a"?){999}){999}){999}', "too many repetitions"],
  ])("%j is refused for %s", (grammar) => expect(() => follows(grammar)).toThrow(expect.objectContaining({ code: "bad_argument" })));

  test("any text at all is read or refused with one of our errors", () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom(..."rot:=\"[]()|*+?{1,} \n#-a", "root ::= ") }), (source) => {
        try {
          follows(source);
        } catch (error) {
          expect(error).toMatchObject({ name: "LongjingError" });
        }
      }),
      { numRuns: 1000 },
    );
  });
});

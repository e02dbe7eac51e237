import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { accepts, byteVocabulary } from "../../test/constrained-texts.ts";
import { compileGrammar } from "./compile.ts";
import { choice, literal, sequence, type Expression } from "./expression.ts";
import { TokenMasks } from "./masks.ts";
import { parseRegex } from "./regex.ts";

const atoms = ["a", "b", "c", ".", "\\d", "\\W", "\\s", "[ab]", "[^a-c]", "[a-b\\d_]", "é", "\\u{1f600}", "\\x62", "\\.", "[\\]b]", "\\n", "[b-]"];
const quantifiers = ["*", "+", "?", "{2}", "{1,2}", "{0,}", "*?", "{2,3}?"];

/** Counted repetitions of what is itself counted are for another test: a deterministic automaton of them may be huge. */
const regexes = fc.letrec<{ regex: string; part: string; group: string }>((tie) => ({
  group: fc.tuple(fc.constantFrom("(", "(?:", "(?<n>"), tie("regex"), fc.constantFrom("", "*", "+", "?")).map(([open, inner, quantifier]) => `${open}${inner})${quantifier}`),
  part: fc.oneof(
    { weight: 3, arbitrary: fc.tuple(fc.constantFrom(...atoms), fc.option(fc.constantFrom(...quantifiers), { nil: "" })).map((both) => both.join("")) },
    { weight: 1, arbitrary: tie("group") },
  ),
  regex: fc.oneof(
    { depthSize: "small" },
    fc.array(tie("part"), { maxLength: 4 }).map((parts) => parts.join("")),
    fc.array(fc.array(tie("part"), { maxLength: 2 }).map((parts) => parts.join("")), { minLength: 1, maxLength: 3 }).map((branches) => branches.join("|")),
  ),
}));

/** One name may be there once only. */
const oneName = (source: string): string => source.replaceAll("(?<n>", "(?:").replace("(?:", "(?<n>");
const regex = regexes.regex.map(oneName);
const text = fc.string({ unit: fc.constantFrom("a", "b", "c", "A", "1", "_", " ", "\n", "é", "😀", ".", "-", "]"), maxLength: 7 });

/** What an automaton of ours accepts; a language without any text accepts none. */
function recogniser(expression: Expression): (text: string) => boolean {
  const grammar = { root: "root", rules: new Map([["root", choice(expression, sequence(literal("\u0000"), expression), literal("\u0000\u0000"))]]) };
  try {
    const masks = new TokenMasks(compileGrammar(grammar), byteVocabulary);
    return (candidate) => accepts(masks, candidate);
  } catch (error) {
    // Some expressions have no small automaton; what is said here is about the others.
    fc.pre(!(error as Error).message.includes("too complex"));
    throw error;
  }
}

describe("a regular expression is JavaScript's", () => {
  test("on the whole text", () => {
    fc.assert(
      fc.property(regex, fc.array(text, { minLength: 1, maxLength: 12 }), (source, texts) => {
        const ours = recogniser(parseRegex(source, "whole"));
        const theirs = new RegExp(`^(?:${source})$`, "u");
        for (const candidate of texts) expect([candidate, ours(candidate)]).toEqual([candidate, theirs.test(candidate)]);
      }),
      { numRuns: 150 },
    );
  });

  test("somewhere in the text, between anchors or not", () => {
    const anchored = fc.array(fc.tuple(fc.constantFrom("", "^"), regexes.part, fc.constantFrom("", "$")), { minLength: 1, maxLength: 3 }).map((branches) => branches.map((branch) => branch.join("")).join("|")).map(oneName);
    fc.assert(
      fc.property(anchored, fc.array(text, { minLength: 1, maxLength: 12 }), (source, texts) => {
        const ours = recogniser(parseRegex(source, "somewhere"));
        const theirs = new RegExp(source, "u");
        for (const candidate of texts) expect([candidate, ours(candidate)]).toEqual([candidate, theirs.test(candidate)]);
      }),
      { numRuns: 100 },
    );
  });

  test.each([String.raw`\p{Lu}+\P{L}`, String.raw`[\p{Script=Greek}\d]*`, String.raw`[^\p{L}\s]{2}`, String.raw`\p{Emoji_Presentation}|[\u{1f600}-\u{1f64f}a]`])("with properties of characters: %s", (source) => {
    const ours = recogniser(parseRegex(source, "whole"));
    const theirs = new RegExp(`^(?:${source})$`, "u");
    fc.assert(fc.property(fc.string({ unit: fc.oneof(fc.constantFrom("A", "1", "é", "Ω", "😀", ".", "あ"), fc.string({ unit: "grapheme", minLength: 1, maxLength: 1 })), maxLength: 3 }), (candidate) => void expect([candidate, ours(candidate)]).toEqual([candidate, theirs.test(candidate)])), { numRuns: 500 });
  });

  test("every text that is refused by JavaScript is refused, and by name what we do not do", () => {
    const code = (source: string): string | undefined => {
      try {
        parseRegex(source, "whole");
        return undefined;
      } catch (error) {
        return (error as { code: string }).code;
      }
    };
    for (const source of ["(a", "a)", "[a", "a**", "+", "a{2,1}", "\\", "\\u{110000}", "\\q", "[z-a]", "[a-\\d]", "(?<>a)", "\\p{Nonsense}", "a{99999}", "{", "]", "\\c1"]) expect([source, code(source)]).toEqual([source, "bad_argument"]);
    for (const source of ["(?=a)", "(?!a)", "(?<=a)", "(?<!a)", "(a)\\1", "\\bword", "a^b", "(^a)", "(a$)b", "(?i:a)", "\\k<n>"]) expect([source, code(source)]).toEqual([source, "unsupported"]);
  });

  test("any text at all is read or refused with one of our errors", () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom(..."ab\\(){}[]^$|*+?.,-12dxupk<>:=!") }), (source) => {
        try {
          parseRegex(source, "somewhere");
        } catch (error) {
          expect(error).toMatchObject({ name: "LongjingError" });
          return;
        }
        // With u, a backslash before what needs none is an error; people write it all the same.
        const needful = source.replaceAll(/\\(.)/g, (escape, char: string) => ("!,<>:=-".includes(char) ? char : escape));
        expect(() => new RegExp(needful, "u")).not.toThrow();
      }),
      { numRuns: 3000 },
    );
  });
});

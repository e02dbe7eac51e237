import { describe, expect, it } from "vitest";
import { byteLevel, preTokenizers } from "./gguf-pre-tokenizers.ts";
import { preTokenizer } from "./pre-tokenizer.ts";

const regex = (Regex: string, behavior = "Isolated", invert = false): object => ({ type: "Split", pattern: { Regex }, behavior, invert });

describe("a split that is allowed", () => {
  it("is any that llama.cpp has a name for", () => {
    for (const { splits } of Object.values(preTokenizers)) expect(() => preTokenizer({ type: "Sequence", pretokenizers: splits })).not.toThrow();
  });

  it.each([
    String.raw`[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`,
    String.raw`[\p{Han}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?`,
    String.raw`\p{N}{1,3}(?=(?:\p{N}{3})*(?!\p{N}))`,
    " ?[^(\\s|[.,!?…。，、।۔،])]+",
    String.raw`\b\w+\b`,
    String.raw`[(+*]+`,
    String.raw`\(+`,
    "((a))+",
  ])("is %s", (pattern) => expect(() => preTokenizer(regex(pattern))).not.toThrow());

  it.each([
    "(a+)+$",
    "(a|a)*b",
    "(a|aa)+b",
    "(?:a{1,30}){1,30}b",
    "(?:a?)*b",
    "a*a*b",
    String.raw`\s*\s+\s*x`,
    "a{2,}a{2,}a{2,}b",
    "a".repeat(10_000),
    "(?:(?:a{99}){99}){99}",
    `${"(?:a|a)".repeat(40)}b`,
    `${"a?".repeat(30)}b`,
    `${"a{0,99}".repeat(4)}b`,
    `${"(?:a(?:a|a)?)?".repeat(12)}b`,
    `(?=${"(?:a|a)".repeat(24)}c)a`,
    String.raw`(a*)\1b`,
    "[a[b]](?:a|a)*b",
    "a++b",
  ])("is not %s", (pattern) => expect(() => preTokenizer(regex(pattern))).toThrow(expect.objectContaining({ code: "unsupported" })));
});

// The pieces as `tokenizers` 0.23 gives them: Split.pre_tokenize_str("a  b c").
it.each([
  ["Isolated", ["a", " ", " ", "b", " ", "c"], ["a", " ", " ", "b", " ", "c"]],
  ["Removed", ["a", "b", "c"], [" ", " ", " "]],
  ["MergedWithPrevious", ["a ", " ", "b ", "c"], ["a", " ", " b", " c"]],
  ["MergedWithNext", ["a", " ", " b", " c"], ["a ", " ", "b ", "c"]],
  ["Contiguous", ["a", "  ", "b", " ", "c"], ["a", "  ", "b", " ", "c"]],
])("a split %s", (behavior, pieces, inverted) => {
  for (const pattern of [{ Regex: " " }, { String: " " }]) {
    expect(preTokenizer({ type: "Split", pattern, behavior, invert: false })("a  b c")).toEqual(pieces);
    expect(preTokenizer({ type: "Split", pattern, behavior, invert: true })("a  b c")).toEqual(inverted);
  }
});

it("loses no text where nothing is removed", () => {
  const text = "\ufeffa\u0085 b,, 12\u200b ½ 🙂🙂x\u3000\n\n";
  for (const behavior of ["Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"]) {
    for (const invert of [false, true]) expect(preTokenizer(regex(String.raw`\s+|[a-z]`, behavior, invert))(text).join("")).toBe(text);
    expect(preTokenizer({ type: "Punctuation", behavior })(text).join("")).toBe(text);
  }
  expect(preTokenizer({ type: "FixedLength", length: 3 })(text).join("")).toBe(text);
});

it("takes white space as Unicode has it: U+0085 is, U+FEFF is not", () => {
  const spaced = "a\u0085b\ufeffc";
  const bytes = preTokenizer(byteLevel(false))("\u0085");
  expect(preTokenizer(byteLevel(true))(spaced)).toHaveLength(5);
  expect(preTokenizer(byteLevel(true))(spaced)[1]).toBe(bytes[0]);
  expect(preTokenizer(byteLevel(true))("\u0085\u0085a")).toHaveLength(3);
  expect(preTokenizer(byteLevel(true))("\ufeff\ufeffa")).toHaveLength(2);
  expect(preTokenizer({ type: "WhitespaceSplit" })(spaced)).toEqual(["a", "b\ufeffc"]);
  expect(preTokenizer({ type: "Whitespace" })(spaced)).toEqual(["a", "b", "\ufeff", "c"]);
  expect(preTokenizer({ type: "BertPreTokenizer" })(spaced)).toEqual(["a", "b\ufeffc"]);
});

it("cuts no character in half, and drops what a rule drops", () => {
  expect(preTokenizer({ type: "FixedLength", length: 1 })("🙂a")).toEqual(["🙂", "a"]);
  expect(preTokenizer({ type: "Punctuation", behavior: "Removed" })("a,,b$c")).toEqual(["a", "b", "c"]);
  expect(preTokenizer({ type: "CharDelimiterSplit", delimiter: "_" })("a_b__c")).toEqual(["a", "b", "c"]);
});

it.each([{ type: "UnicodeScripts" }, { type: "Metaspace" }, { type: "Split", pattern: {} }, {}])("does not follow %j", (rule) => {
  expect(() => preTokenizer(rule)).toThrow(expect.objectContaining({ code: "unsupported" }));
});

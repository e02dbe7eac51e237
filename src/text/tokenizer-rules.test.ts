import { describe, expect, it } from "vitest";
import { preTokenizers } from "./gguf-pre-tokenizers.ts";
import { checkRules } from "./tokenizer-rules.ts";

const split = (Regex: string): object => ({ type: "Sequence", pretokenizers: [{ type: "Split", pattern: { Regex } }] });

describe("rules of a tokenizer", () => {
  it("are followed when llama.cpp has a name for them", () => {
    for (const { normalizer, splits } of Object.values(preTokenizers)) expect(() => checkRules(normalizer, splits)).not.toThrow();
  });

  it.each([
    String.raw`[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`,
    String.raw`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`,
    String.raw`[(+*]+`,
    String.raw`\(+`,
  ])("may have the split %s", (pattern) => expect(() => checkRules(null, split(pattern))).not.toThrow());

  it.each(["(a+)+$", "(a|a)*b", "(a|aa)+b", "(?:a{1,30}){1,30}b", "((a))+", "a*a*a*b", String.raw`\s*\s+\s*x`, "a{2,}a{2,}a{2,}b", "a".repeat(10_000)])("may not have the split %s", (pattern) =>
    expect(() => checkRules(null, split(pattern))).toThrow(expect.objectContaining({ code: "unsupported" })),
  );

  it("may not make a text longer at will", () => {
    const replace = { type: "Replace", pattern: { String: "a" }, content: "aa" };
    expect(() => checkRules({ type: "Sequence", normalizers: Array(64).fill(replace) }, null)).toThrow("normalizer");
  });
});

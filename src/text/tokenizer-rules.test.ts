import { describe, expect, it } from "vitest";
import { preTokenizers } from "./gguf-pre-tokenizers.ts";
import { checkRules } from "./tokenizer-rules.ts";

const idOf = (token: string): number | undefined => new Map([["<s>", 7]]).get(token);
const check = (file: object) => (): void => checkRules(file, idOf);

describe("rules of a tokenizer", () => {
  it("are followed when llama.cpp has a name for them", () => {
    for (const { normalizer } of Object.values(preTokenizers)) expect(check({ normalizer })).not.toThrow();
  });

  it("may not make a text longer at will", () => {
    const replace = { type: "Replace", pattern: { String: "a" }, content: "aa" };
    expect(check({ normalizer: { type: "Sequence", normalizers: Array(64).fill(replace) } })).toThrow("normalizer");
  });

  it("are refused where they would be followed wrongly", () => {
    const template = (ids: number[]): object => ({ post_processor: { type: "Sequence", processors: [{ type: "TemplateProcessing", special_tokens: { "<s>": { id: "<s>", ids, tokens: ["<s>"] } } }] } });
    expect(check(template([7]))).not.toThrow();
    for (const ids of [[7, 8], [8], []]) expect(check(template(ids))).toThrow(expect.objectContaining({ code: "unsupported" }));
    expect(check({ added_tokens: [{ content: "a", single_word: true }] })).toThrow(expect.objectContaining({ code: "unsupported" }));
    expect(check({ added_tokens: [{ content: "a", single_word: false }] })).not.toThrow();
  });
});

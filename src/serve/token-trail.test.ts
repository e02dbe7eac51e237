import fc from "fast-check";
import { expect, test } from "vitest";
import { tags, TranscriptSplitter } from "../text/index.ts";
import { TokenTrail } from "./token-trail.ts";

const names: readonly string[] = Object.values(tags);

/** Tokens as [text, part], where "" is the first byte of the character that the next token ends. */
function trailOf(tokens: readonly string[]): { readonly pieces: string; readonly taken: readonly number[]; readonly doubled: boolean } {
  const trail = new TokenTrail<number>(names);
  const splitter = new TranscriptSplitter();
  let pieces = "";
  const taken: number[] = [];
  const read = (parts: ReturnType<TranscriptSplitter["push"]>): void => {
    for (const { delta } of parts) {
      pieces += delta;
      taken.push(...trail.take(delta));
    }
  };
  for (const [at, text] of tokens.entries()) {
    trail.push(at, text);
    read(splitter.push(text));
  }
  read(splitter.end());
  return { pieces, taken, doubled: new Set(taken).size < taken.length };
}

test("each token of the answer is taken once, in order", () => {
  fc.assert(
    fc.property(fc.array(fc.constantFrom("<think>", "</think>", "<answer>", "</answer>", "think", "a", "<", "b<", "n>x", "")), (tokens) => {
      const { pieces, taken, doubled } = trailOf([...tokens, "."]);
      expect([doubled, taken]).toEqual([false, taken.toSorted((a, b) => a - b)]);
      expect(taken.map((at) => tokens[at] ?? ".").join("")).toContain(pieces);
    }),
  );
});

test.each([
  [["<think>", "t", "</think>", "\n", "<answer>", "a", "</answer>"], [1, 5]],
  [["<", "thi", "nk>", "t", "</think", ">\n4", "2"], [3, 5, 6]],
  [["<answer>", "", "é", "</answer>", "b"], [1, 2, 4]],
  [["<answer>", "", "", "</answer>"], []],
  [["<answer>", "</", "b>", "<think>", "</answer>"], [1, 2]],
])("of %j the answer has the tokens %j", (tokens, expected) => {
  expect(trailOf(tokens).taken).toEqual(expected);
});

test("a text behind a call begins anew", () => {
  const trail = new TokenTrail<number>(names);
  trail.push(0, "call(text)");
  trail.pass();
  trail.push(1, "text");
  expect(trail.take("text")).toEqual([1]);
});

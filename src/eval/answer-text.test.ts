import { expect, test } from "vitest";
import { answerIn } from "./answer-text.ts";

test.each<[string, string | null, (string | null)?]>([
  ["7", "7", null],
  ["  It is 7.\n", "It is 7.", null],
  ["So: <answer> 7 </answer> as asked", "7"],
  ["<answer>6</answer> no, <answer>7</answer>", "7"],
  ["<answer>6</answer> no, <answer>7", null],
  ["<answer></answer>", null],
  ["", null],
  [" \n", null],
  ["<think>6?</think>7", "7", null],
  ["<think>or <answer>6</answer></think><answer>7</answer>", "7"],
  ["<think>or <answer>6</answer>", null],
  ["</think>\n\n7", "7", null],
])("of %j the answer is %j", (content, whole, cut = whole) => {
  expect(answerIn(content, false)).toBe(whole);
  expect(answerIn(content, true)).toBe(cut);
});

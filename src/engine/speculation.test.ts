import fc from "fast-check";
import { expect, test } from "vitest";
import { checkSpeculative, promptLookup } from "./speculation.ts";

/** The rule said slowly: every length from the longest, every place from the latest. */
function slowly(tokens: readonly number[], count: number, max: number, min: number): number[] {
  for (let n = Math.min(max, tokens.length - 1); n >= min; n--)
    for (let at = tokens.length - 1; at >= n; at--) {
      if (tokens.slice(at - n, at).join() !== tokens.slice(-n).join()) continue;
      const text = [...tokens];
      while (text.length < tokens.length + count) text.push(text[text.length - (tokens.length - at)]!);
      return text.slice(tokens.length);
    }
  return [];
}

test("the latest occurrence of the longest run of last tokens tells what follows", () => {
  fc.assert(
    fc.property(fc.array(fc.nat(2), { maxLength: 20 }), fc.integer({ min: 1, max: 6 }), fc.integer({ min: 1, max: 3 }), fc.nat(3), (tokens, count, min, more) => {
      expect(promptLookup(tokens, count, min + more, min)).toEqual(slowly(tokens, count, min + more, min));
    }),
    { numRuns: 2000 },
  );
});

test.each([
  { method: "ngram", num_speculative_tokens: 0 },
  { method: "mtp", num_speculative_tokens: 2 },
  { method: "ngram", num_speculative_tokens: 1, prompt_lookup_min: 3, prompt_lookup_max: 2 },
] as const)("%j is refused", (config) => expect(() => checkSpeculative(config, true)).toThrow(expect.objectContaining({ code: "bad_argument" })));

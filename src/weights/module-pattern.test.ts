import fc from "fast-check";
import { expect, test } from "vitest";
import { modulePattern } from "./module-pattern.ts";

const modules = ["model.layers.0.self_attn.q_proj", "model.layers.10.self_attn.q_proj", "model.layers.1.self_attn.v_proj", "model.layers.1.mlp.down_proj", "lm_head"];

test("patterns mean what regular expressions mean, at the end of a name", () => {
  const atom = fc.constantFrom("q_proj", "layers", "self", "0", "1", "_", ".", ".*", ".+?", "\\.", "\\d+", "[0-9]+", "[^a-z.]", "[qv]_", "\\w*", "p?", "^", "$");
  const sequence = fc.array(atom, { maxLength: 5 }).map((atoms) => atoms.join(""));
  const group = fc.tuple(sequence, sequence, sequence, fc.constantFrom("(", "(?:")).map(([before, a, b, open]) => `${before}${open}${a}|${b})`);
  let matched = 0;
  fc.assert(
    fc.property(fc.oneof(sequence, group, fc.tuple(sequence, group, sequence).map((parts) => parts.join(""))), fc.constantFrom(...modules), (key, module) => {
      const expected = new RegExp(`^(?:.*\\.)?(?:${key})$`).test(module);
      matched += Number(expected);
      expect(modulePattern(key, "test")(module)).toBe(expected);
    }),
    { numRuns: 3000 },
  );
  expect(matched).toBeGreaterThan(100);
});

test.each<[key: string, matched: readonly number[]]>([
  // What PEFT 0.21's get_pattern_key finds.
  [String.raw`.*\.0\..*q_proj`, [0]],
  [String.raw`layers\.1\.self_attn\.v_proj`, [2]],
  ["q_proj|v_proj", [0, 1, 2]],
  ["layers.1.self_attn.v_proj", [2]],
  ["^model.layers.0.self_attn.q_proj", [0]],
  ["proj", []],
  ["head", []],
])("%s", (key, matched) => expect(modules.flatMap((module, i) => (modulePattern(key, "test")(module) ? [i] : []))).toEqual(matched));

test.each(["(a+)+", "(a|b)*", "(?=a)", "(?i)a", "a{2}", "a**", "a*+", "*", "(a", "a)", "[", "[]", "[z", "\\", "\\b", "\\1", ".".repeat(513)])("%s is refused", (key) => expect(() => modulePattern(key, "test")).toThrow(expect.objectContaining({ code: "unsupported" })));

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Entry, Trace } from "./entry.ts";
import { traceWriters } from "./traces.ts";

const trace = (task: string, question: string, answer: string | null = null, metadata: Entry["metadata"] = {}): Trace => traceWriters[task]!({ task, question, answer, metadata })!;

describe("ab", () => {
  const token = fc.constantFrom("A#", "B#", "#A", "#B");
  test("ends where rewriting neighbours ends", () => {
    fc.assert(fc.property(fc.array(token, { minLength: 1, maxLength: 25 }), (program) => {
      expect(trace("ab", `A program:\n\n${program.join(" ")}\n`).answer).toBe(rewritten(program).join(" "));
    }));
  });
  function rewritten(program: readonly string[]): readonly string[] {
    const at = program.findIndex((a, i) => a.endsWith("#") && program[i + 1]?.startsWith("#"));
    if (at < 0) return program;
    const [a, b] = [program[at]!, program[at + 1]!];
    return rewritten([...program.slice(0, at), ...(a[0] === b[1] ? [] : [b, a]), ...program.slice(at + 2)]);
  }
});

test("a palindrome uses each letter once", () => {
  fc.assert(
    fc.property(fc.stringMatching(/^[a-z]{0,12}$/), fc.constantFrom("", ..."amz"), (half, middle) => {
      const letters = [...half, ...half, ...middle];
      fc.pre(letters.length > 0);
      const { answer } = trace("palindrome_generation", `Letters: ${letters.toReversed().join(", ")}\n`);
      expect([...answer].reverse().join("")).toBe(answer);
      expect([...answer].sort()).toEqual(letters.toSorted());
    }),
  );
});

test("sums of decimals are exact", () => {
  const term = fc.tuple(fc.integer({ min: 0, max: 99_999_999 }), fc.integer({ min: 0, max: 999_999 }), fc.constantFrom("+", "-"));
  fc.assert(
    fc.property(fc.array(term, { minLength: 1, maxLength: 8 }), (terms) => {
      const question = terms.map(([whole, part, sign], i) => `${i > 0 ? `${sign} ` : ""}${whole}.${String(part).padStart(6, "0")}`).join(" ");
      const millionths = terms.reduce((sum, [whole, part, sign], i) => sum + (i > 0 && sign === "-" ? -1 : 1) * (whole * 1e6 + part), 0);
      expect(Math.round(Number(trace("decimal_chain_sum", `${question} =`, "").answer) * 1e6)).toBe(millionths);
    }),
  );
});

test("primes are counted as trial division counts them", () => {
  const isPrime = (n: number): boolean => n > 1 && !Array.from({ length: Math.floor(Math.sqrt(n)) - 1 }, (_, i) => i + 2).some((d) => n % d === 0);
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 50_000 }), fc.integer({ min: 0, max: 300 }), (start, width) => {
      const primes = Array.from({ length: width + 1 }, (_, i) => start + i).filter(isPrime);
      expect(trace("count_primes", `From ${start} to ${start + width}`).answer).toBe(String(primes.length));
    }),
    { numRuns: 30 },
  );
});

test("a cube turned round four times, or back again, looks as before", () => {
  const sides = ["top", "right", "front", "left", "back", "bottom"];
  const initial_state = Object.fromEntries(sides.map((side, i) => [side, `c${i}`]));
  const after = (rotations: readonly string[]): string[] => sides.map((target_side) => trace("color_cube_rotation", "", "", { initial_state, rotations, target_side }).answer);
  for (const side of sides.slice(1)) expect(after([side, side, side, side])).toEqual(after([]));
  expect(after(["front", "back"])).toEqual(after([]));
  expect(after(["left", "right"])).toEqual(after([]));
  expect(after(["front", "front"])[0]).toBe("c5");
});

test("a problem that a writer does not know is left out", () => {
  for (const task of ["ab", "palindrome_generation", "binary_alternation", "leg_counting"]) expect(traceWriters[task]!({ task, question: "What is 2 + 2 of 3 unicorns?", answer: null, metadata: {} })).toBeNull();
});

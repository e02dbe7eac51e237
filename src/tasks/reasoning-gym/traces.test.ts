import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Entry, Trace } from "./entry.ts";
import { concludes, follows, parseFormula } from "./logic.ts";
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

test("a program of additions ends where it ends when it is run", () => {
  const small = fc.integer({ min: 0, max: 9 });
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 300 }), small, small, (target, x, y) => {
      fc.pre(x + y > 0);
      let sum = 0;
      while (sum < target) sum += x + y;
      const metadata = { bfit_code: `int target = ${target};\nint x = ${x};\nint y = ${y};` };
      expect(trace("bf", "", String(sum), metadata).answer).toBe(String(sum));
      expect(traceWriters["bf"]!({ task: "bf", question: "", answer: String(sum + 1), metadata })).toBeNull();
    }),
  );
});

test("an empty board has the size of the one that was asked about", () => {
  const board = fc.integer({ min: 4, max: 12 }).chain((width) => fc.array(fc.array(fc.constantFrom(0, 1), { minLength: width, maxLength: width }), { minLength: 4, maxLength: 12 }));
  fc.assert(
    fc.property(board, (rows) => {
      const question = `An empty 3x3 grid: [[0,0,0],[0,0,0],[0,0,0]])\n\n[${rows.map((row) => JSON.stringify(row)).join(",\n ")}].`;
      expect(JSON.parse(trace("game_of_life", question).answer)).toEqual(rows.map((row) => row.map(() => 0)));
    }),
  );
});

test("courses are told with what each needs first", () => {
  const pairs = fc.array(fc.tuple(fc.integer({ min: 0, max: 9 }), fc.integer({ min: 0, max: 9 })), { minLength: 1, maxLength: 30 });
  fc.assert(
    fc.property(pairs, (prerequisites) => {
      const question = `There are a total of 10 courses.\n[${prerequisites.map(([a, b]) => `(${a}, ${b})`).join(", ")}]`;
      const told = [...trace("course_schedule", question, "True").thinking.matchAll(/\((\d+), (\d+)/g)].map(([, course, count]) => [Number(course), Number(count)]);
      expect(told).toEqual(Array.from({ length: 10 }, (_, course) => [course, prerequisites.filter(([a]) => a === course).length]));
    }),
  );
});

describe("propositional logic", () => {
  const { formula } = fc.letrec<{ formula: string }>((tie) => ({
    formula: fc.oneof(
      { maxDepth: 3 },
      fc.constantFrom("P", "Q", "R"),
      tie("formula").map((inner) => `¬${inner}`),
      fc.tuple(tie("formula"), fc.constantFrom("∨", "∧", "→", "↔"), tie("formula")).map(([a, between, b]) => `(${a} ${between} ${b})`),
    ),
  }));
  const worlds = Array.from({ length: 8 }, (_, row) => new Map(["P", "Q", "R"].map((letter, i) => [letter, ((row >> i) & 1) === 1])));

  test("connectives are De Morgan's, implication and equivalence follow from them", () => {
    fc.assert(
      fc.property(formula, formula, (a, b) => {
        for (const [one, other] of [[`(${a} ∧ ${b})`, `¬(¬${a} ∨ ¬${b})`], [`(${a} → ${b})`, `(¬${a} ∨ ${b})`], [`(${a} ↔ ${b})`, `((${a} → ${b}) ∧ (${b} → ${a}))`]]) {
          for (const world of worlds) expect(parseFormula(one!)(world)).toBe(parseFormula(other!)(world));
        }
      }),
    );
  });

  test("what follows from premises is true in each of their worlds", () => {
    fc.assert(fc.property(fc.array(formula, { maxLength: 3 }), formula, (premises, claim) => {
      const possible = worlds.filter((world) => premises.every((premise) => parseFormula(premise)(world)));
      expect(follows(premises, claim)).toBe(possible.every((world) => parseFormula(claim)(world)));
    }));
  });

  test("what is concluded follows, and says something", () => {
    fc.assert(
      fc.property(fc.array(formula, { minLength: 1, maxLength: 5 }), (premises) => {
        const question = `Here is the question:\nGiven:\n${premises.map((premise, i) => `${i + 1}. ${premise}\n`).join(".")}.What can we conclude?`;
        const told = traceWriters["propositional_logic"]!({ task: "propositional_logic", question, answer: null, metadata: {} });
        if (told === null) expect(premises.every((premise) => premise.length === 1 || follows([], premise))).toBe(true);
        else expect(concludes(told.answer, question)).toBe(true);
      }),
    );
  });

  test("a tautology, a letter alone and what is no formula conclude nothing", () => {
    const question = "Given:\n1. (P ∧ Q)\n.2. P\n.";
    expect(["(P ∨ ¬P)", "P", "", "(P ∧", "P ∧ Q", "¬R", "🙂", "(".repeat(5000)].map((answer) => concludes(answer, question))).toEqual(new Array(8).fill(false));
    expect(concludes("(P ∨ Q)", question)).toBe(true);
  });
});

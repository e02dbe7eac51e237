import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { readFixture } from "../../test/fixtures.ts";
import { verifyMath } from "../tasks/index.ts";
import { answerClasses, consAtK, mostVotes, type Vote } from "./consensus.ts";
import { bestOfK, majorityVote, passAtK } from "./pass-at-k.ts";

const exact = (a: string, b: string): boolean => a === b;
const cons = (votes: readonly Vote[], k: number, same = exact): number => consAtK(votes.length, answerClasses(votes, same), k);
const mean = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / values.length;

/** Votes of which equal answers have equal scores; "x" cannot be read. */
const votesOf = (answers: string, right = "A"): Vote[] => [...answers].map((answer) => (answer === "x" ? { answer: null, score: 0 } : { answer, score: Number(answer === right) }));
const someVotes = fc.array(fc.constantFrom(..."AABCx"), { minLength: 1, maxLength: 6 }).map((answers) => votesOf(answers.join("")));
const readVotes = fc.array(fc.constantFrom(..."AABCD"), { minLength: 2, maxLength: 12 }).map((answers) => votesOf(answers.join("")));

function orders<T>(items: readonly T[]): T[][] {
  if (items.length === 0) return [[]];
  return items.flatMap((item, i) => orders(items.toSpliced(i, 1)).map((rest) => [item, ...rest]));
}

describe("cons@k", () => {
  test.each([
    ["AAB", 1, 2 / 3],
    ["AAB", 2, 2 / 3], // AA of three pairs, and half of the two AB
    ["AAB", 3, 1],
    ["ABB", 3, 0],
    ["AB", 2, 1 / 2], // seen first, in half of the orders
    ["ABC", 3, 1 / 3],
    ["Ax", 1, 1 / 2],
    ["Ax", 2, 1], // what cannot be read does not vote
    ["xx", 2, 0],
    ["AABBx", 5, 1 / 2],
    ["AABC", 3, 2 / 3], // AAB and AAC, and a third of the two ABC, among four
  ])("by hand: of %s, k %i", (answers, k, expected) => {
    expect(cons(votesOf(answers), k)).toBeCloseTo(expected, 12);
  });

  test("is the mean over all orders of the votes, the majority of the first k, the first seen among equals", () => {
    fc.assert(
      fc.property(someVotes, fc.nat(), (votes, pick) => {
        const k = 1 + (pick % votes.length);
        const won = orders(votes).map((order) => Number(majorityVote(order.slice(0, k).map(({ answer }) => answer)) === "A"));
        expect(cons(votes, k)).toBeCloseTo(mean(won), 10);
      }),
      { numRuns: 60 },
    );
  });

  test("k = 1 is pass@1, and so is k = 2 where all answers are read", () => {
    fc.assert(
      fc.property(readVotes, (votes) => {
        const one = mean(votes.map(({ score }) => score));
        expect(cons(votes, 1)).toBeCloseTo(one, 12);
        expect(cons(votes, 2)).toBeCloseTo(one, 12);
      }),
    );
  });

  test("is never above pass@k", () => {
    fc.assert(
      fc.property(someVotes, fc.nat(), (votes, pick) => {
        const k = 1 + (pick % votes.length);
        expect(cons(votes, k)).toBeLessThanOrEqual(passAtK(votes.length, votes.filter(({ score }) => score === 1).length, k) + 1e-12);
      }),
    );
  });

  test("grows with odd k where the right answer has the most votes of two, and falls where it has the fewest (Condorcet)", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 30 }), fc.integer({ min: 1, max: 30 }), (right, wrong) => {
        fc.pre(right !== wrong);
        const votes = votesOf("A".repeat(right) + "B".repeat(wrong));
        const odd = Array.from({ length: Math.ceil(votes.length / 2) }, (_, i) => cons(votes, 2 * i + 1));
        for (const [i, value] of odd.slice(1).entries()) expect((value - odd[i]!) * Math.sign(right - wrong)).toBeGreaterThan(-1e-9);
      }),
    );
  });

  test("answers that say the same are one answer", () => {
    const same = (a: string, b: string): boolean => verifyMath(a, b).correct;
    const half = ["1/2", "3", "0.5", "3", "\\frac{2}{4}"].map((answer) => ({ answer, score: Number(answer !== "3") }));
    expect(answerClasses(half, same).map(({ count }) => count)).toEqual([3, 2]);
    expect(cons(half, 5, same)).toBe(1);
    expect(cons(half, 5)).toBe(0);
  });

  test("a class that a verifier judges unequally counts for its mean", () => {
    const votes = [1, 0.5, 0].map((score, i) => ({ answer: i < 2 ? "A" : "B", score }));
    expect(cons(votes, 3)).toBeCloseTo(0.75, 12);
  });

  test("many votes stay within [0, 1]", () => {
    const votes = votesOf("A".repeat(500) + "B".repeat(400) + [..."CDEFGH"].map((c) => c.repeat(20)).join(""));
    const value = cons(votes, mostVotes);
    expect(value).toBeGreaterThan(0.5);
    expect(value).toBeLessThanOrEqual(1);
  });

  test.each([[3, 0], [3, 4], [100, 65], [3, Number.NaN]])("undefined for %d votes, k %d", (n, k) => {
    expect(() => consAtK(n, [], k)).toThrow(expect.objectContaining({ code: "bad_argument" }));
  });

  test.each(readFixture<{ readonly cons_at_k: { answers: (string | null)[]; gold: string; correct: boolean }[] }>("eval", "pass_at_k.json").cons_at_k)("$answers with all votes", ({ answers, gold, correct }) => {
    const votes = answers.map((answer) => ({ answer, score: Number(answer === gold) }));
    const most = Math.max(...answerClasses(votes, exact).map(({ count }) => count));
    const tied = answerClasses(votes, exact).filter(({ count }) => count === most).length;
    if (tied === 1) expect(cons(votes, votes.length)).toBe(Number(correct));
  });
});

describe("the best of k", () => {
  const scores = fc.array(fc.constantFrom(0, 0.01, 0.5, 1), { minLength: 1, maxLength: 7 });

  test("is pass@k where scores are 0 and 1", () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom(0, 1), { minLength: 1, maxLength: 40 }), fc.nat(), (rights, pick) => {
        const k = 1 + (pick % rights.length);
        expect(bestOfK(rights, k)).toBeCloseTo(passAtK(rights.length, rights.reduce<number>((a, b) => a + b, 0), k), 10);
      }),
    );
  });

  test("is the mean of the best over all draws", () => {
    fc.assert(
      fc.property(scores, fc.nat(), (all, pick) => {
        const k = 1 + (pick % all.length);
        expect(bestOfK(all, k)).toBeCloseTo(mean(orders(all).map((order) => Math.max(...order.slice(0, k)))), 10);
      }),
      { numRuns: 30 },
    );
  });
});

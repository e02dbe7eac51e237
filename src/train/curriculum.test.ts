import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { random } from "../random/index.ts";
import { noBest, watchReward, type BestState } from "./best-window.ts";
import { scheduledCurriculum, solveRateCurriculum, type CurriculumState } from "./curriculum.ts";

const rates = (values: readonly number[], level: number) => values.map((solved) => ({ level, solved }));

describe("a level that follows the solve rate", () => {
  const curriculum = solveRateCurriculum({ levels: 3, raise_at: 0.8, lower_at: 0.2, window: 4, review: 0.25 });

  test("rises when the window is full and the rate is reached, and begins anew there", () => {
    let state: CurriculumState = curriculum.initial;
    state = curriculum.update(state, rates([1, 1, 1], 1), 1);
    expect(state.level).toBe(1);
    state = curriculum.update(state, rates([0.2], 1), 2);
    expect(state).toEqual({ level: 2, recent: [] });
  });

  test("stays between the rates, looks back no further than its window, and falls below", () => {
    let state: CurriculumState = { level: 2, recent: [1, 1, 1] };
    state = curriculum.update(state, rates([0, 0.5], 2), 1);
    expect(state).toEqual({ level: 2, recent: [1, 1, 0, 0.5] });
    state = curriculum.update(state, rates([0, 0, 0], 2), 2);
    expect(state).toEqual({ level: 1, recent: [] });
  });

  test("does not count problems of other levels, and leaves no level that there is", () => {
    fc.assert(
      fc.property(fc.array(fc.array(fc.record({ level: fc.integer({ min: 1, max: 3 }), solved: fc.constantFrom(0, 0.5, 1) }), { maxLength: 6 }), { maxLength: 20 }), (steps) => {
        let state: CurriculumState = curriculum.initial;
        steps.forEach((outcomes, i) => {
          const own = outcomes.filter((o) => o.level === state.level);
          const next = curriculum.update(state, outcomes, i + 1);
          expect(next).toEqual(curriculum.update(state, own, i + 1));
          expect(Math.abs(next.level - state.level)).toBeLessThanOrEqual(1);
          expect(curriculum.levels).toContain(next.level);
          state = next;
        });
      }),
    );
  });

  test("draws its level, and now and then a lower one", () => {
    const draws = Array.from({ length: 2000 }, (_, i) => curriculum.draw({ level: 3, recent: [] }, random("draw", i)));
    expect([...new Set(draws)].sort()).toEqual([1, 2, 3]);
    const lower = draws.filter((level) => level < 3).length;
    // Six standard deviations of a binomial.
    expect(Math.abs(lower - 500)).toBeLessThan(6 * Math.sqrt(2000 * 0.25 * 0.75));
    expect(curriculum.draw({ level: 1, recent: [] }, random("draw"))).toBe(1);
  });

  test.each([{ levels: 2, start: 3 }, { levels: 2, start: 0 }, { levels: 2, raise_at: 0.5, lower_at: 0.5 }])("refuses %j", (options) => expect(() => solveRateCurriculum(options)).toThrow(/cannot run/));
});

describe("a schedule of levels", () => {
  const curriculum = scheduledCurriculum([{ step: 0, level: 2 }, { step: 3, level: 4 }, { step: 5, level: 1 }]);

  test("holds each from its step on", () => {
    let state = curriculum.initial;
    const levels = Array.from({ length: 7 }, (_, done) => {
      const level = curriculum.draw(state, random("schedule"));
      state = curriculum.update(state, rates([0.5], level), done + 1);
      return level;
    });
    expect(levels).toEqual([2, 2, 2, 4, 4, 1, 1]);
    expect(curriculum.levels).toEqual([2, 4, 1]);
  });

  test.each([[[]], [[{ step: 1, level: 1 }]], [[{ step: 0, level: 1 }, { step: 0, level: 2 }]]])("refuses %j", (schedule) => expect(() => scheduledCurriculum(schedule)).toThrow(/no order/));
});

describe("the best window", () => {
  const follow = (rewards: readonly number[], level: (step: number) => number = () => 0): number[] => {
    let state: BestState = noBest;
    return rewards.flatMap((reward, i) => {
      const seen = watchReward(state, i + 1, reward, level(i + 1), 2);
      state = seen.state;
      return seen.best ? [i + 1] : [];
    });
  };

  test("is one with a higher mean than all before it", () => {
    expect(follow([0, 1, 1, 0, 0.5, 0.6, 0, 9, 0, 0])).toEqual([2, 6, 8]);
    expect(follow([1])).toEqual([]);
  });

  test("or of a higher level, whatever its reward, and of no lower one", () => expect(follow([1, 1, 0.1, 0.1, 2, 2], (step) => (step === 3 || step === 4 ? 2 : 1))).toEqual([2, 4]));
});

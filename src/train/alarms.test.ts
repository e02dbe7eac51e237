import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { noAlarms, watchMetrics, type AlarmName, type AlarmOptions, type AlarmState } from "./alarms.ts";

type Metrics = Readonly<Record<string, number>>;
const calm: Metrics = { entropy: 1, reward: 0.5, kl: 0.01, frac_reward_zero_std: 0.2, "completions/mean_length": 50, "completions/clipped_ratio": 0.01 };
const options: AlarmOptions = { window: 2 };

/** The alarms of each step. */
function follow(steps: readonly Metrics[], state: AlarmState = noAlarms): { readonly raised: AlarmName[][]; readonly state: AlarmState } {
  const raised: AlarmName[][] = [];
  for (const metrics of steps) {
    const seen = watchMetrics(state, metrics, options);
    raised.push(seen.alarms.map(({ alarm }) => alarm));
    state = seen.state;
  }
  return { raised, state };
}
const times = (n: number, metrics: Metrics): Metrics[] => Array.from({ length: n }, () => ({ ...calm, ...metrics }));

describe("an alarm", () => {
  test.each<[AlarmName, Metrics]>([
    ["entropy_collapse", { entropy: 0.05 }],
    ["length_growth", { "completions/mean_length": 120 }],
    ["truncation", { "completions/clipped_ratio": 0.3 }],
    ["no_signal", { frac_reward_zero_std: 1 }],
    ["kl", { kl: 3 }],
  ])("%s is raised once, when the mean of the window says so, and again after it was gone", (alarm, bad) => {
    expect(follow(times(10, {})).raised.flat()).toEqual([]);
    const { raised } = follow([...times(4, {}), ...times(3, bad), ...times(3, {}), ...times(3, bad)]);
    expect(raised.flat()).toEqual([alarm, alarm]);
    expect(raised.findIndex((names) => names.length > 0)).toBeGreaterThanOrEqual(4);
  });

  test("of length is not raised where the reward has grown with it", () => {
    expect(follow([...times(3, {}), ...times(5, { "completions/mean_length": 200, reward: 0.9 })]).raised.flat()).toEqual([]);
  });

  test("needs its metric: what is not measured, or no number, raises none", () => {
    expect(follow(Array.from({ length: 8 }, (_, i) => ({ reward: i, kl: Number.NaN }))).raised.flat()).toEqual([]);
  });

  test("is the same whenever the run was stopped: all that is known is in the state, and goes through JSON", () => {
    const metrics = fc.record({ entropy: fc.double({ min: 0, max: 1, noNaN: true }), reward: fc.double({ min: 0, max: 1, noNaN: true }), "completions/mean_length": fc.nat(200), "completions/clipped_ratio": fc.constantFrom(0, 1), frac_reward_zero_std: fc.constantFrom(0, 1) });
    fc.assert(
      fc.property(fc.array(metrics, { maxLength: 12 }), fc.nat(12), (steps, at) => {
        const straight = follow(steps);
        const first = follow(steps.slice(0, at));
        const second = follow(steps.slice(at), JSON.parse(JSON.stringify(first.state)) as AlarmState);
        expect([...first.raised, ...second.raised]).toEqual(straight.raised);
      }),
    );
  });
});

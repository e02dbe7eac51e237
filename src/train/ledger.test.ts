import fc from "fast-check";
import { expect, test } from "vitest";
import { addWork, closeSession, defaultAssumptions, generationFlops, newLedger, publishedCosts, startSession, trainingFlops } from "./ledger.ts";
import type { Hardware, Spent } from "./ledger.ts";

const hardware: Hardware = { cpu: "some", cores: 2, memory_bytes: 1e9, platform: "linux-x64", runtime: "Node" };
const amount = fc.integer({ min: 0, max: 1_000_000 });
const spent: fc.Arbitrary<[string, Spent]> = fc.tuple(
  fc.constantFrom("pretrain", "grpo"),
  fc.record({ seconds: amount, cores: fc.integer({ min: 1, max: 64 }), tokens: amount, flops: amount }),
);

test("the total is the sum of the stages, in any order, and is paid at the stated prices", () => {
  fc.assert(
    fc.property(fc.array(spent), (entries) => {
      const add = (list: typeof entries) => list.reduce((ledger, [stage, work]) => addWork(ledger, stage, work), newLedger(hardware));
      const { stages, total } = add(entries);
      for (const field of ["seconds", "core_hours", "tokens", "flops"] as const) {
        const sum = Object.values(stages).reduce((all, stage) => all + stage[field], 0);
        expect(total[field]).toBeCloseTo(sum, 6);
        expect(add(entries.toReversed()).total[field]).toBeCloseTo(total[field], 6);
      }
      const { watts_per_core, usd_per_kwh, usd_per_core_hour } = defaultAssumptions;
      expect(total.energy_kwh * 1000).toBeCloseTo(total.core_hours * watts_per_core, 6);
      expect(total.energy_usd).toBeCloseTo(total.energy_kwh * usd_per_kwh, 9);
      expect(total.rental_usd).toBeCloseTo(total.core_hours * usd_per_core_hour, 9);
    }),
  );
});

test("an hour on two cores is two core-hours", () => {
  const { stages } = addWork(newLedger(hardware), "grpo", { seconds: 3600, cores: 2, tokens: 0, flops: 0 });
  expect(stages.grpo?.core_hours).toBe(2);
});

test("sessions follow one another, and only the last one's end moves", () => {
  const first = closeSession(startSession(newLedger(hardware), 10, null), 20, true);
  const second = closeSession(startSession(first, 30, "grpo-step-5"), 40, false);
  expect(second.sessions).toEqual([{ started: 10, ended: 20, resumed_from: null }, { started: 30, ended: 40, resumed_from: "grpo-step-5" }]);
  expect([first.finished, second.finished]).toEqual([true, false]);
});

test("a training token costs three forward passes", () => {
  fc.assert(
    fc.property(amount, amount, (n, d) => {
      expect(trainingFlops(n, d)).toBe(3 * generationFlops(n, d));
    }),
  );
});

test("DeepSeek's rows are at 2 USD an hour and add up to its totals", () => {
  for (const { h800_hours, usd } of publishedCosts) expect(usd).toBe(2 * h800_hours);
  const hours = (name: RegExp): number => publishedCosts.filter((row) => name.test(row.source)).reduce((sum, row) => sum + row.h800_hours, 0);
  expect(hours(/V3/)).toBe(2_788_000);
  expect(hours(/R1/)).toBe(147_000);
});

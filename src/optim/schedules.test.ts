import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { readFixture } from "../../test/fixtures.ts";
import { constant, cosine, linear, warmupStableDecay } from "./schedules.ts";
import type { RampShape, Schedule } from "./schedules.ts";

interface ScheduleCase {
  readonly name: string;
  readonly num_warmup_steps: number;
  readonly num_training_steps: number;
  readonly kwargs: {
    readonly num_cycles?: number;
    readonly min_lr?: number;
    readonly min_lr_rate?: number;
    readonly num_stable_steps?: number;
    readonly num_decay_steps?: number;
    readonly warmup_type?: RampShape;
    readonly decay_type?: RampShape;
    readonly min_lr_ratio?: number;
  };
  readonly base_lr: number;
  readonly lr: number[];
}

function scheduleOf({ name, num_warmup_steps, num_training_steps, kwargs, base_lr: learning_rate }: ScheduleCase): Schedule {
  const common = { learning_rate, num_warmup_steps, num_training_steps };
  if (name === "constant" || name === "constant_with_warmup") return constant(common);
  if (name === "linear") return linear(common);
  if (name === "cosine" || name === "cosine_with_min_lr") {
    return cosine({ ...common, min_lr_rate: (kwargs.min_lr ?? 0) / learning_rate, ...kwargs });
  }
  if (name !== "warmup_stable_decay") throw new Error(`no schedule for ${name}`);
  const num_decay_steps = kwargs.num_decay_steps as number;
  return warmupStableDecay({ ...common, num_stable_steps: num_training_steps - num_warmup_steps - num_decay_steps, ...kwargs, num_decay_steps });
}

const { cases } = readFixture<{ cases: ScheduleCase[] }>("numeric", "lr_schedules.json");

describe("schedules against transformers", () => {
  test.each(cases.map((one) => [`${one.name} ${JSON.stringify(one.kwargs)}`, one] as const))("%s", (_, one) => {
    const schedule = scheduleOf(one);
    one.lr.forEach((want, step) => expect(Math.abs(schedule(step) - want)).toBeLessThanOrEqual(1e-12));
  });
});

describe("laws", () => {
  const shape = fc.constantFrom<RampShape>("linear", "cosine", "1-sqrt");

  test("warm-up rises to the peak, the plateau stays, decay falls to the floor", () => {
    fc.assert(
      fc.property(shape, shape, fc.integer({ min: 1, max: 20 }), fc.nat(20), fc.integer({ min: 1, max: 20 }), fc.double({ min: 0, max: 1, noNaN: true }), (warmup_type, decay_type, warmup, stable, decay, min_lr_ratio) => {
        const rate = warmupStableDecay({ learning_rate: 1, num_warmup_steps: warmup, num_stable_steps: stable, num_decay_steps: decay, warmup_type, decay_type, min_lr_ratio });
        const end = warmup + stable + decay;
        for (let step = 1; step <= warmup; step++) expect(rate(step)).toBeGreaterThanOrEqual(rate(step - 1) - 1e-12);
        for (let step = warmup; step <= warmup + stable; step++) expect(rate(step)).toBeCloseTo(1, 12);
        for (let step = warmup + stable + 1; step <= end; step++) expect(rate(step)).toBeLessThanOrEqual(rate(step - 1) + 1e-12);
        expect(rate(0)).toBeCloseTo(min_lr_ratio, 12);
        expect(rate(end)).toBeCloseTo(min_lr_ratio, 12);
      }),
    );
  });

  test("every schedule is proportional to its peak", () => {
    const both = { num_warmup_steps: 3, num_training_steps: 12 };
    for (let step = 0; step < 15; step++) {
      expect(linear({ ...both, learning_rate: 2 })(step)).toBeCloseTo(2 * linear({ ...both, learning_rate: 1 })(step), 12);
      expect(cosine({ ...both, learning_rate: 2 })(step)).toBeCloseTo(2 * cosine({ ...both, learning_rate: 1 })(step), 12);
    }
  });
});

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { gradients, interpret, ndArray, trace, type NdArray, type Symbolic, type TensorType } from "../tensor/index.ts";
import { distillLoss, policyLoss, policyLossDefaults, sftLoss, type Divergence, type KlEstimator, type LossType, type PolicyLossOptions } from "./objectives.ts";

const lossTypes: readonly LossType[] = ["grpo", "bnpo", "dr_grpo", "dapo", "cispo"];
const levels = ["token", "sequence"] as const;

/** [time][batch] each; `old` absent means on-policy. */
interface Batch {
  readonly logps: number[][];
  readonly old?: number[][];
  readonly ref?: number[][];
  readonly entropies?: number[][];
  readonly mask: number[][];
  readonly advantages: number[];
  readonly items?: number;
  readonly completions?: number;
}

const array = (rows: number[][]): NdArray => ndArray([rows.length, rows[0]!.length], rows.flat());

function run(batch: Batch, options: Partial<PolicyLossOptions>): { loss: number; grad: number[]; metrics: Record<string, number> } {
  const inputs = {
    per_token_logps: array(batch.logps),
    mask: array(batch.mask),
    advantages: ndArray([1, batch.advantages.length], batch.advantages),
    ...(batch.old && { old_per_token_logps: array(batch.old) }),
    ...(batch.ref && { ref_per_token_logps: array(batch.ref) }),
    ...(batch.entropies && { entropies: array(batch.entropies) }),
    ...(batch.items !== undefined && { num_items_in_batch: ndArray([], [batch.items]) }),
    ...(batch.completions !== undefined && { num_completions_in_batch: ndArray([], [batch.completions]) }),
  };
  const graph = trace(
    (values: Symbolic<Record<keyof typeof inputs, TensorType>>) => {
      const { loss, metrics } = policyLoss(values, { ...policyLossDefaults, max_completion_length: 7, ...options });
      return { loss, grad: gradients(loss, [values.per_token_logps])[0]!, metrics };
    },
    inputs as Record<keyof typeof inputs, TensorType>,
  );
  const { loss, grad, ...metrics } = interpret(graph, inputs);
  return { loss: loss!.data[0]!, grad: Array.from(grad!.data), metrics: Object.fromEntries(Object.entries(metrics).map(([name, x]) => [name.replace("metrics/", ""), x.data[0]!])) };
}

const close = (got: readonly number[], want: readonly number[]): void => {
  expect(got.length).toBe(want.length);
  // Constants of the graph are float32, its arithmetic is double.
  for (const [i, x] of got.entries()) expect(Math.abs(x - want[i]!), `[${i}]: got ${x}, want ${want[i]}`).toBeLessThan(1e-6 * (1 + Math.abs(want[i]!)));
};

/** Batches whose completions have the given lengths or any from 0 to `time`. */
const batches = (lengths?: number): fc.Arbitrary<Batch & { old: number[][]; ref: number[][]; entropies: number[][] }> =>
  fc.tuple(fc.integer({ min: 1, max: 4 }), fc.integer({ min: 2, max: 5 })).chain(([batch, time]) => {
    const grid = (min: number, max: number) => fc.array(fc.array(fc.double({ min, max, noNaN: true }), { minLength: batch, maxLength: batch }), { minLength: time, maxLength: time });
    return fc.record({
      logps: grid(-4, 0),
      old: grid(-4, 0),
      ref: grid(-4, 0),
      entropies: grid(0, 3),
      advantages: fc.array(fc.double({ min: -2, max: 2, noNaN: true }), { minLength: batch, maxLength: batch }),
      mask: fc
        .array(lengths === undefined ? fc.integer({ min: 0, max: time }) : fc.constant(Math.min(lengths, time)), { minLength: batch, maxLength: batch })
        .map((ends) => Array.from({ length: time }, (_, t) => ends.map((end) => Number(t < end)))),
    });
  });

const total = (rows: number[][]): number => rows.flat().reduce((a, b) => a + b, 0);

/** Weight of each place in the loss, by the definitions. */
function weights(type: LossType, { mask }: Batch, maxLength: number): number[] {
  const batch = mask[0]!.length;
  const lengths = mask[0]!.map((_, b) => mask.reduce((n, row) => n + row[b]!, 0));
  const of: Record<LossType, (b: number) => number> = {
    grpo: (b) => 1 / batch / Math.max(lengths[b]!, 1),
    bnpo: () => 1 / Math.max(total(mask), 1),
    dr_grpo: () => 1 / batch / maxLength,
    dapo: () => 1 / Math.max(total(mask), 1),
    cispo: () => 1 / Math.max(total(mask), 1),
  };
  return mask.flatMap((row) => row.map((m, b) => m * of[type](b)));
}

describe.each(lossTypes)("%s", (loss_type) => {
  test.each(levels)("a group without variance has no gradient (%s)", (importance_sampling_level) => {
    fc.assert(fc.property(batches(), (batch) => close(run({ ...batch, advantages: batch.advantages.map(() => 0) }, { loss_type, importance_sampling_level }).grad, batch.mask.flat().map(() => 0))), { numRuns: 20 });
  });

  test.each(levels)("on-policy, the gradient is REINFORCE's: −A on each token, by its weight (%s)", (importance_sampling_level) => {
    fc.assert(
      fc.property(batches(), ({ logps, mask, advantages }) => {
        const batch = { logps, mask, advantages };
        const want = weights(loss_type, batch, 7).map((w, i) => -advantages[i % advantages.length]! * w);
        const options = { loss_type, importance_sampling_level, epsilon_high: 1.5 };
        const absent = run(batch, options);
        close(absent.grad, want);
        close(run({ ...batch, old: logps }, options).grad, want);
        if (total(mask) > 0) close(["min", "mean", "max"].map((k) => absent.metrics[`sampling/importance_sampling_ratio/${k}`]!), [1, 1, 1]);
      }),
      { numRuns: 30 },
    );
  });

  test("masked places may hold anything finite", () => {
    fc.assert(
      fc.property(batches(), fc.double({ min: -87, max: 60, noNaN: true }), (batch, garbage) => {
        const spoil = (rows: number[][], value: number): number[][] => rows.map((row, t) => row.map((x, b) => (batch.mask[t]![b] ? x : value)));
        const options = { loss_type, beta: 0.1, top_entropy_quantile: 0.6 };
        const [clean, spoiled] = [run(batch, options), run({ ...batch, logps: spoil(batch.logps, garbage), old: spoil(batch.old, -garbage), ref: spoil(batch.ref, 40), entropies: spoil(batch.entropies, 99) }, options)];
        close([spoiled.loss, ...spoiled.grad, ...Object.values(spoiled.metrics)], [clean.loss, ...clean.grad, ...Object.values(clean.metrics)]);
      }),
      { numRuns: 30 },
    );
  });

  test.each(levels)("places that hold no completion change nothing (%s)", (importance_sampling_level) => {
    fc.assert(
      fc.property(batches(), fc.integer({ min: 1, max: 5 }), (batch, empty) => {
        const pad = (rows: number[][]): number[][] => rows.map((row) => [...row, ...Array.from({ length: empty }, () => 0)]);
        const { advantages, mask } = batch;
        const options = { loss_type, importance_sampling_level, beta: 0.1, top_entropy_quantile: 0.6 };
        const padded = { logps: pad(batch.logps), old: pad(batch.old), ref: pad(batch.ref), entropies: pad(batch.entropies), mask: pad(mask), advantages: pad([advantages])[0]!, completions: advantages.length };
        const [want, got] = [run(batch, options), run(padded, options)];
        close([got.loss, ...got.grad], [want.loss, ...pad(mask.map((row, t) => row.map((_, b) => want.grad[t * row.length + b]!))).flat()]);
      }),
      { numRuns: 20 },
    );
  });

  test("micro-batches add up to the batch", () => {
    fc.assert(
      fc.property(batches(3), (batch) => {
        const column = (b: number): Batch => {
          const cut = (rows: number[][]): number[][] => rows.map((row) => [row[b]!]);
          return { logps: cut(batch.logps), old: cut(batch.old), mask: cut(batch.mask), advantages: [batch.advantages[b]!], items: total(batch.mask) };
        };
        const n = batch.advantages.length;
        const parts = Array.from({ length: n }, (_, b) => run(column(b), { loss_type, gradient_accumulation_steps: n }).loss);
        close([parts.reduce((a, b) => a + b)], [run(batch, { loss_type }).loss]);
      }),
      { numRuns: 20 },
    );
  });

  test("only the tokens of highest entropy are trained", () => {
    fc.assert(
      fc.property(batches(), fc.double({ min: 0.05, max: 1, noNaN: true }), ({ logps, mask, advantages, entropies }, share) => {
        const batch = { logps, mask, advantages, entropies };
        const all = run(batch, { loss_type, epsilon_high: 1.5 }).grad;
        const some = run(batch, { loss_type, epsilon_high: 1.5, top_entropy_quantile: share }).grad;
        const real = entropies.flat().filter((_, i) => mask.flat()[i]);
        const place = share * (real.length - 1);
        fc.pre(Math.abs(place - Math.round(place)) > 1e-4 || share === 1);
        const threshold = real.sort((a, b) => b - a)[Math.floor(place + 1e-9)] ?? 0;
        close(some, all.map((g, i) => (entropies.flat()[i]! >= threshold ? g : 0)));
      }),
      { numRuns: 40 },
    );
  });
});

test("with equal lengths grpo, bnpo and dapo are one loss", () => {
  fc.assert(
    fc.property(batches(2), (batch) => {
      const [grpo, ...others] = (["grpo", "bnpo", "dapo"] as const).map((loss_type) => run(batch, { loss_type, beta: 0.05 }));
      for (const other of others) close([other.loss, ...other.grad], [grpo!.loss, ...grpo!.grad]);
    }),
    { numRuns: 20 },
  );
});

test("cispo bounds the weight of a token and never its gradient's direction; the clipped losses drop it", () => {
  // Ratios e^1 and e^−1 with advantages that push them further out.
  const batch: Batch = { logps: [[-1, -2]], old: [[-2, -1]], mask: [[1, 1]], advantages: [1, -1] };
  close(run(batch, { loss_type: "cispo", epsilon_high: 2 }).grad, [-2 / 2, Math.exp(-1) / 2]);
  close(run(batch, { loss_type: "dapo" }).grad, [0, 0]);
  // Pulled back in, a clipped loss lets the gradient through, unless the dual clip bounds it.
  const back = { ...batch, advantages: [-1, 1] };
  close(run(back, { loss_type: "dapo" }).grad, [Math.exp(1) / 2, -Math.exp(-1) / 2]);
  const dual = run(back, { loss_type: "dapo", delta: 1.5 });
  close([dual.loss, ...dual.grad], [(1.5 - Math.exp(-1)) / 2, 0, -Math.exp(-1) / 2]);
});

describe("KL", () => {
  const policy = [0.5, 0.3, 0.15, 0.05];
  const reference = [0.25, 0.25, 0.4, 0.1];
  const sampler = [0.1, 0.2, 0.3, 0.4];
  const exact = policy.reduce((sum, p, i) => sum + p * Math.log(p / reference[i]!), 0);
  const logs = (p: readonly number[]): number[][] => [p.map(Math.log)];
  const expectation = (p: readonly number[], x: readonly number[]): number => p.reduce((sum, pi, i) => sum + pi * x[i]!, 0);
  /** One column for each symbol: values and derivatives with respect to its log-probability. */
  const each = (kl_estimator: KlEstimator, old?: readonly number[]): { values: number[]; slopes: number[] } => {
    const options = { kl_estimator, beta: 1, loss_type: "bnpo" as const };
    const one = (i: number) => run({ logps: [[Math.log(policy[i]!)]], ref: [[Math.log(reference[i]!)]], ...(old && { old: [[Math.log(old[i]!)]] }), mask: [[1]], advantages: [0] }, options);
    const results = policy.map((_, i) => one(i));
    return { values: results.map((r) => r.loss), slopes: results.map((r) => r.grad[0]!) };
  };

  test.each(["k1", "k3"] as const)("%s is unbiased, on-policy and, weighed by the ratio, off-policy", (estimator) => {
    close([expectation(policy, each(estimator).values)], [exact]);
    close([expectation(sampler, each(estimator, sampler).values)], [exact]);
  });

  test("k2 and k3 are never negative, and all are 0 where the policies agree", () => {
    fc.assert(
      fc.property(batches(), (batch) => {
        for (const kl_estimator of ["k1", "k2", "k3"] as const) {
          const options = { kl_estimator, beta: 1, use_bias_correction_kl: false };
          const { kl } = run(batch, options).metrics;
          if (kl_estimator !== "k1") expect(kl).toBeGreaterThanOrEqual(-1e-12); // e^d − 1 − d cancels to rounding near 0
          close([run({ ...batch, ref: batch.logps }, options).metrics.kl!], [0]);
        }
      }),
      { numRuns: 20 },
    );
    for (const d of [-1, -0.5, 0.1, 1]) {
      const at = (kl_estimator: KlEstimator): number => run({ logps: [[-2]], ref: [[d - 2]], mask: [[1]], advantages: [0] }, { kl_estimator, beta: 1 }).metrics.kl!;
      close([at("k1"), at("k2"), at("k3")], [-d, d ** 2 / 2, Math.exp(d) - 1 - d]);
    }
  });

  test("weighed by the ratio, the gradient of k3 is that of the KL divergence itself", () => {
    const { slopes } = each("k3", sampler);
    // Through the logits z of the policy: ∂ log π(i) / ∂ z(j) = [i = j] − π(j), and ∂ KL / ∂ z(j) = π(j) (log π(j) / ref(j) − KL).
    const total = expectation(sampler, slopes);
    close(policy.map((p, j) => sampler[j]! * slopes[j]! - p * total), policy.map((p, j) => p * (Math.log(p / reference[j]!) - exact)));
  });

  test("is reported as the mean over tokens", () => {
    close([run({ logps: logs(policy), ref: logs(reference), mask: [[1, 0, 1, 0]], advantages: [0, 0, 0, 0] }, { beta: 1, kl_estimator: "k1" }).metrics.kl!], [(Math.log(policy[0]! / reference[0]!) + Math.log(policy[2]! / reference[2]!)) / 2]);
  });
});

test("options that lack their input are refused", () => {
  const batch: Batch = { logps: [[-1]], mask: [[1]], advantages: [1] };
  expect(() => run(batch, { beta: 0.1 })).toThrow(/ref_per_token_logps/);
  expect(() => run(batch, { top_entropy_quantile: 0.5 })).toThrow(/entropies/);
  expect(() => run({ ...batch, mask: [[1], [1]] }, {})).toThrow(/shape/);
});

describe("SFT", () => {
  /** Rows of a head that is the identity, so that `hidden` is the logits. */
  const sft = (logits: number[][], labels: number[], items?: number): { loss: number; grad: number[]; accuracy: number } => {
    const [rows, width] = [logits.length, logits[0]!.length];
    const inputs = {
      hidden: array(logits),
      table: ndArray([width, width], (i) => Number(i % (width + 1) === 0)),
      labels: ndArray([rows], labels, "int64"),
      ...(items !== undefined && { num_items_in_batch: ndArray([], [items]) }),
    };
    const graph = trace(
      (values: Symbolic<Record<keyof typeof inputs, TensorType>>) => {
        const { loss, metrics } = sftLoss(values);
        return { loss, accuracy: metrics.mean_token_accuracy!, grad: gradients(loss, [values.hidden])[0]! };
      },
      inputs as Record<keyof typeof inputs, TensorType>,
    );
    const got = interpret(graph, inputs);
    return { loss: got.loss!.data[0]!, grad: Array.from(got.grad!.data), accuracy: got.accuracy!.data[0]! };
  };
  const samples = fc.integer({ min: 1, max: 6 }).chain((rows) =>
    fc.record({
      // Far enough apart that the best of a row is beyond doubt.
      logits: fc.array(fc.uniqueArray(fc.integer({ min: -12, max: 12 }).map((x) => x / 4), { minLength: 4, maxLength: 4 }), { minLength: rows, maxLength: rows }),
      labels: fc.array(fc.constantFrom(-100, 0, 1, 2, 3), { minLength: rows, maxLength: rows }),
    }),
  );

  test("is the mean cross-entropy of the labelled rows, and the share that the model gets right", () => {
    fc.assert(
      fc.property(samples, ({ logits, labels }) => {
        const { loss, grad, accuracy } = sft(logits, labels);
        const count = Math.max(1, labels.filter((l) => l >= 0).length);
        const probabilities = logits.map((row) => row.map((x) => Math.exp(x) / row.reduce((sum, y) => sum + Math.exp(y), 0)));
        const over = (f: (row: number, label: number) => number): number => labels.reduce<number>((sum, label, i) => sum + (label < 0 ? 0 : f(i, label)), 0) / count;
        close([loss, accuracy], [over((i, label) => -Math.log(probabilities[i]![label]!)), over((i, label) => Number(logits[i]!.indexOf(Math.max(...logits[i]!)) === label))]);
        close(grad, labels.flatMap((label, i) => probabilities[i]!.map((p, j) => (label < 0 ? 0 : (p - Number(j === label)) / count))));
      }),
      { numRuns: 30 },
    );
  });

  test("micro-batches add up to the batch", () => {
    fc.assert(
      fc.property(samples, ({ logits, labels }) => {
        const count = labels.filter((l) => l >= 0).length;
        const parts = logits.map((row, i) => sft([row], [labels[i]!], count).loss);
        close([parts.reduce((a, b) => a + b)], [sft(logits, labels).loss]);
      }),
      { numRuns: 20 },
    );
  });
});

const divergences: readonly Divergence[] = [{ kind: "forward_kl" }, { kind: "reverse_kl" }, { kind: "jsd", beta: 0.3 }];
test.each(divergences.map((d) => [d.kind, d] as const))("%s is never negative, and 0 without a gradient where student and teacher agree up to a constant", (_, divergence) => {
  const run = (teacher: number[][], student: number[][], temperature: number): { loss: number; grad: number[] } => {
    const inputs = { teacher_logits: array(teacher), student_logits: array(student), mask: ndArray([teacher.length, 1], () => 1) };
    const graph = trace(
      (values: Symbolic<Record<keyof typeof inputs, TensorType>>) => {
        const { loss } = distillLoss(values, divergence, temperature);
        return { loss, grad: gradients(loss, [values.student_logits])[0]! };
      },
      inputs as Record<keyof typeof inputs, TensorType>,
    );
    const got = interpret(graph, inputs);
    return { loss: got.loss!.data[0]!, grad: Array.from(got.grad!.data) };
  };
  const logits = fc.array(fc.array(fc.double({ min: -4, max: 4, noNaN: true }), { minLength: 3, maxLength: 3 }), { minLength: 2, maxLength: 2 });
  fc.assert(
    fc.property(logits, logits, fc.double({ min: 0.5, max: 4, noNaN: true }), fc.double({ min: -2, max: 2, noNaN: true }), (teacher, student, temperature, shift) => {
      expect(run(teacher, student, temperature).loss).toBeGreaterThan(-1e-9);
      const same = run(teacher, teacher.map((row) => row.map((x) => x + shift)), temperature);
      close([same.loss, ...same.grad], [0, ...same.grad.map(() => 0)]);
    }),
    { numRuns: 30 },
  );
});

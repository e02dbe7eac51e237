import { describe, expect, test } from "vitest";
import { gradients, interpret, ndArray, simplify, trace, verify, type NdArray, type Symbolic, type TensorType } from "../src/tensor/index.ts";
import { policyLoss, policyLossDefaults, type PolicyLossOptions } from "../src/train/objectives.ts";
import { readFixture } from "./fixtures.ts";
import { providersHere, runGraph } from "./providers.ts";

interface LossCase {
  readonly config: Partial<PolicyLossOptions>;
  readonly note: string | null;
  readonly completion_mask: number[][];
  readonly old_per_token_logps_null: boolean;
  readonly num_items_in_batch: number;
  readonly max_completion_length: number;
  readonly gradient_accumulation_steps: number;
  readonly loss: number;
  readonly grad_per_token_logps: number[][];
  readonly metrics: Readonly<Record<string, number | null>>;
}

interface LossFixture {
  readonly per_token_logps: number[][];
  readonly old_per_token_logps: number[][];
  readonly ref_per_token_logps: number[][];
  readonly advantages: number[];
  readonly entropies: number[][];
  readonly cases: readonly LossCase[];
}

// The bar of the fixtures' README for GRPO losses and gradients.
const tolerance = 2e-6;

/** [batch][time] as an array [time, batch]. */
const byTime = (rows: readonly (readonly number[])[]): NdArray => ndArray([rows[0]!.length, rows.length], rows[0]!.flatMap((_, t) => rows.map((row) => row[t]!)));

const fixture = readFixture<LossFixture>("grpo", "loss.json");

describe.each(fixture.cases.map((c, i) => [`${i}: ${c.note ?? ""} ${JSON.stringify(c.config)}`, c] as const))("loss %s", (_, c) => {
  const inputs = {
    per_token_logps: byTime(fixture.per_token_logps),
    ...(!c.old_per_token_logps_null && { old_per_token_logps: byTime(fixture.old_per_token_logps) }),
    ref_per_token_logps: byTime(fixture.ref_per_token_logps),
    entropies: byTime(fixture.entropies),
    mask: byTime(c.completion_mask),
    advantages: ndArray([fixture.advantages.length], fixture.advantages),
    num_items_in_batch: ndArray([], [c.num_items_in_batch]),
  };
  const options: PolicyLossOptions = { ...policyLossDefaults, ...c.config, max_completion_length: c.max_completion_length, gradient_accumulation_steps: c.gradient_accumulation_steps };
  const step = (values: Symbolic<Record<keyof typeof inputs, TensorType>>) => {
    const { loss, metrics } = policyLoss(values, options);
    return { loss, grad: gradients(loss, [values.per_token_logps])[0]!, metrics };
  };
  const graph = trace(step, inputs as Record<keyof typeof inputs, TensorType>);

  const agree = (got: Record<string, NdArray>): void => {
    const within = (name: string, want: ArrayLike<number>): void => {
      const { data } = got[name]!;
      expect(data.length, name).toBe(want.length);
      for (const [i, value] of data.entries()) expect(Math.abs(value - want[i]!), `${name}[${i}]: got ${value}, want ${want[i]}`).toBeLessThanOrEqual(tolerance);
    };
    within("loss", [c.loss]);
    within("grad", byTime(c.grad_per_token_logps).data);
    for (const [name, want] of Object.entries(c.metrics)) if (want !== null) within(`metrics/${name}`, [want]);
  };

  test("reference", () => {
    verify(graph);
    agree(interpret(graph, inputs));
  });
  test.each(providersHere)("%s", async (provider) => agree(await runGraph(simplify(graph), inputs, provider)));
});

import { describe, expect, test } from "vitest";
import { headWeight, hiddenStates, parameterSpecs, rotaryTables, trainingContext, type ModelConfig, type Parameters } from "../src/model/index.ts";
import { entropy, tokenLogprobs } from "../src/nn/losses.ts";
import { gradientsOf, interpret, mul, ndArray, reshape, simplify, slice, trace, verify, type NdArray, type Symbolic, type TensorType, type Value } from "../src/tensor/index.ts";
import { policyLoss, policyLossDefaults, sftLoss, type PolicyLossOptions } from "../src/train/objectives.ts";
import { openCheckpoint } from "../src/weights/index.ts";
import { fixture, hasFixture, readFixture } from "./fixtures.ts";
import { providersHere, runGraph } from "./providers.ts";

interface Expected {
  readonly loss: number;
  /** null = NaN in the reference. */
  readonly metrics: Readonly<Record<string, number | null>>;
  readonly grads: Readonly<Record<string, { readonly l2: number; readonly first8: number[] }>>;
}

interface GrpoCase extends Expected {
  readonly config: Partial<PolicyLossOptions> & { readonly temperature: number };
  readonly max_completion_length: number;
  readonly prompt_ids: number[][];
  readonly prompt_mask: number[][];
  readonly completion_ids: number[][];
  readonly completion_mask: number[][];
  readonly advantages: number[];
  readonly old_per_token_logps: number[][];
  readonly ref_per_token_logps: number[][];
  readonly per_token_logps: number[][];
  readonly entropies: number[][];
}

interface SftCase extends Expected {
  readonly name: string;
  readonly batch: { readonly input_ids: number[][]; readonly labels: number[][]; readonly attention_mask: number[][] };
  readonly num_items_in_batch: number | null;
}

// The bars of the fixtures' README. The reference interpreter is slow: it runs the first case of each file.
const bar = { loss: 1e-5, gradL2: 1e-5, gradL2Absolute: 1e-7, first8: 2e-5, logprobs: 5e-5 };

type Types = Readonly<Record<string, TensorType>>;
interface Model {
  readonly config: ModelConfig;
  readonly parameters: Readonly<Record<string, NdArray>>;
}

async function openModel(folder: string): Promise<Model> {
  const checkpoint = await openCheckpoint(fixture("grpo", folder));
  const parameters: Record<string, NdArray> = {};
  for (const { name, shape } of parameterSpecs(checkpoint.config)) parameters[name] = ndArray(shape, (await checkpoint.read(name, shape)).data);
  await checkpoint.close();
  return { config: checkpoint.config, parameters };
}

/** [batch][time] as an array [time, batch]. */
const byTime = (rows: readonly (readonly number[])[], dtype: "float32" | "int64" = "float32"): NdArray => ndArray([rows[0]!.length, rows.length], rows[0]!.flatMap((_, t) => rows.map((row) => row[t]!)), dtype);
const bySequence = (rows: readonly (readonly number[])[]): NdArray => ndArray([rows.length, rows[0]!.length], rows.flat());

type Traced = Readonly<Record<string, Value>>;

/** Loss, metrics and gradients of the parameters, with whatever else `objective` reports, from everything that can run them. */
async function evaluate(model: Model, data: Readonly<Record<string, NdArray>>, interpreted: boolean, objective: (parameters: Parameters, data: Traced) => { loss: Value; metrics: Traced; also?: Traced }): Promise<Record<string, NdArray>[]> {
  const types = { parameters: model.parameters, data };
  const graph = trace((v: Symbolic<{ parameters: Types; data: Types }>) => {
    const { loss, metrics, also = {} } = objective(v.parameters, v.data);
    return { loss, metrics, also, grads: gradientsOf(loss, v.parameters) };
  }, types as { parameters: Types; data: Types });
  verify(graph);
  const inputs = Object.fromEntries([...Object.entries(model.parameters).map(([k, x]) => [`parameters/${k}`, x]), ...Object.entries(data).map(([k, x]) => [`data/${k}`, x])]) as Record<string, NdArray>;
  const runs = providersHere.map((provider) => runGraph(simplify(graph), inputs, provider));
  return [...(interpreted ? [interpret(graph, inputs)] : []), ...(await Promise.all(runs))];
}

function within(got: ArrayLike<number>, want: ArrayLike<number>, tolerance: number, what: string): void {
  expect(got.length, what).toBe(want.length);
  for (let i = 0; i < want.length; i++) expect(Math.abs(got[i]! - want[i]!), `${what}[${i}]: got ${got[i]}, want ${want[i]}`).toBeLessThanOrEqual(tolerance);
}

function expectStep(got: Record<string, NdArray>, want: Expected): void {
  within(got.loss!.data, [want.loss], bar.loss, "loss");
  for (const [name, value] of Object.entries(want.metrics)) if (value !== null) within(got[`metrics/${name}`]!.data, [value], bar.logprobs, name);
  expect(Object.keys(want.grads).length).toBeGreaterThan(0);
  for (const [name, { l2, first8 }] of Object.entries(want.grads)) {
    const { data } = got[`grads/${name}`]!;
    within([Math.hypot(...data)], [l2], bar.gradL2 * l2 + bar.gradL2Absolute, `l2 of ${name}`);
    within(data.subarray(0, first8.length), first8, bar.first8, `first values of ${name}`);
  }
}

if (hasFixture("grpo", "end_to_end.json")) {
  const { model: folder, cases } = readFixture<{ model: string; cases: GrpoCase[] }>("grpo", "end_to_end.json");

  describe.each(cases.map((c, i) => [`${i}: ${JSON.stringify(c.config)}`, c, i === 0] as const))("GRPO through a model %s", (_, c, interpreted) => {
    test("loss, gradients, log-probabilities and metrics", async () => {
      const model = await openModel(folder);
      const { temperature, ...config } = c.config;
      // The fixtures were made with the KL term as published, without the ratio.
      const options = { ...policyLossDefaults, use_bias_correction_kl: false, ...config, max_completion_length: c.max_completion_length };
      const batch = c.prompt_ids.length;
      const prompt = c.prompt_ids[0]!.length;
      const length = c.completion_ids[0]!.length;
      const time = prompt + length - 1; // The last token predicts nothing.
      const join = (a: number[][], b: number[][]): number[][] => a.map((row, i) => [...row, ...b[i]!].slice(0, -1));
      const data = {
        ids: byTime(join(c.prompt_ids, c.completion_ids), "int64"),
        attention_mask: bySequence(join(c.prompt_mask, c.completion_mask)),
        targets: byTime(c.completion_ids, "int64"),
        old_per_token_logps: byTime(c.old_per_token_logps),
        ref_per_token_logps: byTime(c.ref_per_token_logps),
        mask: byTime(c.completion_mask),
        advantages: ndArray([1, batch], c.advantages),
      };
      const objective = (parameters: Parameters, d: Traced) => {
        const context = trainingContext({ batch, time, attentionMask: d.attention_mask! }, rotaryTables(model.config, time));
        const { hidden } = hiddenStates(model.config, parameters, reshape(d.ids!, [time * batch]), context);
        const completions = mul(slice(hidden, 0, (prompt - 1) * batch, length * batch), 1 / temperature);
        const { logprobs, probabilities } = tokenLogprobs(completions, headWeight(model.config, parameters), reshape(d.targets!, [length * batch]));
        const per_token_logps = reshape(logprobs, [length, batch]);
        const entropies = reshape(entropy(probabilities), [length, batch]);
        const inputs = { per_token_logps, entropies, old_per_token_logps: d.old_per_token_logps!, ref_per_token_logps: d.ref_per_token_logps!, mask: d.mask!, advantages: d.advantages! };
        return { ...policyLoss(inputs, options), also: { per_token_logps: mul(per_token_logps, d.mask!), entropies: mul(entropies, d.mask!) } };
      };
      for (const got of await evaluate(model, data, interpreted, objective)) {
        within(got["also/per_token_logps"]!.data, byTime(c.per_token_logps).data, bar.logprobs, "per_token_logps");
        within(got["also/entropies"]!.data, byTime(c.entropies).data, bar.logprobs, "entropies");
        expectStep(got, c);
      }
    });
  });
}

if (hasFixture("sft", "loss.json")) {
  const { model: folder, cases } = readFixture<{ model: string; cases: SftCase[] }>("sft", "loss.json");

  describe.each(cases.map((c, i) => [c.name, c, i === 0] as const))("SFT %s", (_, c, interpreted) => {
    test("loss, gradients and metrics", async () => {
      const model = await openModel(folder);
      const batch = c.batch.input_ids.length;
      const time = c.batch.input_ids[0]!.length;
      const data = {
        ids: byTime(c.batch.input_ids, "int64"),
        attention_mask: bySequence(c.batch.attention_mask),
        labels: byTime(c.batch.labels.map((row) => [...row.slice(1), -100]), "int64"),
        ...(c.num_items_in_batch !== null && { num_items_in_batch: ndArray([], [c.num_items_in_batch]) }),
      };
      const objective = (parameters: Parameters, d: Traced) => {
        const context = trainingContext({ batch, time, attentionMask: d.attention_mask! }, rotaryTables(model.config, time));
        const { hidden } = hiddenStates(model.config, parameters, reshape(d.ids!, [time * batch]), context);
        return sftLoss({ hidden, table: headWeight(model.config, parameters), labels: reshape(d.labels!, [time * batch]), num_items_in_batch: d.num_items_in_batch });
      };
      for (const got of await evaluate(model, data, interpreted, objective)) expectStep(got, c);
    });
  });
}

import { readdirSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { Generator } from "../src/engine/generator.ts";
import { loadModel } from "../src/engine/load.ts";
import { ModelRunner } from "../src/engine/model-runner.ts";
import { expertLoad, loadBalancingLoss } from "../src/nn/moe.ts";
import { headWeight, hiddenStates, logits, rotaryTables, trainingContext, type ModelConfig } from "../src/model/index.ts";
import { entropy, logprobsFromLogits, tokenLogprobs } from "../src/nn/losses.ts";
import { softmax, mul, sumAll, type Value } from "../src/tensor/index.ts";
import { forwardBackward, greedy } from "../src/train/probe.ts";
import { allocate, compile, type Backend, type DeviceTensor } from "../src/runtime/index.ts";
import { fixture, fixturesDir, hasFixture, readFixture } from "./fixtures.ts";
import { backend } from "./providers.ts";

interface Expected {
  readonly input_ids: number[][];
  readonly logits: number[][][];
  readonly loss: number;
  readonly grads: Record<string, { shape: number[]; l2: number; first8: number[] }>;
  readonly greedy: { prompt_ids: number[]; new_ids: number[]; logprobs: number[] };
  readonly completion: { prompt_ids: number[]; completion_ids: number[]; logprobs: number[]; logprobs_temperature_0_7: number[]; entropy: number[] };
  readonly left_padded: { input_ids: number[][]; attention_mask: number[][]; position_ids: number[][]; logits_last: number[][] };
  readonly routing?: { indices: number[][]; weights: number[][]; expert_load: number[] }[] | Record<string, { indices: number[][]; weights: number[][]; expert_load: number[] }>;
  readonly router_aux_loss?: number;
}

// The bars are those of the fixtures' README: five to ten times the reference's own noise.
const bar = { logits: 1e-4, loss: 1e-5, gradL2: 1e-5, gradL2Absolute: 1e-7, first8: 2e-5, logprobs: 5e-5 };

function expectWithin(got: ArrayLike<number>, want: ArrayLike<number>, tolerance: number, what: string): void {
  expect(got.length, what).toBe(want.length);
  for (let i = 0; i < want.length; i++) expect(Math.abs(got[i]! - want[i]!) <= tolerance, `${what}[${i}]: got ${got[i]}, want ${want[i]}`).toBe(true);
}

const l2 = (x: Float32Array): number => Math.sqrt(x.reduce((s, v) => s + v * v, 0));

/** Compiles and runs a function of the parameters and of int64 or float32 arrays once; returns flat outputs. */
async function evaluate(on: Backend, parameters: Readonly<Record<string, DeviceTensor>>, data: Record<string, { shape: number[]; values: number[]; dtype: "int64" | "float32" }>, f: (p: Record<string, Value>, d: Record<string, Value>) => Record<string, Value>): Promise<Record<string, number[]>> {
  const types = { p: parameters, d: Object.fromEntries(Object.entries(data).map(([k, { shape, dtype }]) => [k, { shape, dtype }])) };
  const plain = { p: Object.fromEntries(Object.entries(parameters).map(([k, { shape, dtype }]) => [k, { shape, dtype }])), d: types.d };
  const program = await compile(on, (v) => f(v.p as Record<string, Value>, v.d as Record<string, Value>), plain, { threads: 2 });
  const ins = allocate(on, types.d);
  for (const [k, { values, dtype }] of Object.entries(data)) {
    if (dtype === "int64") (ins[k]!.data as BigInt64Array).set(values.map((v) => BigInt(v)));
    else (ins[k]!.data as Float32Array).set(values);
  }
  const outs = allocate(on, Object.fromEntries(program.graph.outputs.map(([name, v]) => [name, v])));
  const binding = program.bind({ p: parameters, d: ins }, outs);
  await binding.run();
  const read = Object.fromEntries(Object.entries(outs).map(([k, t]) => [k, Array.from(t.data as ArrayLike<number | bigint>, Number)]));
  binding.dispose();
  program.dispose();
  return read;
}

/** Column order of training rows: token t of every sequence, then t + 1. */
const timeMajor = <T>(rows: readonly (readonly T[])[]): T[] => rows[0]!.flatMap((_, t) => rows.map((row) => row[t]!));

const names = hasFixture("models") ? readdirSync(fixture("models"), { withFileTypes: true }).filter((e) => e.isDirectory()).map((e) => e.name) : [];

test("the golden set has models", () => expect(names.length, fixturesDir()).toBeGreaterThan(0));

describe.each(names)("%s", (name) => {
  const expected = readFixture<Expected>("models", name, "expected.json");
  const load = async (): Promise<{ on: Backend; config: ModelConfig; parameters: Readonly<Record<string, DeviceTensor>> }> => {
    const on = await backend("cpu");
    return { on, ...(await loadModel(on, fixture("models", name))) };
  };

  test("logits, loss and the gradient of every parameter", async () => {
    const { on, config, parameters } = await load();
    const report = await forwardBackward(on, config, parameters, expected.input_ids, { threads: 2 });
    expectWithin(report.logits, expected.logits.flat(2), bar.logits, "logits");
    expectWithin([report.loss], [expected.loss], bar.loss, "loss");
    expect(Object.keys(report.grads).sort()).toEqual(Object.keys(expected.grads).sort());
    for (const [parameter, want] of Object.entries(expected.grads)) {
      const got = report.grads[parameter]!;
      expectWithin([l2(got)], [want.l2], bar.gradL2 * want.l2 + bar.gradL2Absolute, `l2 of ${parameter}`);
      expectWithin(got.subarray(0, want.first8.length), want.first8, bar.first8, `first values of ${parameter}`);
    }
  });

  test("greedy continuation by prefill and decode", async () => {
    const { on, config, parameters } = await load();
    const got = await greedy(on, config, parameters, expected.greedy.prompt_ids, expected.greedy.new_ids.length);
    expect(got.new_ids).toEqual(expected.greedy.new_ids);
    expectWithin(got.logprobs, expected.greedy.logprobs, bar.logprobs, "logprobs");
  });

  test("log-probabilities and entropies of a completion", async () => {
    const { on, config, parameters } = await load();
    const { prompt_ids, completion_ids, logprobs, logprobs_temperature_0_7, entropy: entropies } = expected.completion;
    const ids = [...prompt_ids, ...completion_ids];
    const time = ids.length - 1;
    const out = await evaluate(on, parameters, { ids: { shape: [time], values: ids.slice(0, -1), dtype: "int64" }, targets: { shape: [time], values: ids.slice(1), dtype: "int64" } }, (p, d) => {
      const { hidden } = hiddenStates(config, p, d.ids!, trainingContext({ batch: 1, time }, rotaryTables(config, time)));
      const z = logits(config, p, hidden);
      const fused = tokenLogprobs(hidden, headWeight(config, p), d.targets!);
      return { fused: fused.logprobs, plain: logprobsFromLogits(z, d.targets!), cooled: logprobsFromLogits(mul(z, 1 / 0.7), d.targets!), entropy: entropy(softmax(z)) };
    });
    const tail = (x: number[]): number[] => x.slice(prompt_ids.length - 1);
    expectWithin(tail(out.fused!), logprobs, bar.logprobs, "tokenLogprobs");
    expectWithin(tail(out.plain!), logprobs, bar.logprobs, "logprobsFromLogits");
    expectWithin(tail(out.cooled!), logprobs_temperature_0_7, bar.logprobs, "temperature 0.7");
    expectWithin(tail(out.entropy!), entropies, bar.logprobs, "entropy");
  });

  test("left padding", async () => {
    const { on, config, parameters } = await load();
    const { input_ids, attention_mask, position_ids, logits_last } = expected.left_padded;
    const batch = input_ids.length;
    const time = input_ids[0]!.length;
    const out = await evaluate(
      on,
      parameters,
      {
        ids: { shape: [batch * time], values: timeMajor(input_ids), dtype: "int64" },
        positions: { shape: [time, batch], values: timeMajor(position_ids), dtype: "int64" },
        mask: { shape: [batch, time], values: attention_mask.flat(), dtype: "float32" },
      },
      (p, d) => {
        const context = trainingContext({ batch, time, positions: d.positions!, attentionMask: d.mask! }, rotaryTables(config, time));
        return { logits: logits(config, p, hiddenStates(config, p, d.ids!, context).hidden) };
      },
    );
    expectWithin(out.logits!.slice((time - 1) * batch * config.vocab_size), logits_last.flat(), bar.logits, "logits");
  });

  test("prompts of different lengths in one batch = each alone", async () => {
    const { on, config, parameters } = await load();
    const sequences = [expected.greedy.prompt_ids, expected.completion.prompt_ids, expected.input_ids[0]!, expected.input_ids[1]!.slice(0, 3), expected.greedy.prompt_ids];
    const runner = new ModelRunner(on, config, { max_num_seqs: 4, max_model_len: 40 });
    const requests = sequences.map((prompt_ids, i) => ({ prompt_ids, sampling: { temperature: i % 2, seed: i, max_tokens: 6 + i } }));
    const together = await new Generator(runner, parameters).generate(requests);
    for (const [i, request] of requests.entries()) {
      const [alone] = await new Generator(runner, parameters).generate([request]);
      expect(together[i]!.token_ids).toEqual(alone!.token_ids);
      expectWithin(together[i]!.logprobs, alone!.logprobs, bar.logprobs, `logprobs of ${i}`);
    }
    await runner.dispose();
  });

  test.runIf(expected.routing)("routing", async () => {
    const { on, config, parameters } = await load();
    const [batch, time] = [expected.input_ids.length, expected.input_ids[0]!.length];
    const wanted = Object.values(expected.routing!);
    const out = await evaluate(on, parameters, { ids: { shape: [batch * time], values: timeMajor(expected.input_ids), dtype: "int64" } }, (p, d) => {
      const { routings } = hiddenStates(config, p, d.ids!, trainingContext({ batch, time }, rotaryTables(config, time)));
      return {
        ...Object.fromEntries(routings.flatMap((r, i) => [[`indices${i}`, r.indices], [`weights${i}`, r.weights], [`load${i}`, expertLoad(r)]])),
        aux: config.model_type === "qwen3_moe" ? loadBalancingLoss(routings) : sumAll(routings[0]!.weights),
      };
    });
    for (const [layer, { indices, weights, expert_load }] of wanted.entries()) {
      expectWithin(out[`load${layer}`]!, expert_load, 0, `load of layer ${layer}`);
      const k = indices[0]!.length;
      for (let b = 0; b < batch; b++)
        for (let t = 0; t < time; t++) {
          const at = (t * batch + b) * k;
          const pairs = Array.from({ length: k }, (_, j) => [out[`indices${layer}`]![at + j]!, out[`weights${layer}`]![at + j]!] as const).sort((x, y) => x[0] - y[0]);
          expect(pairs.map((p) => p[0])).toEqual(indices[b * time + t]);
          expectWithin(pairs.map((p) => p[1]), weights[b * time + t]!, bar.logprobs, "weights");
        }
    }
    if (expected.router_aux_loss !== undefined) expectWithin(out.aux!, [expected.router_aux_loss], bar.loss, "auxiliary loss");
  });
});

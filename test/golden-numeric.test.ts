import { describe, expect, test } from "vitest";
import { parseRope } from "../src/model/rope-config.ts";
import { expertLoad, groupedSigmoidRouting, sequenceBalanceLoss, updateRouterBias } from "../src/nn/moe.ts";
import { cosSinScale, inverseFrequencies, softmaxScaleFactor } from "../src/nn/rope.ts";
import { adamwScalars, adamwUpdate, globalNormScale, type AdamWOptions } from "../src/optim/adamw.ts";
import { constant, constantInt64, gradients, interpret, ndArray, simplify, trace, verify, type Graph, type NdArray, type Symbolic, type TensorType } from "../src/tensor/index.ts";
import { distillLoss, type Divergence } from "../src/train/objectives.ts";
import { fixturesDir, hasFixture, readFixture } from "./fixtures.ts";
import { runGraph, runnersHere } from "./providers.ts";

type Nested = number | readonly Nested[];
type Types = Readonly<Record<string, TensorType>>;
type Arrays = Readonly<Record<string, NdArray>>;

/** The README's bars: AdamW parameters, distillation losses and gradients. */
const bar = 2e-6;

function shapeOf(x: Nested): number[] {
  return typeof x === "number" ? [] : [x.length, ...shapeOf(x[0]!)];
}
const flat = (x: Nested): number[] => (typeof x === "number" ? [x] : x.flatMap(flat));
const array = (x: Nested): NdArray => ndArray(shapeOf(x), flat(x));

function within(got: ArrayLike<number>, want: ArrayLike<number>, absolute: number, relative: number, what: string): void {
  expect(got.length, what).toBe(want.length);
  for (let i = 0; i < want.length; i++) expect(Math.abs(got[i]! - want[i]!), `${what}[${i}]: got ${got[i]}, want ${want[i]}`).toBeLessThanOrEqual(absolute + relative * Math.abs(want[i]!));
}

type Run = (graph: Graph, inputs: Arrays) => Promise<Record<string, NdArray>>;
const runners: readonly (readonly [string, Run])[] = [
  ["reference", async (graph, inputs) => interpret(graph, inputs)],
  ...runnersHere.map((provider): [string, Run] => [provider, (graph, inputs) => runGraph(simplify(graph), inputs, provider)]),
];

const files = ["distill", "adamw", "rope", "deepseek_balance"].filter((name) => hasFixture("numeric", `${name}.json`));
test("the golden set has numeric files", () => expect(files.length, fixturesDir()).toBeGreaterThan(0));

describe.runIf(files.includes("distill"))("distillation", () => {
  interface Case {
    readonly kind: Divergence["kind"];
    readonly temperature: number;
    readonly beta: number | null;
    readonly per_token: number[][];
    readonly loss: number;
    readonly loss_times_T2: number;
    readonly grad_student_logits: number[][][];
  }
  const { teacher_logits, student_logits, mask, cases } = readFixture<{ teacher_logits: number[][][]; student_logits: number[][][]; mask: number[][]; cases: Case[] }>("numeric", "distill.json");
  const rows = flat(mask).length;
  const vocabulary = flat(teacher_logits).length / rows;
  const inputs = { teacher_logits: ndArray([rows, vocabulary], flat(teacher_logits)), student_logits: ndArray([rows, vocabulary], flat(student_logits)), mask: ndArray([rows, 1], flat(mask)) };

  describe.each(cases.map((c) => [`${c.kind} at ${c.temperature}, beta ${c.beta}`, c] as const))("%s", (_, c) => {
    const divergence: Divergence = c.kind === "jsd" ? { kind: c.kind, beta: c.beta! } : { kind: c.kind };
    const graph = trace((v: Symbolic<Record<keyof typeof inputs, TensorType>>) => {
      const { loss, per_token } = distillLoss(v, divergence, c.temperature);
      return { loss, per_token, grad: gradients(loss, [v.student_logits])[0]! };
    }, inputs as Record<keyof typeof inputs, TensorType>);

    test.each(runners)("%s", async (_name, run) => {
      verify(graph);
      const got = await run(graph, inputs);
      within(got.per_token!.data, flat(c.per_token), bar, 0, "per_token");
      within(got.loss!.data, [c.loss], bar, 0, "loss");
      within([got.loss!.data[0]! * c.temperature ** 2], [c.loss_times_T2], bar, 0, "loss_times_T2");
      within(got.grad!.data, flat(c.grad_student_logits), bar, 0, "grad_student_logits");
    });
  });
});

describe.runIf(files.includes("adamw"))("AdamW", () => {
  type Tensors = Readonly<Record<string, Nested>>;
  interface Case {
    readonly config: { readonly lr: number; readonly betas: readonly [number, number]; readonly eps: number; readonly weight_decay: number; readonly max_norm: number | null; readonly no_decay?: readonly string[]; readonly lrs?: readonly number[] };
    readonly init: Tensors;
    readonly grads: readonly Tensors[];
    readonly steps: readonly { readonly grad_norm_before_clip: number | null; readonly params: Tensors; readonly exp_avg: Tensors; readonly exp_avg_sq: Tensors }[];
  }
  const { cases } = readFixture<{ cases: Case[] }>("numeric", "adamw.json");
  const arrays = (tensors: Tensors): Arrays => Object.fromEntries(Object.entries(tensors).map(([name, x]) => [name, array(x)]));
  const zeros = (like: Arrays): Arrays => Object.fromEntries(Object.entries(like).map(([name, { shape }]) => [name, ndArray(shape, () => 0)]));
  const under = (prefix: string, tensors: Arrays): Arrays => Object.fromEntries(Object.entries(tensors).map(([name, x]) => [`${prefix}/${name}`, x]));
  const below = (prefix: string, outputs: Arrays): Arrays => Object.fromEntries(Object.entries(outputs).flatMap(([path, x]) => (path.startsWith(`${prefix}/`) ? [[path.slice(prefix.length + 1), x]] : [])));

  describe.each(cases.map((c) => [JSON.stringify(c.config), c] as const))("%s", (_, { config, init, grads, steps }) => {
    const options: AdamWOptions = { beta1: config.betas[0], beta2: config.betas[1], epsilon: config.eps, weight_decay: config.weight_decay };
    const tensors: Types = arrays(init);
    const scalar: TensorType = { shape: [], dtype: "float32" };
    const types = { p: tensors, g: tensors, m: tensors, v: tensors, scalars: { rate: scalar, epsilon: scalar, decay: scalar } };
    const graph = trace((x: Symbolic<typeof types>) => {
      const { norm, scale } = globalNormScale(Object.values(x.g), config.max_norm ?? Number.MAX_VALUE);
      const clip = config.max_norm === null ? constant(1) : scale;
      const next = adamwUpdate(x.g, x.p, { m: x.m, v: x.v }, x.scalars, options, clip, (name) => !config.no_decay?.includes(name));
      return { norm, next: { p: next.parameters, m: next.state.m, v: next.state.v } };
    }, types);

    test.each(runners)("%s", async (_name, run) => {
      let state = { p: arrays(init), m: zeros(arrays(init)), v: zeros(arrays(init)) };
      for (const [i, want] of steps.entries()) {
        const scalars = adamwScalars(i + 1, config.lrs?.[i] ?? config.lr, options);
        const got = await run(graph, { ...under("p", state.p), ...under("m", state.m), ...under("v", state.v), ...under("g", arrays(grads[i]!)), ...under("scalars", arrays({ ...scalars })) });
        state = { p: below("next/p", got), m: below("next/m", got), v: below("next/v", got) };
        if (want.grad_norm_before_clip !== null) within(got.norm!.data, [want.grad_norm_before_clip], 0, bar, "grad_norm_before_clip");
        for (const name of Object.keys(init)) {
          within(state.p[name]!.data, flat(want.params[name]!), bar, 0, `params of ${name} after step ${i + 1}`);
          within(state.m[name]!.data.map((x) => x * (1 - options.beta1)), flat(want.exp_avg[name]!), bar, 0, `exp_avg of ${name} after step ${i + 1}`);
          within(state.v[name]!.data.map((x) => x * (1 - options.beta2)), flat(want.exp_avg_sq[name]!), 1e-10, 1e-5, `exp_avg_sq of ${name} after step ${i + 1}`);
        }
      }
    });
  });
});

describe.runIf(files.includes("rope"))("rotary embedding", () => {
  interface Case {
    readonly name: string;
    readonly arch: string;
    readonly config: Readonly<Record<string, unknown>> & { readonly max_position_embeddings: number; readonly hidden_size?: number; readonly num_attention_heads?: number; readonly head_dim?: number; readonly qk_rope_head_dim?: number; readonly qk_nope_head_dim?: number };
    readonly inv_freq: number[];
    readonly cos_sin_scale: number;
    readonly softmax_scale?: number;
  }
  const { cases } = readFixture<{ cases: Case[] }>("numeric", "rope.json");

  test.each(cases.map((c) => [c.name, c] as const))("%s", (_, { arch, config, inv_freq, cos_sin_scale, softmax_scale }) => {
    const rope = parseRope(config, config.max_position_embeddings, "rope.json");
    const rotated = arch === "deepseek_v3" ? (config.qk_rope_head_dim ?? 64) : (config.head_dim ?? config.hidden_size! / config.num_attention_heads!);
    // The reference computes in float32; powers and logarithms cost it a few units in the last place.
    within(inverseFrequencies(rope, rotated), inv_freq, 0, 1e-6, "inv_freq");
    within([cosSinScale(rope)], [cos_sin_scale], 0, 1e-12, "cos_sin_scale");
    if (softmax_scale !== undefined) within([softmaxScaleFactor(rope) / Math.sqrt(rotated + (config.qk_nope_head_dim ?? 128))], [softmax_scale], 0, 1e-12, "softmax_scale");
  });
});

describe.runIf(files.includes("deepseek_balance"))("DeepSeek-V3's load balancing", () => {
  const fixture = readFixture<{
    gamma: number;
    bias_before: number[];
    steps: { load: number[]; bias_after: number[] }[];
    sequence_loss: { affinity: number[][]; bias: number[]; top_k: number; alpha: number; chosen: number[][]; f: number[]; P: number[]; loss: number };
  }>("numeric", "deepseek_balance.json");

  test("the bias follows the load", () => {
    let bias = Float32Array.from(fixture.bias_before);
    for (const { load, bias_after } of fixture.steps) {
      bias = updateRouterBias(bias, load, fixture.gamma) as Float32Array<ArrayBuffer>;
      within(bias, bias_after, 1e-7, 0, "bias");
    }
  });

  test.each(runners)("choice, load and sequence-wise loss: %s", async (_name, run) => {
    const { affinity, bias, top_k, alpha, chosen, f, loss } = fixture.sequence_loss;
    const [time, experts] = shapeOf(affinity) as [number, number];
    const inputs = { logits: ndArray([time, experts], flat(affinity).map((s) => Math.log(s / (1 - s)))), bias: array(bias) };
    const graph = trace((v: Symbolic<Record<keyof typeof inputs, TensorType>>) => {
      const routing = groupedSigmoidRouting(v.logits, v.bias, { num_experts_per_tok: top_k, n_group: 1, topk_group: 1, norm_topk_prob: true, routed_scaling_factor: 1 });
      return { indices: routing.indices, load: expertLoad(routing), loss: sequenceBalanceLoss(routing, 1), given: sequenceBalanceLoss({ ...routing, indices: constantInt64(flat(chosen), shapeOf(chosen)) }, 1) };
    }, inputs as Record<keyof typeof inputs, TensorType>);
    const got = await run(graph, inputs);
    const picked = Array.from({ length: time }, (_, t) => Array.from(got.indices!.data.slice(t * top_k, (t + 1) * top_k)).sort((a, b) => a - b));
    expect(picked).toEqual(chosen);
    within(got.load!.data, f.map((x) => (x * top_k * time) / experts), 1e-5, 0, "load");
    within([got.loss!.data[0]! * alpha, got.given!.data[0]! * alpha], [loss, loss], 0, bar, "loss");
  });
});

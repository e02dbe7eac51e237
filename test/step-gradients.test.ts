import { describe, expect, test } from "vitest";
import { initParameters, parameterSpecs } from "../src/model/index.ts";
import { random } from "../src/random/index.ts";
import { gradientsOf, simplify, trace, type Graph, type NdArray, type TensorType, type Value } from "../src/tensor/index.ts";
import { ndArray } from "../src/tensor/nd-array.ts";
import { benchSizes } from "../src/train/bench-sizes.ts";
import { nextTokenObjective, nextTokenTypes } from "../src/train/next-token.ts";
import { naiveLoss } from "./naive-llama.ts";
import { providersHere, runGraph } from "./providers.ts";

// Races between threads and wrong kernels show at real sizes only: a table of 512 rows hit by 4,096 ids, 128 lanes of attention.
const { config, batch, time } = benchSizes.S;
const rows = batch * time;
const specs = parameterSpecs(config);
const types = { p: Object.fromEntries(specs.map((s): [string, TensorType] => [s.name, { shape: s.shape, dtype: "float32" }])), b: nextTokenTypes(rows) };

type Loss = (p: Readonly<Record<string, Value>>, b: { readonly ids: Value; readonly targets: Value; readonly weights: Value }) => Value;
const graphOfLoss = (loss: Loss): Graph =>
  simplify(
    trace((v) => {
      const p = v.p as Readonly<Record<string, Value>>;
      const l = loss(p, v.b as unknown as Parameters<Loss>[1]);
      return { loss: l, g: gradientsOf(l, p) };
    }, types),
  );

const stream = random("step gradients");
const parameters = initParameters(specs, 0.05, stream);
const tokens = Array.from({ length: rows }, () => stream.below(config.vocab_size));
const targets = Array.from({ length: rows }, () => stream.below(config.vocab_size));
const weights = Array.from({ length: rows }, () => (0.5 + stream.next()) / rows);

/** Row order is by time for the tuned step, by sequence for the naive one. */
function inputs(order: (row: number) => number): Record<string, NdArray> {
  const pick = (values: readonly number[]): number[] => values.map((_, row) => values[order(row)]!);
  return {
    ...Object.fromEntries(specs.map((s) => [`p/${s.name}`, ndArray(s.shape, parameters[s.name]!)])),
    "b/ids": ndArray([rows], pick(tokens), "int64"),
    "b/targets": ndArray([rows], pick(targets), "int64"),
    "b/weights": ndArray([rows, 1], pick(weights)),
  };
}

describe("the gradients of a whole step at size S", () => {
  const reference = runGraph(graphOfLoss((p, b) => naiveLoss(config, p, b.ids, b.targets, b.weights, batch, time)), inputs((row) => row), "cpu", 1);

  test.each(providersHere)("%s with two threads = the naive graph with one", async (provider) => {
    const tuned = graphOfLoss((p, b) => nextTokenObjective(config, { batch, time })(p, b).loss);
    const got = await runGraph(tuned, inputs((row) => (row % batch) * time + Math.floor(row / batch)), provider, 2);
    const want = await reference;
    expect(Math.abs(got.loss!.data[0]! - want.loss!.data[0]!)).toBeLessThan(1e-5);
    for (const { name } of specs) {
      const [g, w] = [got[`g/${name}`]!.data, want[`g/${name}`]!.data];
      const scale = Math.sqrt(w.reduce((s, v) => s + v * v, 0) / w.length);
      const worst = w.reduce((m, v, i) => Math.max(m, Math.abs(v - g[i]!)), 0);
      expect(worst, `${name}: largest difference against an rms of ${scale}`).toBeLessThan(2e-3 * scale + 1e-9);
    }
  }, 600_000);
});

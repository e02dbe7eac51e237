import { describe, expect, test } from "vitest";
import { constant, gradients, graphOf, interpret, mul, simplify, sumAll, verify, type Graph, type NdArray, type Value } from "../src/tensor/index.ts";
import { random } from "../src/random/index.ts";
import { input } from "../src/tensor/op.ts";
import { concrete, elements } from "../src/tensor/nd-array.ts";
import { add } from "../src/tensor/ops/elementwise.ts";
import { opNames, opSamples, type OpSample } from "./op-samples.ts";
import { nnSamples } from "./nn-samples.ts";
import { runGraph, runnersHere } from "./providers.ts";

const named = (arrays: readonly NdArray[]): Record<string, NdArray> => Object.fromEntries(arrays.map((a, i) => [`x${i}`, a]));

/** The op's outputs, a scalar that weighs them all, and its gradients. */
function graphFor({ inputs, build }: OpSample): Graph {
  const xs = inputs.map((a, i) => input(`x${i}`, a.shape));
  const outputs = build(xs);
  const stream = random("weights");
  const weighed = outputs.map((y) => sumAll(mul(y, constant(Float32Array.from({ length: elements(concrete(y.shape, "test")) }, () => stream.normal()), concrete(y.shape, "test")))));
  const loss = weighed.reduce((a, b) => add(a, b));
  return graphOf(
    xs.map((x, i) => [`x${i}`, x]),
    [...outputs.map((y, i): [string, Value] => [`y${i}`, y]), ["loss", loss], ...gradients(loss, xs).map((g, i): [string, Value] => [`g${i}`, g])],
  );
}

function expectClose(got: NdArray, want: NdArray, tolerance: number, what: string): void {
  expect(got.shape, what).toEqual(want.shape);
  for (const [k, w] of want.data.entries()) {
    const gap = Math.abs(got.data[k]! - w);
    expect(gap <= tolerance * (1 + Math.abs(w)), `${what}[${k}]: got ${got.data[k]}, want ${w}`).toBe(true);
  }
}

test("every op of every family has a sample", () => {
  const sampled = new Set(opSamples.map((s) => s.op));
  expect(opNames.length).toBeGreaterThan(30);
  expect(opNames.filter((name) => !sampled.has(name))).toEqual([]);
});

describe.each([...opSamples, ...nnSamples].map((s, k) => [`${s.op} #${k}`, s] as const))("%s", (_, sample) => {
  const graph = graphFor(sample);
  const expected = interpret(graph, named(sample.inputs));

  test("is well formed, and simplifying changes no value", () => {
    verify(graph);
    const simpler = simplify(graph);
    verify(simpler);
    const got = interpret(simpler, named(sample.inputs));
    for (const [name, want] of Object.entries(expected)) expectClose(got[name]!, want, 1e-12, name);
  });

  test("gradient = central differences", () => {
    const lossAt = (arrays: readonly NdArray[]): number => interpret(graph, named(arrays)).loss!.data[0]!;
    for (const [k, x] of sample.inputs.entries())
      for (let j = 0; j < x.data.length; j++) {
        const step = 1e-5;
        const moved = (by: number): NdArray[] => sample.inputs.map((a, i) => (i === k ? { ...a, data: a.data.with(j, a.data[j]! + by) } : a));
        const slope = sample.flat ? 0 : (lossAt(moved(step)) - lossAt(moved(-step))) / (2 * step);
        const got = expected[`g${k}`]!.data[j]!;
        expect(Math.abs(got - slope) <= 1e-6 * (1 + Math.abs(slope)), `g${k}[${j}]: got ${got}, slope ${slope}`).toBe(true);
      }
  });

  test.each(runnersHere)("%s = reference", async (provider) => {
    const got = await runGraph(simplify(graph), named(sample.inputs), provider);
    for (const [name, want] of Object.entries(expected)) expectClose(got[name]!, want, 2e-5, name);
  });
});

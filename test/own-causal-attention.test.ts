import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { openBackend } from "../src/runtime/index.ts";
import { interpret, type Graph, type NdArray } from "../src/tensor/index.ts";
import { toOnnx } from "../src/onnx/lower.ts";
import { causalInputs, runCausal, type CausalCase, type Tensors } from "./own-causal-layer.ts";

const backend = await openBackend("cpu");
const here = await backend.hasOwnKernels();
const inputsOf = (sizes: CausalCase): Tensors => causalInputs(backend, sizes);
const run = (inputs: Tensors, options: Parameters<typeof runCausal>[2]): ReturnType<typeof runCausal> => runCausal(backend, inputs, options);

const operators = (graph: Graph, ownKernels: boolean): string => Buffer.from(toOnnx(graph, "cpu", { ownKernels })).toString("latin1");

describe.skipIf(!here)("causal attention by our kernel", () => {
  const dim = fc.constantFrom(16, 32, 48);
  const cases = fc.record({ time: fc.oneof(fc.integer({ min: 1, max: 40 }), fc.constantFrom(63, 64, 65)), before: fc.integer({ min: 0, max: 34 }), lanes: fc.constantFrom(4, 8), dim, dimV: dim, masks: fc.constantFrom(0, 1, 2, 4), seed: fc.integer() });

  test("is that of the reference, with its gradients, and has the same bits with whatever threads there are", async () => {
    await fc.assert(
      fc.asyncProperty(cases, async (each) => {
        const inputs = inputsOf(each);
        const { graph, outputs } = await run(inputs, { ownKernels: true });
        expect(operators(graph, true)).toContain("CausalAttentionGradient");
        expect(operators(graph, true)).not.toContain("Softmax");
        expect((await run(inputs, { ownKernels: true, threads: 1 })).outputs).toEqual(outputs);
        const wanted = interpret(graph, Object.fromEntries(Object.entries(inputs).map(([name, { shape, data }]): [string, NdArray] => [name, { shape, dtype: "float32", data: Float64Array.from(data) }])));
        for (const [name, numbers] of Object.entries(outputs))
          for (const [i, x] of numbers.entries()) expect(Math.abs(x - wanted[name]!.data[i]!), `${name} ${i}`).toBeLessThanOrEqual(2e-5 * (1 + Math.abs(x)));
      }),
      { numRuns: 8 },
    );
  });

  test("is as finite where a query sees padding alone", async () => {
    const inputs = inputsOf({ time: 9, before: 0, lanes: 4, dim: 16, dimV: 16, masks: 2, seed: 1 });
    inputs["given"]!.data.fill(0, 0, 7);
    const { outputs } = await run(inputs, { ownKernels: true });
    for (const numbers of Object.values(outputs)) expect(numbers.every(Number.isFinite)).toBe(true);
  });

  test("does not see keys to come", async () => {
    const inputs = inputsOf({ time: 20, before: 3, lanes: 4, dim: 16, dimV: 32, masks: 0, seed: 2 });
    const before = (await run(inputs, { ownKernels: true })).outputs["y"]!;
    inputs["k"]!.data.fill(7, (3 + 11) * 4 * 16);
    inputs["v"]!.data.fill(-7, (3 + 11) * 4 * 32);
    const after = (await run(inputs, { ownKernels: true })).outputs["y"]!;
    expect(after.subarray(0, 11 * 4 * 32)).toEqual(before.subarray(0, 11 * 4 * 32));
    expect(after.subarray(11 * 4 * 32)).not.toEqual(before.subarray(11 * 4 * 32));
  });

  test("is other operators' for heads that fill no vectors", async () => {
    const inputs = inputsOf({ time: 5, before: 0, lanes: 2, dim: 8, dimV: 16, masks: 1, seed: 3 });
    const { graph } = await run(inputs, { ownKernels: true });
    expect(operators(graph, true)).not.toContain("CausalAttention");
  });
});

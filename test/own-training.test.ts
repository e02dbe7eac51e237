import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { random } from "../src/random/index.ts";
import { compile, openBackend, type DeviceTensor } from "../src/runtime/index.ts";
import { adamw, type Symbolic, type TensorType, type Tree, type Value } from "../src/tensor/index.ts";
import { toOnnx } from "../src/onnx/lower.ts";

const backend = await openBackend("cpu");
const here = await backend.hasOwnKernels();

/** Empty ones and lengths that fill no vector too, and such as several threads share. */
const shapes = fc.oneof(
  fc.array(fc.integer({ min: 0, max: 9 }), { maxLength: 4 }),
  fc.constantFrom<number[][]>([8191], [8192], [8193], [131, 257], [3, 50, 200], [1, 1, 2, 2, 2]),
);

function tensor(shape: readonly number[], next: () => number): DeviceTensor<"float32"> {
  const made = backend.tensor("float32", shape);
  made.data.set(Float32Array.from(made.data, next));
  return made;
}

const typesOf = (tensors: Readonly<Record<string, DeviceTensor>>): Record<string, TensorType> => Object.fromEntries(Object.entries(tensors).map(([name, { shape, dtype }]) => [name, { shape, dtype }]));

interface RunOptions {
  readonly ownKernels: boolean;
  readonly threads?: number;
  /** Outputs that are written over inputs. */
  readonly inPlace?: Readonly<Record<string, DeviceTensor>>;
}

/** Runs a function of named tensors once; the numbers of its outputs. */
async function run(f: (v: Readonly<Record<string, Value>>) => Record<string, Value>, inputs: Readonly<Record<string, DeviceTensor>>, { ownKernels, threads = 2, inPlace = {} }: RunOptions): Promise<{ readonly operators: string; readonly outputs: Record<string, Float32Array> }> {
  const program = await compile(backend, (v: Symbolic<Record<string, TensorType>>) => ({ next: f(v as Record<string, Value>) }) as Tree<Value>, typesOf(inputs), { ownKernels, threads });
  const outputs = Object.fromEntries(program.graph.outputs.map(([name, { shape }]) => [name, inPlace[name.slice("next/".length)] ?? backend.tensor("float32", shape as number[])]));
  const binding = program.bind(inputs, outputs);
  await binding.run();
  binding.dispose();
  program.dispose();
  return { operators: Buffer.from(toOnnx(program.graph, "cpu", { ownKernels })).toString("latin1"), outputs: Object.fromEntries(Object.entries(outputs).map(([name, { data }]) => [name.slice("next/".length), (data as Float32Array).slice()])) };
}

describe.skipIf(!here)("a step of AdamW by our kernel", () => {
  const cases = fc.record({ shape: shapes, decays: fc.boolean(), threads: fc.integer({ min: 1, max: 2 }), seed: fc.integer() });
  const step = (decays: boolean) => ({ gradient, parameter, m, v, ...scalars }: Readonly<Record<string, Value>>) => {
    const { scale, rate, epsilon, decay } = scalars as Record<"scale" | "rate" | "epsilon" | "decay", Value>;
    return { ...adamw(gradient!, { parameter: parameter!, m: m!, v: v! }, { scale, rate, epsilon, decay: decays ? decay : undefined }, { beta1: 0.9, beta2: 0.95 }) };
  };
  const inputsOf = (shape: readonly number[], seed: number): Record<string, DeviceTensor> => {
    const stream = random(`adamw ${seed}`);
    const normal = (): number => stream.normal();
    const scalar = (x: number): DeviceTensor => tensor([], () => x);
    return { gradient: tensor(shape, normal), parameter: tensor(shape, normal), m: tensor(shape, normal), v: tensor(shape, () => stream.next() ** 4), scale: scalar(stream.next()), rate: scalar(0.01), epsilon: scalar(1e-6), decay: scalar(0.999) };
  };

  test("has the bits of ONNX Runtime's operators, for every shape and number of threads, in place or not", async () => {
    await fc.assert(
      fc.asyncProperty(cases, async ({ shape, decays, threads, seed }) => {
        const inputs = inputsOf(shape, seed);
        const library = await run(step(decays), inputs, { ownKernels: false });
        const own = await run(step(decays), inputs, { ownKernels: true, threads });
        expect(own.operators.includes("AdamW")).toBe(shape.length <= 4);
        expect(own.outputs).toEqual(library.outputs);
        const { parameter, m, v } = inputs as Record<"parameter" | "m" | "v", DeviceTensor>;
        if (shape.length <= 4) expect((await run(step(decays), inputs, { ownKernels: true, threads, inPlace: { parameter, m, v } })).outputs).toEqual(library.outputs);
      }),
      { numRuns: 25 },
    );
  });

  test("is no number where a gradient is none, and nowhere else", async () => {
    const inputs = inputsOf([19], 1);
    (inputs["gradient"]!.data as Float32Array)[17] = NaN;
    const { outputs } = await run(step(true), inputs, { ownKernels: true });
    for (const numbers of Object.values(outputs)) expect(Array.from(numbers, (x, i) => (Number.isNaN(x) ? i : -1)).filter((i) => i >= 0)).toEqual([17]);
  });
});

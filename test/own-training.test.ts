import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { random } from "../src/random/index.ts";
import { compile, openBackend, type DeviceTensor } from "../src/runtime/index.ts";
import { rmsNorm, swiglu } from "../src/nn/index.ts";
import { adamw, gradients, interpret, matmul, mul, scatterAdd, sumAll, type Graph, type NdArray, type Symbolic, type TensorType, type Tree, type Value } from "../src/tensor/index.ts";
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
async function run(f: (v: Readonly<Record<string, Value>>) => Record<string, Value>, inputs: Readonly<Record<string, DeviceTensor>>, { ownKernels, threads = 2, inPlace = {} }: RunOptions): Promise<{ readonly graph: Graph; readonly operators: string; readonly outputs: Record<string, Float32Array> }> {
  const program = await compile(backend, (v: Symbolic<Record<string, TensorType>>) => ({ next: f(v as Record<string, Value>) }) as Tree<Value>, typesOf(inputs), { ownKernels, threads });
  const outputs = Object.fromEntries(program.graph.outputs.map(([name, { shape }]) => [name, inPlace[name.slice("next/".length)] ?? backend.tensor("float32", shape as number[])]));
  const binding = program.bind(inputs, outputs);
  await binding.run();
  binding.dispose();
  program.dispose();
  return { graph: program.graph, operators: Buffer.from(toOnnx(program.graph, "cpu", { ownKernels })).toString("latin1"), outputs: Object.fromEntries(Object.entries(outputs).map(([name, { data }]) => [name.slice("next/".length), (data as Float32Array).slice()])) };
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

describe.skipIf(!here)("SwiGLU by our kernel", () => {
  const forward = ({ gate, up }: Readonly<Record<string, Value>>): Record<string, Value> => ({ y: swiglu(gate!, up!) });

  test("is that of ONNX Runtime's operators, for every shape and number of threads, with a backward pass and without", async () => {
    await fc.assert(
      fc.asyncProperty(shapes, fc.integer({ min: 1, max: 2 }), fc.integer(), async (shape, threads, seed) => {
        const stream = random(`swiglu ${seed}`);
        const inputs = { gate: tensor(shape, () => 4 * stream.normal()), up: tensor(shape, () => stream.normal()) };
        const own = await run(forward, inputs, { ownKernels: true, threads });
        expect(own.operators.includes("SwiGLU")).toBe(shape.length <= 4);
        const { outputs } = await run(({ gate, up }) => ({ ...forward({ gate: gate!, up: up! }), ...backward({ gate: gate!, up: up!, ct: up! }) }), inputs, { ownKernels: true, threads });
        expect(outputs["y"]).toEqual(own.outputs["y"]);
        const library = (await run(forward, inputs, { ownKernels: false })).outputs["y"]!;
        for (const [i, y] of own.outputs["y"]!.entries()) expect(Math.abs(y - library[i]!), `${i}`).toBeLessThanOrEqual(2 ** -21 * Math.abs(inputs.gate.data[i]! * inputs.up.data[i]!));
      }),
      { numRuns: 25 },
    );
  });

  const backward = ({ gate, up, ct }: Readonly<Record<string, Value>>): Record<string, Value> => {
    const [dGate, dUp] = gradients(sumAll(mul(swiglu(gate!, up!), ct!)), [gate!, up!]) as [Value, Value];
    return { gate: dGate, up: dUp };
  };

  test("has the reference's gradient, for every shape and number of threads", async () => {
    await fc.assert(
      fc.asyncProperty(shapes, fc.integer({ min: 1, max: 2 }), fc.integer(), async (shape, threads, seed) => {
        const stream = random(`swiglu ${seed}`);
        const normal = (): number => stream.normal();
        const inputs = { gate: tensor(shape, () => 4 * stream.normal()), up: tensor(shape, normal), ct: tensor(shape, normal) };
        const { graph, operators, outputs } = await run(backward, inputs, { ownKernels: true, threads });
        expect(operators.includes("SwiGLUGradient")).toBe(shape.length <= 4);
        const wanted = interpret(graph, Object.fromEntries(Object.entries(inputs).map(([name, { data }]): [string, NdArray] => [name, { shape, dtype: "float32", data: Float64Array.from(data) }])));
        const { gate, up, ct } = inputs;
        for (const [name, numbers] of Object.entries(outputs))
          for (const [i, x] of numbers.entries()) expect(Math.abs(x - wanted[`next/${name}`]!.data[i]!), `${name} ${i}`).toBeLessThanOrEqual(2 ** -21 * Math.abs(ct.data[i]!) * (1 + Math.abs(gate.data[i]!)) * (1 + Math.abs(up.data[i]!)));
      }),
      { numRuns: 25 },
    );
  });

  test("has a finite gradient where the gate is far from zero", async () => {
    const inputs = { gate: tensor([4], () => 0), up: tensor([4], () => 1), ct: tensor([4], () => 1) };
    inputs.gate.data.set([-1e30, -100, 100, 1e30]);
    const { outputs } = await run(backward, inputs, { ownKernels: true });
    expect(Array.from(outputs["gate"]!)).toEqual([0, 0, 1, 1].map((x) => expect.closeTo(x, 6) as number));
  });
});

test.skipIf(!here)("RMSNorm by our kernel is that of ONNX Runtime's operators, and a row has the same bits alone", async () => {
  const norm = ({ x, gain }: Readonly<Record<string, Value>>): Record<string, Value> => ({ y: rmsNorm(x!, gain!, 1e-5) });
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 1, max: 90 }), fc.oneof(fc.integer({ min: 1, max: 70 }), fc.constantFrom(128, 576)), fc.integer({ min: 1, max: 2 }), fc.integer(), async (rows, width, threads, seed) => {
      const stream = random(`norm ${seed}`);
      const inputs = { x: tensor([rows, width], () => 3 * stream.normal()), gain: tensor([width], () => stream.normal()) };
      const own = await run(norm, inputs, { ownKernels: true, threads });
      expect(own.operators).toContain("RMSNorm");
      const library = (await run(norm, inputs, { ownKernels: false })).outputs["y"]!;
      for (const [i, y] of own.outputs["y"]!.entries()) expect(Math.abs(y - library[i]!), `${i}`).toBeLessThanOrEqual(1e-6 * (1 + Math.abs(y)));
      const last = backend.tensorOver("float32", [1, width], inputs.x.data.slice((rows - 1) * width));
      expect((await run(norm, { ...inputs, x: last }, { ownKernels: true })).outputs["y"]).toEqual(own.outputs["y"]!.slice((rows - 1) * width));
    }),
    { numRuns: 25 },
  );
});

describe.skipIf(!here)("rows that are added to others by our kernel", () => {
  const cases = fc.record({ rows: fc.integer({ min: 1, max: 40 }), width: fc.oneof(fc.integer({ min: 0, max: 20 }), fc.constantFrom(63, 64, 65, 128, 200)), count: fc.integer({ min: 0, max: 90 }), threads: fc.integer({ min: 1, max: 2 }), seed: fc.integer() });
  const added = ({ base, ids, more }: Readonly<Record<string, Value>>): Record<string, Value> => ({ base: scatterAdd(base!, ids!, more!) });
  const inputsOf = (rows: number, width: number, ids: readonly number[], next: () => number): Record<"base" | "ids" | "more", DeviceTensor> => {
    const places = backend.tensor("int64", [ids.length]);
    places.data.set(ids.map(BigInt));
    return { base: tensor([rows, width], next), ids: places, more: tensor([ids.length, width], next) };
  };

  test("have the bits of ONNX Runtime's operators, whatever ids repeat and threads there are, in place or not", async () => {
    await fc.assert(
      fc.asyncProperty(cases, async ({ rows, width, count, threads, seed }) => {
        const stream = random(`scatter ${seed}`);
        const inputs = inputsOf(rows, width, Array.from({ length: count }, () => stream.below(rows)), () => stream.normal());
        const library = await run(added, inputs, { ownKernels: false });
        const own = await run(added, inputs, { ownKernels: true, threads });
        expect(own.operators).toContain("ScatterAddRows");
        expect(own.outputs).toEqual(library.outputs);
        expect((await run(added, inputs, { ownKernels: true, threads, inPlace: { base: inputs.base } })).outputs).toEqual(library.outputs);
      }),
      { numRuns: 25 },
    );
  });

  test.each([-1, 3])("are refused where there is no row: %i of 3", async (id) => {
    await expect(run(added, inputsOf(3, 5, [0, id], () => 1), { ownKernels: true })).rejects.toThrow(/a row that is not there/);
  });
});

describe.skipIf(!here)("products of a transposed matrix by our kernel", () => {
  const size = fc.oneof(fc.integer({ min: 0, max: 40 }), fc.constantFrom(48, 63, 64, 65, 100));
  const cases = fc.record({ lanes: fc.constantFrom(null, 1, 2, 5), m: size, n: size, depth: fc.oneof(fc.integer({ min: 0, max: 30 }), fc.constantFrom(255, 256, 257, 600)), alpha: fc.constantFrom(1, -0.5), seed: fc.integer() });
  // What else the graph holds makes it one that asks for our kernels.
  const product = (lanes: number | null, alpha: number) => ({ a, b, base, ids, more }: Readonly<Record<string, Value>>): Record<string, Value> => ({ y: matmul(a!, b!, { transA: true, transBatchB: lanes !== null, alpha }), other: scatterAdd(base!, ids!, more!) });
  const other = { base: tensor([1, 1], () => 0), ids: backend.tensor("int64", [1]), more: tensor([1, 1], () => 0) };

  test("are those of the reference, and have the same bits with whatever threads there are", async () => {
    await fc.assert(
      fc.asyncProperty(cases, async ({ lanes, m, n, depth, alpha, seed }) => {
        const stream = random(`product ${seed}`);
        const [a, b] = [tensor(lanes === null ? [depth, m] : [lanes, depth, m], () => stream.normal()), tensor(lanes === null ? [depth, n] : [depth, lanes, n], () => stream.normal())];
        const { operators, outputs } = await run(product(lanes, alpha), { a, b, ...other }, { ownKernels: true });
        expect(operators).toContain("MatMulTransA");
        expect((await run(product(lanes, alpha), { a, b, ...other }, { ownKernels: true, threads: 1 })).outputs).toEqual(outputs);
        expect(outputs["y"]).toHaveLength((lanes ?? 1) * m * n);
        for (const [at, y] of outputs["y"]!.entries()) {
          const [lane, row, column] = [Math.floor(at / (m * n)), Math.floor(at / n) % m, at % n];
          let [sum, magnitude] = [0, 0];
          for (let k = 0; k < depth; k++) {
            const term = alpha * a.data[(lane * depth + k) * m + row]! * b.data[(k * (lanes ?? 1) + lane) * n + column]!;
            sum += term;
            magnitude += Math.abs(term);
          }
          expect(Math.abs(y - sum), `${at}`).toBeLessThanOrEqual(1e-6 * magnitude);
        }
      }),
      { numRuns: 50 },
    );
  });

  test("of what is no number are none, in that row and that column only", async () => {
    const [a, b] = [tensor([300, 30], () => 1), tensor([300, 40], () => 1)];
    a.data[299 * 30 + 27] = NaN;
    b.data[39] = Infinity;
    const { outputs } = await run(product(null, 1), { a, b, ...other }, { ownKernels: true });
    for (const [at, y] of outputs["y"]!.entries()) expect(y).toBe(Math.floor(at / 40) === 27 ? NaN : at % 40 === 39 ? Infinity : 300);
  });

  test("are ONNX Runtime's where lanes are broadcast", async () => {
    const [a, b] = [tensor([1, 9, 4], () => 1), tensor([9, 3, 5], () => 1)];
    const { operators, outputs } = await run(product(1, 1), { a, b, ...other }, { ownKernels: true });
    expect(operators).not.toContain("MatMulTransA");
    expect(outputs["y"]).toHaveLength(3 * 4 * 5);
  });
});

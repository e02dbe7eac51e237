import { readdirSync } from "node:fs";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { random } from "../random/index.ts";
import { graphOf, input, interpret, ndArray } from "../tensor/index.ts";
import { llamaConfig, parameterSpecs, rotaryTables, trainingContext } from "../model/index.ts";
import { narrowFloat16, openCheckpoint, widenFloat16 } from "../weights/index.ts";
import { fixture, hasFixture } from "../../test/fixtures.ts";
import { backend } from "../../test/providers.ts";
import { stages, type Stage } from "./activations.ts";
import { roundCalibrated, sensitivity, type Gram } from "./calibrated.ts";
import { equalize } from "./equalize.ts";
import { blockLength, dequantize, roundToNearest, toFloat16, type Grid, type QuantizedMatrix } from "./grid.ts";
import { linearInputs } from "./linear-inputs.ts";
import { BlockProducts } from "./products.ts";

const grids: readonly Grid[] = [
  { bits: 4, kind: "symmetric" },
  { bits: 4, kind: "minimum" },
  { bits: 4, kind: "zero_point" },
  { bits: 8, kind: "symmetric" },
  { bits: 8, kind: "minimum" },
  { bits: 8, kind: "zero_point" },
];
const named = grids.map((grid) => [`${grid.bits} bits, ${grid.kind}`, grid] as const);

const normals = (count: number, ...name: (string | number)[]): Float32Array => {
  const source = random("quantize", ...name);
  return Float32Array.from({ length: count }, () => source.normal());
};

/** Gram matrix of inputs that a few directions dominate, as in language models; `draw` gives other inputs with the same directions. */
function correlated(rows: number, size: number, seed: number, draw = 0): Gram {
  const [mixed, noise, latent] = [normals(8 * size, "mix", seed), normals(rows * size, "noise", seed, draw), normals(rows * 8, "latent", seed, draw)];
  const x = Float64Array.from({ length: rows * size }, (_, i) => {
    const [row, column] = [Math.floor(i / size), i % size];
    let value = 0.3 * noise[i]!;
    for (let k = 0; k < 8; k++) value += latent[row * 8 + k]! * mixed[k * size + column]!;
    return value;
  });
  const data = new Float64Array(size * size);
  for (let row = 0; row < rows; row++) for (let i = 0; i < size; i++) for (let j = 0; j < size; j++) data[i * size + j]! += x[row * size + i]! * x[row * size + j]!;
  return { rows, size, data };
}

/** ‖X (W − Q)ᵀ‖² from XᵀX. */
function outputError(weights: Float32Array, matrix: QuantizedMatrix, { size, data }: Gram): number {
  const rounded = dequantize(matrix);
  let total = 0;
  for (let row = 0; row < matrix.shape[0]; row++)
    for (let i = 0; i < size; i++) for (let j = 0; j < size; j++) total += (weights[row * size + i]! - rounded[row * size + i]!) * data[i * size + j]! * (weights[row * size + j]! - rounded[row * size + j]!);
  return total;
}

const finite = fc.float({ min: -1000, max: 1000, noNaN: true });

describe("grids", () => {
  test.each(named)("%s: no weight is further from its level than half a step and the rounding of the scale", (_, grid) => {
    fc.assert(
      fc.property(fc.array(finite, { minLength: blockLength, maxLength: blockLength }), (weights) => {
        const matrix = roundToNearest(Float32Array.from(weights), [1, blockLength], grid);
        const peak = Math.max(...weights.map(Math.abs));
        const step = Math.abs(matrix.scales[0]!);
        // The side of a symmetric grid of 4 bits that has one level less is cut by up to a step; a float16 keeps 11 bits; a zero point is a whole code.
        const slack = (grid.kind === "symmetric" && grid.bits === 4 ? step / 2 : grid.kind === "zero_point" ? step / 2 : 0) + peak * 2 ** -10 + 2 ** grid.bits * 2 ** -24;
        for (const [i, level] of dequantize(matrix).entries()) expect(Math.abs(level - weights[i]!)).toBeLessThanOrEqual(step / 2 + slack);
      }),
    );
  });

  test.each([4, 8] as const)("%i bits: weights of zero stay zero", (bits) => {
    for (const kind of ["symmetric", "minimum", "zero_point"] as const) expect(dequantize(roundToNearest(new Float32Array(64), [2, 32], { bits, kind })).every((weight) => weight === 0)).toBe(true);
  });

  test("8 bits lose less than 4, and a minimum loses less on weights that have one sign", () => {
    const weights = normals(8 * 128, "signs").map((weight) => Math.abs(weight) + 1);
    const loss = (grid: Grid): number => dequantize(roundToNearest(weights, [8, 128], grid)).reduce((sum, level, i) => sum + (level - weights[i]!) ** 2, 0);
    for (const kind of ["symmetric", "minimum", "zero_point"] as const) expect(loss({ bits: 8, kind })).toBeLessThan(loss({ bits: 4, kind }));
    expect(loss({ bits: 4, kind: "minimum" })).toBeLessThan(loss({ bits: 4, kind: "symmetric" }));
  });

  test("toFloat16 is the nearest float16", () => {
    fc.assert(
      fc.property(fc.float({ min: -65504, max: 65504, noNaN: true }), (x) => {
        const bits = new Uint16Array(1);
        const wide = new Float32Array(1);
        narrowFloat16(Float32Array.of(x), bits);
        widenFloat16(bits, wide);
        expect(Math.abs(toFloat16(x) - x)).toBe(Math.abs(wide[0]! - x));
      }),
    );
  });

  test.each([[NaN], [Infinity], [1e30]])("a weight of %d is refused", (weight) => {
    const weights = new Float32Array(32).fill(weight);
    expect(() => roundToNearest(weights, [1, 32], grids[0]!)).toThrow(expect.objectContaining({ code: "unsupported" }));
  });

  test("rows that are no whole blocks are refused", () => {
    expect(() => roundToNearest(new Float32Array(40), [1, 40], grids[0]!)).toThrow(expect.objectContaining({ code: "shape_mismatch" }));
  });
});

describe("calibrated rounding", () => {
  let products: BlockProducts;
  beforeAll(async () => void (products = new BlockProducts(await backend("cpu"))));
  afterAll(() => products.dispose());

  test("a Gram matrix, damped and with its blocks in order, is (F + I)ᵀ D (F + I)", async () => {
    const size = 96;
    const gram = correlated(400, size, 1);
    const { feedback, cost, order } = await sensitivity(products, gram);
    const at = (k: number): number => order[Math.floor(k / blockLength)]! * blockLength + (k % blockLength);
    expect(order.toSorted()).toEqual([0, 1, 2]);
    const factor = (k: number, i: number): number => (i === k ? 1 : i < k ? feedback[k * size + i]! : 0);
    const damp = Array.from({ length: size }, (_, i) => gram.data[i * size + i]!).reduce((a, b) => a + b, 0) / size;
    const share = (0.3 * size) / gram.rows;
    for (let i = 0; i < size; i++)
      for (let j = 0; j < size; j++) {
        let product = 0;
        for (let k = 0; k < size; k++) product += factor(k, i) * cost[k]! * factor(k, j);
        expect(Math.abs(product - gram.data[at(i) * size + at(j)]! - (i === j ? share * damp : 0))).toBeLessThan(1e-5 * damp);
      }
  });

  test.each(named)("%s: the outputs lose less than by rounding to nearest, on those inputs and on others like them", async (_, grid) => {
    for (let seed = 0; seed < 2; seed++) {
      const [gram, other] = [correlated(256, 64, seed), correlated(256, 64, seed, 1)];
      const weights = normals(16 * 64, "weights", seed);
      const calibrated = await roundCalibrated(products, weights, [16, 64], grid, await sensitivity(products, gram));
      const nearest = roundToNearest(weights, [16, 64], grid);
      for (const inputs of [gram, other]) expect(outputError(weights, calibrated, inputs)).toBeLessThan(outputError(weights, nearest, inputs));
    }
  });

  test("inputs that are all zero leave weights as near as a search finds", async () => {
    const weights = normals(8 * 64, "zero");
    const still = await roundCalibrated(products, weights, [8, 64], grids[0]!, await sensitivity(products, { rows: 10, size: 64, data: new Float64Array(64 * 64) }));
    const loss = (matrix: QuantizedMatrix): number => dequantize(matrix).reduce((sum, level, i) => sum + (level - weights[i]!) ** 2, 0);
    expect(loss(still)).toBeLessThanOrEqual(loss(roundToNearest(weights, [8, 64], grids[0]!)));
  });

  test("activations that are not finite, or of another layer, are refused", async () => {
    await expect(sensitivity(products, { rows: 1, size: 32, data: new Float64Array(1024).fill(NaN) })).rejects.toThrow(expect.objectContaining({ code: "unsupported" }));
    const felt = await sensitivity(products, correlated(64, 32, 1));
    await expect(roundCalibrated(products, new Float32Array(64), [1, 64], grids[0]!, felt)).rejects.toThrow(expect.objectContaining({ code: "shape_mismatch" }));
  });
});

describe("equalised channels", () => {
  const families = readdirSync(fixture("models")).filter((name) => hasFixture("models", name, "config.json"));
  test.each(families)("%s: its layers give what they gave", async (name) => {
    const checkpoint = await openCheckpoint(fixture("models", name));
    const { config } = checkpoint;
    const context = { ...trainingContext({ batch: 1, time: 8 }, rotaryTables(config, 8)), foldGain: false };
    const x = ndArray([8, config.hidden_size], normals(8 * config.hidden_size, "x", name));
    for (const { specs, trace } of stages(config).slice(0, -1)) {
      const weights = new Map<string, Float32Array>();
      for (const { name: of, shape } of specs) weights.set(of, (await checkpoint.read(of, shape)).data);
      const { weights: scaled } = equalize(config, specs, { weights, grams: new Map(specs.filter(({ quantizable }) => quantizable).map(({ name: of, shape }) => [of, correlated(16, shape[1]!, shape[1]!)])) });
      const inputs = [...specs.map((spec) => [spec.name, input(spec.name, spec.shape, "float32")] as const), ["x", input("x", x.shape, "float32")] as const];
      const graph = graphOf(inputs, [["y", trace(Object.fromEntries(inputs), inputs.at(-1)![1], context)]]);
      const [plain, equal] = [weights, scaled].map((of) => interpret(graph, { x, ...Object.fromEntries(specs.map((spec) => [spec.name, ndArray(spec.shape, of.get(spec.name)!)])) }).y!.data);
      const size = Math.hypot(...plain!);
      expect(Math.hypot(...equal!.map((value, i) => value - plain![i]!))).toBeLessThan(1e-5 * size);
      // deepseek_v3's heads share what their values are made from, so nothing gives o's channels.
      for (const { name: of, quantizable } of specs) if (quantizable && !(config.model_type === "deepseek_v3" && of.includes("o_proj"))) expect(scaled.get(of), of).not.toEqual(weights.get(of));
    }
    await checkpoint.close();
  });

  test("columns whose inputs are large against their weights lose less for it", async () => {
    const config = llamaConfig({ hidden_size: 64, intermediate_size: 64, num_hidden_layers: 1, num_attention_heads: 1, num_key_value_heads: 1 }, { vocabSize: 32, bosId: 0, eosId: 1, padId: 1 });
    const [{ specs }] = stages(config) as [Stage, ...Stage[]];
    const weights = new Map(specs.map(({ name, shape }) => [name, normals(shape.reduce((a, b) => a * b, 1), name)]));
    const gate = "model.layers.0.mlp.gate_proj.weight";
    const data = new Float64Array(64 * 64);
    for (let i = 0; i < 64; i++) data[i * 65] = i % 32 === 0 ? 400 : 1;
    const gram: Gram = { rows: 64, size: 64, data };
    const equal = equalize(config, specs, { weights, grams: new Map([[gate, gram]]) });
    const lost = (of: Float32Array, felt: Gram): number => outputError(of, roundToNearest(of, [64, 64], grids[0]!), felt);
    expect(lost(equal.weights.get(gate)!, equal.grams.get(gate)!)).toBeLessThan(0.7 * lost(weights.get(gate)!, gram));
  });
});

describe("the inputs of linear layers", () => {
  const families = readdirSync(fixture("models")).filter((name) => hasFixture("models", name, "config.json"));
  test.each(families)("every matrix of %s that is worth quantising has some", async (name) => {
    const checkpoint = await openCheckpoint(fixture("models", name));
    const { config } = checkpoint;
    await checkpoint.close();
    const context = { ...trainingContext({ batch: 1, time: 8 }, rotaryTables(config, 8)), foldGain: false };
    const found = stages(config).flatMap(({ specs, trace }) => {
      const parameters = Object.fromEntries(specs.map((spec) => [spec.name, input(spec.name, spec.shape, "float32")]));
      const inputs = linearInputs(trace(parameters, input("x", [8, config.hidden_size], "float32"), context));
      for (const [weight, x] of inputs) expect(x.shape[1], weight).toBe(specs.find((spec) => spec.name === weight)!.shape[1]);
      return [...inputs.keys()];
    });
    expect(found).toEqual(expect.arrayContaining(parameterSpecs(config).filter(({ quantizable }) => quantizable).map((spec) => spec.name)));
  });
});

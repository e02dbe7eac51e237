import { readdirSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { Generator } from "../src/engine/generator.ts";
import { loadModel } from "../src/engine/load.ts";
import { disposeParameters, type ModelParameters, type ParameterTensors } from "../src/engine/model-parameters.ts";
import { ModelRunner } from "../src/engine/model-runner.ts";
import type { EngineRequest } from "../src/engine/types.ts";
import { projectionGroups } from "../src/model/index.ts";
import { linear, lowRankUpdate } from "../src/nn/index.ts";
import { random } from "../src/random/index.ts";
import { compile, type Backend, type DeviceTensor } from "../src/runtime/index.ts";
import { mergeAdapter, readAdapter, type LoraAdapter } from "../src/weights/index.ts";
import { fixture, hasFixture, readFixture } from "./fixtures.ts";
import { longjing } from "./launcher.ts";
import { backend } from "./providers.ts";

interface Expected {
  readonly base: string;
  readonly input_ids: number[][];
  readonly logits_with_adapter: number[][][];
}

const names = hasFixture("lora") ? readdirSync(fixture("lora")) : [];

const tensorsFrom = (on: Backend, shapes: ParameterTensors, data: Readonly<Record<string, Float32Array>>): Record<string, DeviceTensor> =>
  Object.fromEntries(Object.entries(shapes).map(([name, { shape }]) => [name, on.tensorOver("float32", shape, data[name]!)]));

/** Another adapter for the same matrices. */
const other = (adapter: LoraAdapter): LoraAdapter => {
  const stream = random("other adapter");
  return { ...adapter, tensors: Object.fromEntries(Object.entries(adapter.tensors).map(([name, { shape, data }]) => [name, { shape, data: data.map(() => 0.1 * stream.normal()) }])) };
};

describe.each(names)("%s", (name) => {
  const expected = readFixture<Expected>("lora", name, "expected.json");

  const load = async () => {
    const on = await backend("cpu");
    const { config, specs, parameters } = await loadModel(on, fixture("lora", name, expected.base));
    const adapter = await readAdapter(fixture("lora", name), specs);
    return { on, config, specs, parameters, adapter };
  };

  const requests = (adapter?: string): EngineRequest[] => expected.input_ids.flatMap((ids, i) => [3, 9].map((n) => ({ prompt_ids: ids.slice(0, n + i), sampling: { temperature: 0, max_tokens: 6, top_logprobs: 20 }, ...(adapter && { adapter }) })));

  test("switched per request in one batch, each adapter says what its merged weights say, and the base what it says alone", async () => {
    const { on, config, parameters, adapter } = await load();
    const plain = Object.fromEntries(Object.entries(parameters).map(([n, { data }]) => [n, data as Float32Array]));
    const alone = async (weights: ModelParameters): Promise<Record<string, unknown>[]> => {
      const runner = new ModelRunner(on, config, { max_num_seqs: 1, max_model_len: 40 });
      const said = await new Generator(runner, weights).generate(requests());
      await runner.dispose();
      return said.map((s) => ({ ...s }));
    };
    const adapters = { one: adapter, two: other(adapter) };
    const want = [await alone(parameters), ...(await Promise.all(Object.values(adapters).map((a) => alone(tensorsFrom(on, parameters, mergeAdapter(plain, a))))))];
    const runner = new ModelRunner(on, config, { max_num_seqs: 7, max_model_len: 40 });
    const generator = new Generator(runner, parameters, { kv_cache_memory_bytes: 2 ** 22, block_size: 2 });
    for (const [as, a] of Object.entries(adapters)) generator.addAdapter(as, a);
    // Twice: the second time from kept prefixes. Adapters alternate, so that rows move between their groups.
    for (let round = 0; round < 2; round++) {
      const asked = [undefined, "one", "two"].map((as) => requests(as));
      const order = asked[0]!.flatMap((_, i) => [0, 1, 2].map((a) => ({ a, i })));
      const got = await generator.generate(order.map(({ a, i }) => asked[a]![i]!));
      for (const [at, { a, i }] of order.entries()) {
        expect(got[at]!.token_ids, `${a} ${i}`).toEqual(want[a]![i]!.token_ids);
        got[at]!.logprobs.forEach((logprob, t) => expect(Math.abs(logprob - (want[a]![i]!.logprobs as number[])[t]!)).toBeLessThan(1e-4));
      }
    }
    expect(generator.stats().prefix_cache_hits).toBeGreaterThan(0);
    generator.removeAdapter("two");
    await expect(async () => generator.generate(requests("two"))).rejects.toMatchObject({ code: "not_found" });
    await runner.dispose();
    disposeParameters(parameters);
  });

  test("projections that are stacked into one matrix take the factors stacked", async () => {
    const { on, config, specs, parameters, adapter } = await load();
    const frozen: Record<string, DeviceTensor> = {};
    for (const [as, parts] of projectionGroups(specs)) {
      const data = Float32Array.from(parts.flatMap((part) => Array.from(parameters[part.name]!.data as Float32Array)));
      frozen[as] = on.tensorOver("float32", [parts.reduce((n, { shape }) => n + shape[0]!, 0), ...parts[0]!.shape.slice(1)], data);
    }
    const runner = new ModelRunner(on, config, { max_num_seqs: 2, max_model_len: 40, frozen });
    const factors = runner.loadAdapter({}, adapter);
    for (const [b, ids] of expected.input_ids.entries()) {
      const logits = await runner.extend(factors, b, 0, ids, ids.length, false);
      const want = expected.logits_with_adapter[b]!.flat();
      want.forEach((w, i) => expect(Math.abs(logits[i]! - w), `logit ${i} of ${b}`).toBeLessThanOrEqual(1e-4));
    }
    await runner.dispose();
  });
});

// Kernels that round activations make much of a bit, and a request is to be answered the same whatever runs beside it.
test.each([[16, 0.25], [16, 0.5], [16, 2], [24, 1], [48, 1], [17, 1]])("what an adapter of rank %d and scale %d makes of a row has the same bits alone and among others", async (rank, scale) => {
  const on = await backend("cpu");
  const [inside, outside] = [576, 960];
  const stream = random("rows through an adapter", rank, scale);
  const drawn = (...shape: number[]): DeviceTensor => on.tensorOver("float32", shape, Float32Array.from({ length: shape.reduce((a, b) => a * b) }, () => stream.normal()));
  const [weight, a, b, x] = [drawn(outside, inside), drawn(rank, inside), drawn(outside, rank), drawn(8, inside)];
  const float = (...shape: (string | number)[]) => ({ shape, dtype: "float32" }) as const;
  const types = { weight: float(outside, inside), a: float(rank, inside), b: float(outside, rank), x: float("rows", inside) };
  const program = await compile(on, (v) => ({ y: linear(v.x, lowRankUpdate(v.weight, v.a, v.b, scale)) }), types, { frozen: { weight } });
  const of = (rows: number): DeviceTensor["data"] => {
    const y = on.tensor("float32", [rows, outside]);
    program.bind({ a, b, x: on.tensorOver("float32", [rows, inside], (x.data as Float32Array).subarray(0, rows * inside)) }, { y }).runSync();
    return y.data;
  };
  const alone = of(1);
  for (const rows of [2, 3, 5, 8]) expect(of(rows).subarray(0, outside)).toEqual(alone);
  program.dispose();
});

test.skipIf(names.length === 0)("longjing chat --adapter answers through the adapter", async () => {
  const { base } = readFixture<Expected>("lora", names[0]!, "expected.json");
  const ask = (...options: string[]) => longjing(["chat", fixture("lora", names[0]!, base), "--temperature", "0", "--max-tokens", "8", "--json", ...options], "hi\n");
  const [plain, adapted, missing] = await Promise.all([ask(), ask("--adapter", fixture("lora", names[0]!)), ask("--adapter", "/nowhere/at/all")]);
  const itself = await longjing(["chat", fixture("lora", names[0]!)], "hi\n");
  expect([plain.code, adapted.code, missing.code, itself.code]).toEqual([0, 0, 2, 2]);
  expect(itself.stderr).toContain("--adapter");
  expect(JSON.parse(adapted.stdout)).toMatchObject({ question: "hi", completion_tokens: 8 });
  expect(adapted.stdout).not.toBe(plain.stdout);
});

test.skipIf(names.length === 0)("adapters are bounded, named apart, and stay while a request uses them", async () => {
  const { base } = readFixture<Expected>("lora", names[0]!, "expected.json");
  const on = await backend("cpu");
  const { config, specs, parameters } = await loadModel(on, fixture("lora", names[0]!, base));
  const adapter = await readAdapter(fixture("lora", names[0]!), specs);
  const runner = new ModelRunner(on, config, { max_num_seqs: 1, max_model_len: 40 });
  const generator = new Generator(runner, parameters, { max_loras: 2 });
  generator.addAdapter("a", adapter);
  const conflict = expect.objectContaining({ code: "conflict" });
  expect(() => generator.addAdapter("a", adapter)).toThrow(conflict);
  generator.addAdapter("b", adapter);
  expect(() => generator.addAdapter("c", adapter)).toThrow(conflict);
  const running = generator.generate([{ prompt_ids: [1], adapter: "a", sampling: { max_tokens: 4 } }]);
  expect(() => generator.removeAdapter("a")).toThrow(conflict);
  await running;
  generator.removeAdapter("a");
  generator.addAdapter("c", adapter);
  expect(() => generator.removeAdapter("a")).toThrow(expect.objectContaining({ code: "not_found" }));
  await runner.dispose();
});

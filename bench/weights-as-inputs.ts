// What it costs to decode with parameters as graph inputs, which the trainer writes and the engine reads without a copy,
// against the same graph with them as constants, which ONNX Runtime may fold, fuse and lay out for its kernels in advance.
//
//   npx tsx --conditions source bench/weights-as-inputs.ts [S|M|L]
import { allocate, compile, openBackend, type Binding, type Program } from "longjing/runtime";
import { constant, type Value } from "longjing/tensor";
import { random } from "../src/random/index.ts";
import { cacheContext, hiddenStates, initParameters, logits, parameterSpecs, rotaryTables, type Parameters } from "../src/model/index.ts";
import { benchSizes, type BenchSizeName } from "../src/train/bench-sizes.ts";

const { config } = benchSizes[(process.argv[2] ?? "S") as BenchSizeName];
const [length, capacity, rounds, seconds] = [64, 128, 11, 0.5];
const backend = await openBackend("cpu");
const specs = parameterSpecs(config);
const values = initParameters(specs, 0.05, random("weights as inputs"));
const tables = rotaryTables(config, capacity);
const float = (...shape: number[]) => ({ shape, dtype: "float32" as const });

/** One decode step of `batch` sequences that hold `length` tokens each. */
function decodeTypes(batch: number) {
  const cache = () => Array.from({ length: config.num_hidden_layers }, () => float(batch, config.num_key_value_heads, capacity, config.head_dim));
  const scalar = { shape: [], dtype: "int32" as const };
  return { keys: cache(), values: cache(), ids: { shape: [batch], dtype: "int64" as const }, positions: { shape: [batch, 1], dtype: "int64" as const }, last: { shape: [batch], dtype: "int32" as const }, longest: scalar };
}

type Inputs = { readonly [K in keyof ReturnType<typeof decodeTypes>]: ReturnType<typeof decodeTypes>[K] extends readonly unknown[] ? readonly Value[] : Value };

function decode(parameters: Parameters, batch: number, v: Inputs) {
  const context = cacheContext({ batch, count: 1, rows: batch, positions: v.positions, last: v.last, longest: v.longest, cache: { keys: v.keys, values: v.values } }, tables);
  const { hidden } = hiddenStates(config, parameters, v.ids, context);
  return { logits: logits(config, parameters, hidden), presentKeys: context.present.keys, presentValues: context.present.values };
}

function bind(program: Program, batch: number, parameters: object): { readonly binding: Binding; readonly logits: Float32Array } {
  const types = decodeTypes(batch);
  const flat = allocate(backend, { ids: types.ids, positions: types.positions, last: types.last, longest: types.longest, logits: float(batch, config.vocab_size) });
  const keys = types.keys.map(({ shape }) => backend.tensor("float32", shape));
  const cached = types.values.map(({ shape }) => backend.tensor("float32", shape));
  const { logits: out, ...inputs } = flat;
  (inputs.ids!.data as BigInt64Array).forEach((_, b, ids) => (ids[b] = BigInt(b % config.vocab_size)));
  (inputs.positions!.data as BigInt64Array).fill(BigInt(length));
  (inputs.last!.data as Int32Array).fill(length);
  (inputs.longest!.data as Int32Array)[0] = length + 1;
  return { binding: program.bind({ ...parameters, ...inputs, keys, values: cached }, { logits: out!, presentKeys: keys, presentValues: cached }), logits: out!.data as Float32Array };
}

/** Steps a second over `seconds`. */
function rate(binding: Binding): number {
  const start = performance.now();
  let steps = 0;
  for (; performance.now() - start < seconds * 1000; steps++) binding.runSync();
  return (steps / (performance.now() - start)) * 1000;
}

const spread = (rates: readonly number[], batch: number): string => {
  const sorted = rates.map((r) => Math.round(r * batch)).toSorted((a, b) => a - b);
  return `${sorted[sorted.length >> 1]} (${sorted[0]} to ${sorted.at(-1)})`;
};

const tensors = allocate(backend, Object.fromEntries(specs.map(({ name, shape }) => [name, float(...shape)])));
for (const [name, tensor] of Object.entries(tensors)) (tensor.data as Float32Array).set(values[name]!);
const constants = (): Parameters => Object.fromEntries(specs.map(({ name, shape }) => [name, constant(values[name]!, shape)]));
for (const batch of [1, 64]) {
  const types = decodeTypes(batch);
  const asInputs = await compile(backend, (v) => decode(v.parameters as Parameters, batch, v as unknown as Inputs), { ...types, parameters: Object.fromEntries(specs.map(({ name, shape }) => [name, float(...shape)])) });
  const asConstants = await compile(backend, (v) => decode(constants(), batch, v as unknown as Inputs), types, { optimization: "all" });
  const [given, baked] = [bind(asInputs, batch, { parameters: tensors }), bind(asConstants, batch, {})];
  for (const { binding } of [given, baked]) for (let i = 0; i < 20; i++) binding.runSync();
  const difference = given.logits.reduce((most, value, i) => Math.max(most, Math.abs(value - baked.logits[i]!)), 0);
  const rates = Array.from({ length: rounds }, () => ({ given: rate(given.binding), baked: rate(baked.binding) }));
  const cost = rates.map((r) => r.baked / r.given - 1).toSorted((a, b) => a - b)[rounds >> 1]!;
  process.stdout.write(`batch ${batch}: inputs ${spread(rates.map((r) => r.given), batch)} tokens/s, constants ${spread(rates.map((r) => r.baked), batch)} tokens/s, inputs cost ${(cost * 100).toFixed(1)} % (median of pairs); logits differ by ${difference.toExponential(1)} at most\n`);
}

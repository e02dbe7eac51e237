import type { ModelConfig, ParameterSpec } from "../model/index.ts";
import type { Gram } from "./calibrated.ts";

/** Channels that some parameters of a layer give and others read: what the first are divided by, the second are multiplied by. */
interface Link {
  /** A norm's gain, or a matrix and its bias; channels are their first axis. */
  readonly givers: readonly ParameterSpec[];
  /** Matrices; channels are their columns. */
  readonly readers: readonly ParameterSpec[];
  readonly channels: number;
  /** A head of values is read by several heads of queries. */
  readonly channelOf: (column: number) => number;
}

const patterns: readonly (readonly [giver: RegExp, reader: RegExp])[] = [
  [/\d\.input_layernorm\./, /\.self_attn\.((q|k|v|q_a)_proj|kv_a_proj_with_mqa)\.weight$/],
  [/\.post_attention_layernorm\./, /\.(gate_proj|up_proj|gate)\.weight$/],
  [/\.q_a_layernorm\./, /\.q_b_proj\.weight$/],
  [/\.kv_a_layernorm\./, /\.kv_b_proj\.weight$/],
  [/\.v_proj\./, /\.o_proj\.weight$/],
  [/^model\.norm\./, /^lm_head\.weight$/],
];

function linksOf({ head_dim }: ModelConfig, specs: readonly ParameterSpec[]): Link[] {
  const named = (test: (name: string) => boolean): ParameterSpec[] => specs.filter(({ name }) => test(name));
  const direct = patterns.map(([giver, reader]) => [named((name) => giver.test(name)), named((name) => reader.test(name))] as const);
  const gated = named((name) => name.endsWith(".up_proj.weight")).map(({ name: up }) => {
    const at = up.slice(0, -"up_proj.weight".length);
    return [named((name) => name.startsWith(`${at}up_proj.`)), named((name) => name === `${at}down_proj.weight`)] as const;
  });
  return [...direct, ...gated].flatMap(([givers, readers]) => {
    if (givers.length === 0 || readers.length === 0) return [];
    const channels = givers[0]!.shape[0]!;
    const times = readers[0]!.shape[1]! / channels;
    return [{ givers, readers, channels, channelOf: (column) => (times === 1 ? column : Math.floor(column / (times * head_dim)) * head_dim + (column % head_dim)) }];
  });
}

/** A layer's parameters, by name, and what its linear layers read, by the name of their weight. */
export interface Layer {
  readonly weights: ReadonlyMap<string, Float32Array>;
  readonly grams: ReadonlyMap<string, Gram>;
}

/** No channel is scaled by more, up or down. */
const most = 8;

/**
 * The same function with other parameters. A block's weights share a scale, so its error goes by the largest of them, whatever
 * their columns count: a channel whose inputs are large against its weights is made to have larger weights and smaller inputs,
 * by √(inputs / weights), which costs least where each column's error is a share of the sum of all (in the manner of AWQ, arXiv
 * 2306.00978, and of SmoothQuant's α = ½, arXiv 2211.10438, eq. 4). The gain of a norm, the rows of v and of up take the inverse.
 */
export function equalize(config: ModelConfig, specs: readonly ParameterSpec[], { weights, grams }: Layer): Layer {
  const scaled = new Map(weights);
  const seen = new Map<Gram, Gram>();
  for (const { givers, readers, channels, channelOf } of linksOf(config, specs)) {
    const felt = readers.flatMap(({ name }) => grams.get(name) ?? []);
    if (felt.length === 0) continue;
    const factors = factorsOf(channels, channelOf, felt[0]!, readers.filter(({ name }) => grams.has(name)).map(({ name }) => scaled.get(name)!));
    for (const { name, shape } of givers) scaled.set(name, scaled.get(name)!.map((weight, i) => weight / factors[Math.floor(i / (shape[1] ?? 1))]!));
    for (const { name, shape } of readers) scaled.set(name, scaled.get(name)!.map((weight, i) => weight * factors[channelOf(i % shape[1]!)]!));
    for (const gram of new Set(felt)) seen.set(gram, { ...gram, data: gram.data.map((value, i) => value / (factors[channelOf(Math.floor(i / gram.size))]! * factors[channelOf(i % gram.size)]!)) });
  }
  return { weights: scaled, grams: new Map([...grams].map(([name, gram]) => [name, seen.get(gram) ?? gram])) };
}

/** √(inputs / weights) of each channel, by their root mean squares; 1 where one is zero. */
function factorsOf(channels: number, channelOf: (column: number) => number, { size, data }: Gram, readers: readonly Float32Array[]): Float64Array {
  const [inputs, columns] = [new Float64Array(channels), new Float64Array(channels)];
  for (let i = 0; i < size; i++) inputs[channelOf(i)]! += data[i * size + i]!;
  for (const weights of readers) for (let i = 0; i < weights.length; i++) columns[channelOf(i % size)]! += weights[i]! ** 2;
  const mean = (of: Float64Array): number => of.reduce((a, b) => a + b, 0) / channels;
  const ratio = mean(columns) / mean(inputs);
  return inputs.map((input, i) => {
    const factor = ((input * ratio) / columns[i]!) ** 0.25;
    return factor > 0 && factor < Infinity ? Math.min(most, Math.max(1 / most, factor)) : 1;
  });
}

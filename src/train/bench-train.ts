import { initParameters, parameterCount, parameterSpecs } from "../model/index.ts";
import { adamwDefaults } from "../optim/adamw.ts";
import { random } from "../random/index.ts";
import type { Backend } from "../runtime/index.ts";
import { benchSizes, type BenchSizeName } from "./bench-sizes.ts";
import { nextTokenObjective, nextTokenTypes } from "./next-token.ts";
import { TrainState } from "./train-state.ts";
import { TrainStep } from "./train-step.ts";

export interface TrainBenchOptions {
  readonly size: BenchSizeName;
  /** Steps are taken until this many seconds have passed, after two that are not counted. */
  readonly seconds: number;
  readonly threads?: number;
  readonly blocks?: number;
  readonly profile?: string;
  /** Monotonic seconds. */
  readonly now: () => number;
}

export interface TrainBenchResult {
  readonly engine: "longjing";
  readonly size: BenchSizeName;
  readonly parameters: number;
  /** Of the median step. */
  readonly tokens_per_second: number;
  /** Median, fastest and 90th percentile, in milliseconds. */
  readonly step_ms: readonly [number, number, number];
  readonly steps: number;
  readonly loss: readonly [first: number, last: number];
}

/** Times full train steps (forward, backward, clipping, AdamW) on random tokens. */
export async function benchTrain(backend: Backend, { size, seconds, threads, blocks, profile, now }: TrainBenchOptions): Promise<TrainBenchResult> {
  const { config, batch, time } = benchSizes[size];
  const rows = batch * time;
  const specs = parameterSpecs(config);
  const stream = random("bench", size);
  const state = new TrainState(backend, specs, initParameters(specs, 0.05, stream));
  const step = await TrainStep.create(backend, state, nextTokenTypes(rows), nextTokenObjective(config, { batch, time, ...(blocks && { blocks }) }), {
    optimizer: adamwDefaults,
    max_grad_norm: 1,
    session: { ...(threads && { threads }), ...(profile && { profile }) },
  });
  const ids = step.batch.ids.data as BigInt64Array;
  const targets = step.batch.targets.data as BigInt64Array;
  for (let i = 0; i < rows; i++) {
    ids[i] = BigInt(stream.below(config.vocab_size));
    targets[i] = BigInt(stream.below(config.vocab_size));
  }
  (step.batch.weights.data as Float32Array).fill(1 / rows);
  const losses: number[] = [];
  const once = async (): Promise<number> => {
    const start = now();
    losses.push((await step.run(1e-3, { blocking: true })).loss);
    return (now() - start) * 1000;
  };
  await once();
  await once();
  const times: number[] = [];
  for (const end = now() + seconds; now() < end || times.length < 3; ) times.push(await once());
  step.dispose();
  times.sort((a, b) => a - b);
  const median = times[times.length >> 1]!;
  return {
    engine: "longjing",
    size,
    parameters: parameterCount(specs),
    tokens_per_second: Math.round((rows / median) * 1000),
    step_ms: [median, times[0]!, times[Math.floor(times.length * 0.9)]!],
    steps: times.length,
    loss: [losses[0]!, losses.at(-1)!],
  };
}

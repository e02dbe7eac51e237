import type { Backend, SessionOptions } from "../runtime/index.ts";
import type { LoadedModel } from "./load.ts";
import type { ModelParameters } from "./model-parameters.ts";
import { ModelRunner } from "./model-runner.ts";

/** What is timed: `pp:N`, a prompt of N tokens; `tg:B:C`, one more token for each of B sequences of C tokens. */
export type SpeedTest = { readonly kind: "pp"; readonly tokens: number } | { readonly kind: "tg"; readonly batch: number; readonly context: number };

export interface SpeedResult {
  readonly engine: "longjing";
  readonly test: string;
  /** Median, least and most of the repetitions. */
  readonly tokens_per_second: readonly [median: number, least: number, most: number];
}

export interface SpeedOptions {
  readonly repetitions: number;
  /** Monotonic seconds. */
  readonly now: () => number;
  readonly session?: SessionOptions;
}

/** Steps that are timed together: as many as make a few hundred tokens. */
const stepsFor = (batch: number): number => Math.max(8, Math.min(64, Math.floor(512 / batch)));

/**
 * Times the model alone, as llama-bench does: greedy tokens from the logits, no scheduler. Ids of prompts are arbitrary.
 * Repetitions come after one that is not counted.
 */
export async function benchSpeed(backend: Backend, { config, parameters }: LoadedModel<ModelParameters>, test: SpeedTest, { repetitions, now, session }: SpeedOptions): Promise<SpeedResult> {
  const steps = test.kind === "pp" ? 0 : stepsFor(test.batch);
  const [rows, context] = test.kind === "pp" ? [1, test.tokens] : [test.batch, test.context];
  const runner = new ModelRunner(backend, config, { max_num_seqs: rows, max_model_len: context + steps + 1, frozen: parameters, ...(session && { session }) });
  const blocking = backend.provider !== "wasm";
  const prompt = Array.from({ length: context }, (_, i) => (i * 7919) % config.vocab_size);
  const none = {};
  const prefill = async (row: number): Promise<Float32Array> => runner.extend(none, row, 0, prompt, 1, blocking);
  const decode = async (): Promise<number> => {
    let ids: readonly number[] = new Array<number>(rows).fill(0);
    const start = now();
    for (let step = 0; step < steps; step++) {
      const logits = await runner.forward(none, 0, ids.map((id) => ({ token_ids: [id], past: context + step })), blocking);
      ids = Array.from({ length: rows }, (_, b) => largest(logits, b * config.vocab_size, config.vocab_size));
    }
    return (rows * steps) / (now() - start);
  };
  const promptRate = async (): Promise<number> => {
    const start = now();
    await prefill(0);
    return context / (now() - start);
  };
  try {
    if (test.kind === "tg") for (let row = 0; row < rows; row++) await (row === 0 ? prefill(0) : runner.copyRow(0, row, context));
    const measure = test.kind === "pp" ? promptRate : decode;
    await measure();
    const rates: number[] = [];
    for (let i = 0; i < repetitions; i++) rates.push(await measure());
    rates.sort((a, b) => a - b);
    const round = (rate: number): number => Math.round(rate * 10) / 10;
    return { engine: "longjing", test: testName(test), tokens_per_second: [round(rates[Math.floor(rates.length / 2)]!), round(rates[0]!), round(rates.at(-1)!)] };
  } finally {
    await runner.dispose();
  }
}

export const testName = (test: SpeedTest): string => (test.kind === "pp" ? `pp:${test.tokens}` : `tg:${test.batch}:${test.context}`);

/** null for what is no name of a test. */
export function parseTest(name: string): SpeedTest | null {
  const [, tokens] = /^pp:([1-9]\d{0,6})$/.exec(name) ?? [];
  if (tokens !== undefined) return { kind: "pp", tokens: Number(tokens) };
  const [, batch, context] = /^tg:([1-9]\d{0,3}):([1-9]\d{0,6})$/.exec(name) ?? [];
  return batch === undefined || context === undefined ? null : { kind: "tg", batch: Number(batch), context: Number(context) };
}

function largest(logits: Float32Array, start: number, count: number): number {
  let best = start;
  for (let i = start + 1; i < start + count; i++) if (logits[i]! > logits[best]!) best = i;
  return best - start;
}

import { random } from "../random/index.ts";
import type { Backend } from "../runtime/index.ts";
import { Generator } from "./generator.ts";
import type { LoadedModel } from "./load.ts";
import { ModelRunner } from "./model-runner.ts";

export interface DecodeBenchOptions {
  /** Sequences at once. */
  readonly batch: number;
  /** Decoded tokens of each, whatever they are: nothing ends a sequence. */
  readonly tokens: number;
  /** Tokens of each prompt. Default 16. */
  readonly prompt?: number;
  /** Monotonic seconds. */
  readonly now: () => number;
}

export interface DecodeBenchResult {
  readonly engine: "longjing";
  readonly batch: number;
  readonly tokens: number;
  readonly prompt_tokens: number;
  /** Of all sequences together, sampling at temperature 1 included; prompts are not counted. */
  readonly tokens_per_second: number;
  /** Mean time of a step that gives each sequence a token. */
  readonly step_ms: number;
  readonly prefill_ms: number;
}

/** Times decoding as rollouts do it, on random prompts that differ. */
export async function benchDecode(backend: Backend, { config, specs, parameters }: LoadedModel, { batch, tokens, prompt = 16, now }: DecodeBenchOptions): Promise<DecodeBenchResult> {
  const stream = random("bench decode");
  const prompts = Array.from({ length: batch }, () => Array.from({ length: prompt }, () => stream.below(config.vocab_size)));
  const runner = new ModelRunner(backend, config, { max_num_seqs: batch, max_model_len: prompt + tokens + 1 });
  const generator = new Generator(runner, parameters, { blocking: backend.provider !== "wasm" });
  const seconds = async (max_tokens: number): Promise<number> => {
    const start = now();
    await generator.generate(prompts.map((prompt_ids, seed) => ({ prompt_ids, sampling: { max_tokens, seed } })));
    return now() - start;
  };
  await seconds(3);
  // The first token comes from the prompt.
  const prefill = await seconds(1);
  const decode = (await seconds(tokens + 1)) - prefill;
  await runner.dispose();
  return { engine: "longjing", batch, tokens, prompt_tokens: prompt, tokens_per_second: Math.round((batch * tokens) / decode), step_ms: (decode / tokens) * 1000, prefill_ms: prefill * 1000 };
}

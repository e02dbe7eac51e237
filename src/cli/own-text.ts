import { Generator, ModelRunner, type LoadedModel, type ModelParameters } from "../engine/index.ts";
import { random } from "../random/index.ts";
import type { Backend } from "../runtime/index.ts";

const atOnce = 16;

/**
 * Texts that a model writes by itself, `count` of `length` tokens: what it knows, where a calibration text shows little of it
 * (arXiv 2305.17888, section 2.1). One in four begins as texts begin for it, the others with a token that is drawn.
 */
export async function ownTexts(backend: Backend, { config, parameters }: LoadedModel<ModelParameters>, count: number, length: number, onFinish: () => void = () => {}): Promise<number[][]> {
  const runner = new ModelRunner(backend, config, { max_num_seqs: Math.min(atOnce, count), max_model_len: length, frozen: parameters });
  const source = random("own texts");
  const starts = Array.from({ length: count }, (_, i) => (i % 4 === 0 ? config.bos_token_id : null) ?? source.below(config.vocab_size));
  try {
    const written = await new Generator(runner, {}, { blocking: backend.provider !== "wasm" }).generate(
      starts.map((start, seed) => ({ prompt_ids: [start], sampling: { temperature: 1, max_tokens: length - 1, seed } })),
      onFinish,
    );
    return written.map(({ token_ids }, i) => [starts[i]!, ...token_ids]);
  } finally {
    await runner.dispose();
  }
}

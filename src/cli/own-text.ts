import { Generator, ModelRunner, type LoadedModel, type ModelParameters } from "../engine/index.ts";
import { random } from "../random/index.ts";
import type { Backend } from "../runtime/index.ts";
import type { Tokenizer } from "../text/index.ts";

const atOnce = 16;

/** Tokens behind which a model has seen texts begin: what stands between documents, what opens a chat. */
export const textStarts = ({ idOf, bosId, eosId }: Tokenizer): number[] => [...new Set([idOf("<|endoftext|>") ?? eosId, bosId].filter((id) => id !== null))];

/**
 * Texts that a model writes by itself, `count` of `length` tokens: what it knows, where a calibration text shows little of it
 * (arXiv 2305.17888, section 2.1).
 * @param starts tokens that texts begin with, taken in turn; without any they are drawn
 */
export async function ownTexts(backend: Backend, { config, parameters }: LoadedModel<ModelParameters>, starts: readonly number[], count: number, length: number, onFinish: () => void = () => {}): Promise<number[][]> {
  const runner = new ModelRunner(backend, config, { max_num_seqs: Math.min(atOnce, count), max_model_len: length, frozen: parameters });
  const source = random("own texts");
  const first = Array.from({ length: count }, (_, i) => starts[i % starts.length] ?? source.below(config.vocab_size));
  try {
    const written = await new Generator(runner, {}, { blocking: backend.provider !== "wasm" }).generate(
      first.map((start, seed) => ({ prompt_ids: [start], sampling: { temperature: 1, max_tokens: length - 1, seed } })),
      onFinish,
    );
    return written.map(({ token_ids }, i) => [first[i]!, ...token_ids]);
  } finally {
    await runner.dispose();
  }
}

import { tokensOf, wantedOf, type Chunk } from "../src/engine/chunk.ts";
import type { ModelParameters } from "../src/engine/model-parameters.ts";
import type { Runner } from "../src/engine/scheduler.ts";
import { llamaConfig } from "../src/model/index.ts";
import type { DeviceTensor } from "../src/runtime/index.ts";
import { random } from "../src/random/index.ts";

const vocab_size = 6;
const config = llamaConfig({ hidden_size: 8, intermediate_size: 8, num_hidden_layers: 1, num_attention_heads: 1, max_position_embeddings: 64 }, { vocabSize: vocab_size, bosId: null, eosId: null, padId: null });

/**
 * A model whose next-token logits are a hash of all that its cache holds for a row, so that any token in a wrong place, of a
 * wrong adapter or from another's row is seen, with no rounding to excuse it.
 */
export class FakeRunner implements Runner {
  readonly config = config;
  readonly options;
  readonly floatsPerToken = 1;
  /** Tokens that each run computed. */
  readonly runs: number[] = [];
  readonly #rows: Float32Array[];
  readonly #sensitive: boolean;
  readonly #weights = new Map<ModelParameters, number>();

  /** @param sensitive a token that is computed alone leaves other bits than one among others, as real kernels do */
  constructor(max_num_seqs: number, max_model_len: number, sensitive = false) {
    this.#sensitive = sensitive;
    this.options = { max_num_seqs, max_model_len, mtp: true };
    this.#rows = Array.from({ length: max_num_seqs }, () => new Float32Array(max_model_len));
  }

  async forward(parameters: ModelParameters, start: number, chunks: readonly Chunk[]): Promise<Float32Array> {
    this.runs.push(tokensOf(chunks));
    return this.#logits(chunks.flatMap((chunk, b) => this.#append(parameters, start + b, chunk.past, chunk.token_ids).slice(chunk.token_ids.length - wantedOf(chunk))));
  }

  extend(parameters: ModelParameters, row: number, past: number, token_ids: readonly number[], wanted: number): Promise<Float32Array> {
    this.runs.push(token_ids.length);
    return this.#logits(this.#append(parameters, row, past, token_ids).slice(-wanted));
  }

  /** Guesses that are right now and then: what the model says, or the next token of the vocabulary. */
  async draft(parameters: ModelParameters, { row, tokens }: { readonly row: number; readonly tokens: readonly number[] }): Promise<Float32Array> {
    const kept = this.#rows[row]!.slice();
    const [logits] = this.#append(parameters, row, tokens.length - 1, tokens.slice(-1));
    this.#rows[row]!.set(kept);
    return tokens.length % 3 === 0 ? logits!.toReversed() : logits!;
  }

  copyRow(from: number, to: number, tokens: number): void {
    this.#rows[to]!.set(this.#rows[from]!.subarray(0, tokens));
  }

  readRow(row: number, start: number, count: number, into: Float32Array): void {
    into.set(this.#rows[row]!.subarray(start, start + count));
  }

  writeRow(row: number, start: number, count: number, from: Float32Array): void {
    this.#rows[row]!.set(from.subarray(0, count), start);
  }

  loadAdapter(): Record<string, DeviceTensor> {
    return {};
  }

  unloadAdapter(): void {}

  async dispose(): Promise<void> {}

  /** Logits after each token. */
  #append(parameters: ModelParameters, row: number, past: number, token_ids: readonly number[]): Float32Array[] {
    const lane = this.#rows[row]!;
    if (past + token_ids.length > lane.length) throw new RangeError(`row ${row} is full`);
    if (!this.#weights.has(parameters)) this.#weights.set(parameters, this.#weights.size);
    const weights = this.#weights.get(parameters)!;
    return token_ids.map((id, t) => {
      lane[past + t] = id + vocab_size * weights + (this.#sensitive && token_ids.length === 1 ? 0.5 : 0);
      const stream = random("fake", weights, ...lane.subarray(0, past + t + 1));
      return Float32Array.from({ length: vocab_size }, () => 4 * stream.next());
    });
  }

  async #logits(rows: readonly Float32Array[]): Promise<Float32Array> {
    const out = new Float32Array(rows.length * vocab_size);
    rows.forEach((row, i) => out.set(row, i * vocab_size));
    return out;
  }
}

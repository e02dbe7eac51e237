import { tokensOf, picksOf, wantedOf, type Chunk } from "./chunk.ts";

/** Memory of what goes in and out of steps; it grows with the largest. */
export class StepBuffers {
  ids = new BigInt64Array(0);
  positions = new BigInt64Array(0);
  cumulativeLengths = new Int32Array(0);
  last = new Int32Array(0);
  pick = new BigInt64Array(0);
  readonly longest = new Int32Array(1);
  logits = new Float32Array(0);
  hidden = new Float32Array(0);
  /** Bindings over the memory before are of no use any more. */
  moved = false;
  readonly #vocabulary: number;
  readonly #width: number;

  /** @param width of the outputs that are kept; 0 for none */
  constructor(vocabulary: number, width: number) {
    this.#vocabulary = vocabulary;
    this.#width = width;
  }

  /**
   * Writes the inputs of a step, and says how many tokens and logits they are.
   * @param padded to as many tokens of each chunk; null: one chunk's tokens lie behind another's
   * @param positions that there are; what stands behind them is padding
   */
  write(chunks: readonly Chunk[], padded: number | null, positions: number): { readonly tokens: number; readonly picks: number } {
    const sizes = { tokens: padded === null ? tokensOf(chunks) : chunks.length * padded, picks: Math.max(1, picksOf(chunks)) };
    this.#reserve(chunks.length, sizes.tokens, sizes.picks);
    this.pick[0] = 0n; // where none are wanted: a product has a row
    let [at, picked, longest] = [0, 0, 0];
    for (const [b, chunk] of chunks.entries()) {
      const { token_ids, past } = chunk;
      const count = token_ids.length;
      this.cumulativeLengths[b] = at;
      for (let t = 0; t < (padded ?? count); t++) {
        this.ids[at + t] = BigInt(token_ids[t] ?? 0);
        this.positions[at + t] = BigInt(Math.min(past + t, positions - 1));
      }
      for (let w = wantedOf(chunk); w > 0; w--) this.pick[picked++] = BigInt(at + count - w);
      this.last[b] = past + count - 1;
      longest = Math.max(longest, past + count);
      at += padded ?? count;
    }
    this.cumulativeLengths[chunks.length] = at;
    this.longest[0] = longest;
    return sizes;
  }

  #reserve(rows: number, tokens: number, picks: number): void {
    if (tokens > this.ids.length) {
      this.ids = new BigInt64Array(tokens);
      this.positions = new BigInt64Array(tokens);
      this.hidden = new Float32Array(tokens * this.#width);
      this.moved = true;
    }
    if (rows > this.last.length) {
      this.last = new Int32Array(rows);
      this.cumulativeLengths = new Int32Array(rows + 1);
      this.moved = true;
    }
    if (picks > this.pick.length) {
      this.pick = new BigInt64Array(picks);
      this.logits = new Float32Array(picks * this.#vocabulary);
      this.moved = true;
    }
  }
}

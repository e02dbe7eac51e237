/** New tokens of one row of the cache. */
export interface Chunk {
  /** None where the row takes no part. */
  readonly token_ids: readonly number[];
  /** Tokens that the row holds already. */
  readonly past: number;
  /** Its last tokens after which logits are wanted. Default 1, of a chunk that has tokens. */
  readonly wanted?: number;
}

export const wantedOf = ({ token_ids, wanted = 1 }: Chunk): number => Math.min(wanted, token_ids.length);

/** Tokens of all chunks, and logits that are wanted of all. */
export const tokensOf = (chunks: readonly Chunk[]): number => chunks.reduce((n, { token_ids }) => n + token_ids.length, 0);
export const picksOf = (chunks: readonly Chunk[]): number => chunks.reduce((n, chunk) => n + wantedOf(chunk), 0);

/** Chunks of neighbouring rows, from row `first` of a step on: with padding, as many tokens of each. */
export interface PaddedRun {
  readonly first: number;
  readonly chunks: readonly Chunk[];
}

interface FreshBatch extends PaddedRun {
  readonly chunks: Chunk[];
  readonly longest: number;
}

// Fresh prompts are computed together while the shortest is at least this share of the longest: the rest is padding.
const evenness = 0.5;

/**
 * Divides a step for kernels that take one token of each of some rows, or the first tokens of some rows, padded at their ends, or any
 * tokens of one row.
 */
export function paddedRuns(chunks: readonly Chunk[]): PaddedRun[] {
  const singles = chunks.flatMap(({ token_ids }, row) => (token_ids.length === 1 ? [row] : []));
  const runs: PaddedRun[] = [];
  if (singles.length > 0) {
    const [first, last] = [singles[0]!, singles.at(-1)!];
    // A row between the others gets a token of no meaning, which its next chunk, or that of this step, overwrites.
    runs.push({ first, chunks: chunks.slice(first, last + 1).map((chunk) => (chunk.token_ids.length === 1 ? chunk : { token_ids: [0], past: chunk.past, wanted: 0 })) });
  }
  let batch: FreshBatch | null = null;
  for (const [row, chunk] of chunks.entries()) {
    const { past, token_ids: { length } } = chunk;
    if (length < 2) continue;
    const begins = past === 0 && wantedOf(chunk) === 1;
    if (batch && begins && batch.first + batch.chunks.length === row && length <= batch.longest && length >= evenness * batch.longest) {
      batch.chunks.push(chunk);
      continue;
    }
    const alone: FreshBatch = { first: row, chunks: [chunk], longest: length };
    batch = begins ? alone : null;
    runs.push(alone);
  }
  return runs;
}

// Activations of so many tokens stay near the cores, and ONNX Runtime's kernel computes attention over all pairs of a run's tokens, also
// those above the diagonal. Shorter pieces gain no more, and read the weights more often.
const pieceTokens = 256;

/** A chunk in pieces, one after the other; the last one has all tokens after which logits are wanted. */
export function piecesOf(chunk: Chunk): Chunk[] {
  const { token_ids, past } = chunk;
  const wanted = wantedOf(chunk);
  const pieces: Chunk[] = [];
  let at = 0;
  for (; token_ids.length - at > pieceTokens && token_ids.length - at >= pieceTokens + wanted; at += pieceTokens) pieces.push({ token_ids: token_ids.slice(at, at + pieceTokens), past: past + at, wanted: 0 });
  return [...pieces, { token_ids: token_ids.slice(at), past: past + at, wanted }];
}

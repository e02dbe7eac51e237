/** A token, and where its text lies: [start, end) in UTF-16 units. */
export interface PlacedToken {
  readonly id: number;
  readonly start: number;
  readonly end: number;
}

/** What SentencePiece's BPE merges by (Kudo and Richardson, arXiv 1808.06226). */
export interface PieceScores {
  readonly ids: ReadonlyMap<string, number>;
  /**
   * Of two neighbours of a text, [start, middle) and [middle, end), or undefined for those that stay apart. The pair with the
   * highest score is merged first, the leftmost of equals.
   */
  readonly score: (text: string, start: number, middle: number, end: number) => number | undefined;
  /** Tokens for the UTF-8 bytes of a character that is no piece, where there are any. */
  readonly byteIds: readonly (number | undefined)[];
  /** Stands for a run of characters that have neither; null: they are left out. */
  readonly unknown: number | null;
}

/** Two neighbours that make a piece. */
interface Merge {
  readonly left: number;
  readonly right: number;
  /** Where the second ends: a merge whose parts have grown since is void. */
  readonly end: number;
  readonly score: number;
}

const before = (a: Merge, b: Merge): boolean => a.score > b.score || (a.score === b.score && a.left < b.left);

/** A text as pieces. It is one word to the merges, in time n log n. */
export function mergePieces(text: string, pieces: PieceScores): PlacedToken[] {
  const ends: number[] = [];
  const starts: number[] = [];
  for (const character of text) {
    const start = ends.at(-1) ?? 0;
    starts.push(start);
    ends.push(start + character.length);
  }
  const previous = Int32Array.from(starts, (_, i) => i - 1);
  const next = Int32Array.from(starts, (_, i) => (i + 1 < starts.length ? i + 1 : -1));
  const queue = new MergeQueue();
  const offer = (left: number, right: number): void => {
    if (left < 0 || right < 0) return;
    const score = pieces.score(text, starts[left]!, starts[right]!, ends[right]!);
    if (score !== undefined) queue.push({ left, right, end: ends[right]!, score });
  };
  for (let i = 1; i < starts.length; i++) offer(i - 1, i);
  for (let merge = queue.pop(); merge !== undefined; merge = queue.pop()) {
    const { left, right, end } = merge;
    // A part that has been merged into another is no one's neighbour any more.
    if (next[left] !== right || ends[right] !== end) continue;
    ends[left] = end;
    const after = next[right]!;
    [next[left], next[right]] = [after, -1];
    if (after >= 0) previous[after] = left;
    offer(previous[left]!, left);
    offer(left, after);
  }
  const out: PlacedToken[] = [];
  for (let i = starts.length > 0 ? 0 : -1; i >= 0; i = next[i]!) {
    const [start, end] = [starts[i]!, ends[i]!];
    const last = out.at(-1);
    const found = idsOf(text.slice(start, end), pieces);
    if (found !== null) out.push(...found.map((id) => ({ id, start, end })));
    else if (pieces.unknown !== null && last?.id === pieces.unknown) out[out.length - 1] = { ...last, end };
    else if (pieces.unknown !== null) out.push({ id: pieces.unknown, start, end });
  }
  return out;
}

const encoder = new TextEncoder();

/** A piece, or the bytes of a character; null for one that the vocabulary cannot spell. */
function idsOf(piece: string, { ids, byteIds }: PieceScores): readonly number[] | null {
  const id = ids.get(piece);
  if (id !== undefined) return [id];
  const bytes = Array.from(encoder.encode(piece), (byte) => byteIds[byte]);
  return bytes.every((byte) => byte !== undefined) ? bytes : null;
}

/** A heap. */
class MergeQueue {
  readonly #heap: Merge[] = [];

  push(merge: Merge): void {
    let at = this.#heap.push(merge) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!before(merge, this.#heap[parent]!)) break;
      this.#heap[at] = this.#heap[parent]!;
      at = parent;
    }
    this.#heap[at] = merge;
  }

  pop(): Merge | undefined {
    const first = this.#heap[0];
    const last = this.#heap.pop();
    if (last === undefined || this.#heap.length === 0) return first;
    let at = 0;
    for (let child = 1; child < this.#heap.length; child = 2 * at + 1) {
      if (child + 1 < this.#heap.length && before(this.#heap[child + 1]!, this.#heap[child]!)) child++;
      if (!before(this.#heap[child]!, last)) break;
      this.#heap[at] = this.#heap[child]!;
      at = child;
    }
    this.#heap[at] = last;
    return first;
  }
}

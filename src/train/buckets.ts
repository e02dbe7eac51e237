import { LongjingError } from "../errors/index.ts";
import type { TokenDocument } from "../text/index.ts";
import type { JsonValue } from "./checkpoint.ts";

/** Rows of one length: a step takes `batch` documents that fit `time` tokens and no shorter row. */
export interface Bucket {
  readonly time: number;
  readonly batch: number;
}

/** Where a stage's reading stands: documents that were read but whose row is not full yet, by bucket. */
interface Cursor {
  readonly next: number;
  readonly waiting: readonly (readonly number[])[];
  readonly [key: string]: JsonValue;
}

/** Deals documents, in order, to buckets, and hands a bucket out when it is full. */
export class BucketReader {
  readonly #buckets: readonly Bucket[];
  readonly #read: (index: number) => TokenDocument;
  readonly #waiting: { index: number; document: TokenDocument }[][];
  #next: number;

  /** @param saved the cursor of a reader that this one goes on from; default: the first document */
  constructor(buckets: readonly Bucket[], read: (index: number) => TokenDocument, saved?: JsonValue) {
    const cursor = saved as Cursor | undefined;
    this.#buckets = buckets;
    this.#read = read;
    this.#next = cursor?.next ?? 0;
    this.#waiting = buckets.map((_, b) => (cursor?.waiting[b] ?? []).map((index) => ({ index, document: this.#read(index) })));
  }

  get cursor(): Cursor {
    return { next: this.#next, waiting: this.#waiting.map((list) => list.map(({ index }) => index)) };
  }

  /** @throws LongjingError "bad_argument" when no document fits */
  next(): { readonly bucket: Bucket; readonly documents: readonly TokenDocument[] } {
    for (let passed = 0; passed < 10_000; ) {
      const index = this.#next++;
      const document = this.#read(index);
      const length = document.prompt.length + document.completion.length;
      // A row reads `time` tokens and predicts `time`, so it holds one more.
      const b = this.#buckets.findIndex(({ time }) => length <= time + 1);
      if (b < 0) {
        passed++;
        continue;
      }
      const [bucket, waiting] = [this.#buckets[b]!, this.#waiting[b]!];
      waiting.push({ index, document });
      if (waiting.length < bucket.batch) continue;
      this.#waiting[b] = [];
      return { bucket, documents: waiting.map((w) => w.document) };
    }
    throw new LongjingError("bad_argument", "No document fits a row", { expected: `at most ${this.#buckets.at(-1)?.time} tokens`, hint: "Give longer buckets or shorter documents" });
  }
}

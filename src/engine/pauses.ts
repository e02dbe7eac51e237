import { LongjingError } from "../errors/index.ts";
import type { Sequence } from "./sequence.ts";
import type { Continuation, FinishReason } from "./types.ts";

/** What a scheduler does with sequences that pause. */
export interface PausesOptions {
  /** Tokens that a row can hold. */
  readonly max_model_len: number;
  /** Whether the sequence still has its row. */
  readonly holds: (sequence: Sequence) => boolean;
  /** Gives the row back; null where the sequence has failed. */
  readonly leave: (sequence: Sequence, reason: FinishReason | null) => void;
}

/**
 * Sequences between two turns. Each keeps its row until its request has said what follows; that is heard between steps, since
 * within one nothing may move.
 */
export class Pauses {
  readonly #options: PausesOptions;
  readonly #watched = new WeakSet<AbortSignal>();
  #heard: (() => void)[] = [];
  #news = false;
  #wake: (() => void) | null = null;

  constructor(options: PausesOptions) {
    this.#options = options;
  }

  /** Whether anything has become known since the last `hear`. */
  get heard(): boolean {
    return this.#heard.length > 0;
  }

  /** Acts on what has become known. */
  hear(): void {
    for (const act of this.#heard.splice(0)) act();
  }

  /** Resolves once `wake` has been called since the last time. */
  async change(): Promise<void> {
    if (!this.#news) await new Promise<void>((resolve) => (this.#wake = resolve));
    this.#news = false;
  }

  wake(): void {
    this.#news = true;
    this.#wake?.();
  }

  /** A turn has ended: asks the request what follows. */
  ask(sequence: Sequence, reason: FinishReason): void {
    const { next: follow, signal } = sequence.request;
    const { holds, leave } = this.#options;
    sequence.paused = true;
    const later = (act: () => void): void => {
      this.#heard.push(() => holds(sequence) && act());
      this.wake();
    };
    const fail = (error: unknown): void => {
      sequence.fail(error);
      leave(sequence, null);
    };
    const proceed = (more: Continuation | null | undefined): void => {
      if (!more) return leave(sequence, reason);
      const excess = this.#excess(sequence, more);
      return excess ? fail(excess) : sequence.resume(more);
    };
    this.#watch(signal);
    void Promise.resolve(sequence.turn(reason))
      .then((turn) => follow?.(turn))
      .then(
        (more) => later(() => proceed(more)),
        (error: unknown) => later(() => fail(error)),
      );
  }

  /** One listener a signal, however many sequences share it. */
  #watch(signal: AbortSignal | undefined): void {
    if (!signal || this.#watched.has(signal)) return;
    this.#watched.add(signal);
    signal.addEventListener("abort", () => this.wake(), { once: true });
  }

  #excess({ tokens }: Sequence, { token_ids, max_tokens }: Continuation): LongjingError | null {
    const { max_model_len } = this.#options;
    if (max_tokens >= 1 && tokens.length + token_ids.length + max_tokens <= max_model_len) return null;
    return new LongjingError("too_large", "The conversation does not fit the context", { got: `${tokens.length} + ${token_ids.length} + ${max_tokens} tokens`, expected: `at most ${max_model_len}, one of them to be said` });
  }
}

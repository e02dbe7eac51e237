// Whoever waits as long as was asked is let in, whatever the last bit says.
const rounding = 1e-6;

/**
 * At most `perMinute` in any minute, on average: it fills evenly and holds one minute's worth. What is taken may be known only
 * afterwards, so it can fall below zero. Times are in milliseconds of a clock that never jumps.
 */
export class TokenBucket {
  #level: number;
  #at: number;

  constructor(perMinute: number, now: number) {
    this.#level = perMinute;
    this.#at = now;
  }

  /** What may be taken now. */
  level(perMinute: number, now: number): number {
    this.#level = Math.min(perMinute, this.#level + ((now - this.#at) / 60_000) * perMinute);
    this.#at = now;
    return this.#level;
  }

  take(amount: number): void {
    this.#level -= amount;
  }

  /** Milliseconds until `amount` may be taken. */
  wait(amount: number, perMinute: number, now: number): number {
    const missing = amount - this.level(perMinute, now);
    return missing > rounding ? (missing / perMinute) * 60_000 : 0;
  }
}

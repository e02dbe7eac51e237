/** Events from a producer that does not wait to a consumer that does. */
export class EventQueue<T extends { readonly type: string }> {
  #events: T[] = [];
  #error: { readonly cause: unknown } | null = null;
  #wake: (() => void) | null = null;

  push(event: T): void {
    this.#events.push(event);
    this.#wake?.();
  }

  fail(cause: unknown): void {
    this.#error = { cause };
    this.#wake?.();
  }

  /** Ends after an event of type "finish". `onAbandon` runs when the consumer stops early. */
  async *iterate(onAbandon: () => void): AsyncGenerator<T> {
    let finished = false;
    try {
      while (!finished) {
        const ready = this.#events;
        this.#events = [];
        for (const event of ready) {
          finished ||= event.type === "finish";
          yield event;
        }
        if (finished || this.#events.length > 0) continue;
        if (this.#error) throw this.#error.cause;
        await new Promise<void>((resolve) => (this.#wake = resolve));
      }
    } finally {
      if (!finished) onAbandon();
    }
  }
}

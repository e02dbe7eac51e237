import type { ChatEvent } from "./chat-events.ts";

/**
 * Parts of an answer that leave together. Each write takes the system, and the client, a good part of a small model's token, so that one
 * for each token would take a tenth of the engine's time. The first of an answer never waits.
 */
export const partsTogether = (sent: number): number => Math.min(16, 1 + sent);

/**
 * Milliseconds that a part may wait for others: one answer is written twenty times a second, which reads as it would in one piece; all answers
 * together fifty times, but each of them four times at least.
 */
export const longestWait = (answers: number): number => Math.min(250, Math.max(50, 20 * answers));

/** Parts that wait for a reader before the source has to wait too. */
const mostWaiting = 1024;

/** Milliseconds until the process is a multiple of `period` old: what waits in all answers leaves then, and wakes those who read them once. */
const untilMultiple = (period: number): number => period - (performance.now() % period);

/** When the parts of answers leave, of all answers that are being streamed. */
export class Pace {
  readonly #interval: number;
  #answers = 0;

  /** @param interval pieces of text that one event has at most */
  constructor(interval: number = 1) {
    this.#interval = interval;
  }

  /**
   * The same answer, by several parts at a time; text that nobody has asked the tokens of may be joined to what waits before it. The source is
   * read as it comes, so that a stop string is found when it is written, until a thousand parts wait for a client that does not read.
   */
  async *events(source: AsyncIterable<ChatEvent>): AsyncGenerator<ChatEvent, void> {
    this.#answers++;
    const waiting = new Waiting(this.#interval);
    const filled = waiting.fill(source, () => longestWait(this.#answers));
    filled.catch(() => {}); // the reader learns of it when all before it has been read
    try {
      for (;;) {
        for (const event of await waiting.take()) yield event;
        if (waiting.ended) return await filled;
      }
    } finally {
      this.#answers--;
      waiting.leave();
      await Promise.allSettled([filled]);
    }
  }
}

/** What waits of one answer. */
class Waiting {
  readonly #interval: number;
  /** Each with how many parts it was made of. */
  #events: { event: ChatEvent; parts: number }[] = [];
  #parts = 0;
  #sent = 0;
  #due = false;
  #over = false;
  #timer: NodeJS.Timeout | undefined;
  #wake = (): void => {};
  #taken = (): void => {};

  constructor(interval: number) {
    this.#interval = interval;
  }

  /** Takes the source to its end, or until the reader leaves. @throws what the source throws */
  async fill(source: AsyncIterable<ChatEvent>, longest: () => number): Promise<void> {
    try {
      for await (const event of source) {
        if (this.#over) return;
        this.#add(event);
        if (event.type === "end" || ++this.#parts >= partsTogether(this.#sent)) this.#release();
        else this.#timer ??= setTimeout(() => this.#release(), untilMultiple(longest()));
        if (this.#parts >= mostWaiting) await new Promise<void>((resolve) => (this.#taken = resolve));
      }
    } finally {
      this.leave();
    }
  }

  /** What has waited, once it is due. */
  async take(): Promise<readonly ChatEvent[]> {
    while (!this.#due) await new Promise<void>((resolve) => (this.#wake = resolve));
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#due = this.#over;
    this.#sent += this.#parts;
    this.#parts = 0;
    this.#taken();
    return this.#events.splice(0).map(({ event }) => event);
  }

  /** Nothing waits, and nothing will come. */
  get ended(): boolean {
    return this.#over && this.#events.length === 0;
  }

  leave(): void {
    this.#over = true;
    this.#release();
    this.#taken();
  }

  #add(event: ChatEvent): void {
    // The order of parts tells something within a choice only.
    const last = this.#events.findLast((before) => before.event.index === event.index);
    const joined = last && last.parts < this.#interval ? join(last.event, event) : undefined;
    if (last && joined) {
      last.event = joined;
      last.parts++;
    } else this.#events.push({ event, parts: 1 });
  }

  #release(): void {
    this.#due = true;
    this.#wake();
  }
}

/** Two pieces of text as one. */
function join(before: ChatEvent, event: ChatEvent): ChatEvent | undefined {
  if (before.type !== "text-delta" && before.type !== "reasoning-delta") return undefined;
  if (event.type !== before.type || event.logprobs || before.logprobs) return undefined;
  return { type: before.type, index: before.index, text: before.text + event.text };
}
